// Package patroni raises Debian's Patroni and etcd in the lab's sites, with the
// databases that haechi would have: the nearest thing that companies run today,
// to compare haechi with under the same fire.
package patroni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/sync/errgroup"

	"github.com/haechi/haechi/lab"
)

// Settings are those of Patroni and its etcd on which the length of an outage hangs.
type Settings struct {
	Name         string        `json:"name"`
	TTL          int           `json:"ttl"`           // seconds that a leader's key lives
	LoopWait     int           `json:"loop_wait"`     // seconds between two looks
	RetryTimeout int           `json:"retry_timeout"` // seconds that etcd or PostgreSQL may be slow
	Strict       bool          `json:"synchronous_mode_strict"`
	Waited       int           `json:"synchronous_node_count"`
	Rewind       bool          `json:"use_pg_rewind"`
	Slots        bool          `json:"use_slots"` // without them followers rest on wal_keep_size, as haechi's do
	Heartbeat    time.Duration `json:"etcd_heartbeat_ns"`
	Election     time.Duration `json:"etcd_election_ns"`
}

// Defaults are those that Patroni and etcd come with. Only synchronous_mode is
// added: without it acknowledged writes may be lost.
func Defaults() Settings {
	return Settings{"defaults", 30, 10, 10, false, 1, false, true, 100 * time.Millisecond, time.Second}
}

// Tightest are the smallest values that Patroni accepts, over an etcd with the
// same ticks as haechi's in its profile fast, and without slots: a new leader makes
// them in its next round, and followers wait for that.
func Tightest() Settings {
	return Settings{"tightest", 20, 1, 3, true, 1, false, false, 25 * time.Millisecond, 250 * time.Millisecond}
}

// Returning are the tightest for the return of a member: by pg_rewind, and with both followers waited
// for, so that a member that came back is seen to count. With one waited for it would only stand by.
func Returning() Settings {
	s := Tightest()
	s.Name, s.Waited, s.Rewind = "returning", 2, true
	return s
}

// String says the settings in Patroni's own words.
func (s Settings) String() string {
	return fmt.Sprintf("ttl %d, loop_wait %d, retry_timeout %d, synchronous_mode true, synchronous_mode_strict %v, synchronous_node_count %d, use_pg_rewind %v, use_slots %v; etcd heartbeat-interval %d, election-timeout %d",
		s.TTL, s.LoopWait, s.RetryTimeout, s.Strict, s.Waited, s.Rewind, s.Slots, s.Heartbeat.Milliseconds(), s.Election.Milliseconds())
}

// Programs of Debian's packages.
const (
	patroniProgram = "/usr/bin/patroni"
	etcdProgram    = "/usr/bin/etcd"
)

// Missing says what has to be installed.
func Missing() error {
	var packages []string
	for file, name := range map[string]string{patroniProgram: "patroni", etcdProgram: "etcd-server"} {
		if _, err := os.Stat(file); err != nil {
			packages = append(packages, name)
		}
	}
	if slices.Sort(packages); len(packages) > 0 {
		list := strings.Join(packages, " ")
		return fmt.Errorf("patroni: not installed: %s. On Debian 12: make deps, or apt-get install --no-install-recommends %s python3-etcd python3-psycopg2", list, list)
	}
	return nil
}

// Users of the operating system.
const (
	postgresUser = "postgres"
	etcdUser     = "nobody"
)

// Cluster is Patroni in all sites of a lab.
type Cluster struct {
	lab      *lab.Lab
	settings Settings
	say      func(string)
}

// Raise starts etcd in all sites, then Patroni, and returns once one member
// leads, one is waited for, and talk's gateways serve. The lab must be up with
// nothing but the network and name servers. It ends with the lab.
func Raise(ctx context.Context, l *lab.Lab, s Settings, say func(string)) (*Cluster, error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	c := &Cluster{l, s, say}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"etcd in three sites", c.raiseEtcd},
		{"Patroni's first member", func(ctx context.Context) error { return c.raiseMembers(ctx, lab.Pangyo) }},
		{"Patroni's other members", func(ctx context.Context) error { return c.raiseMembers(ctx, lab.Ansan, lab.Anyang) }},
		{"all stream, one is waited for", c.Settled},
		{"roles and talk", c.furnish},
	} {
		begun := time.Now()
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("patroni: %s: %w", step.what, err)
		}
		say(fmt.Sprintf("%s (%s)", step.what, time.Since(begun).Round(time.Millisecond)))
	}
	return c, nil
}

// raiseMembers starts Patroni in some sites and waits until it says that
// PostgreSQL runs.
func (c *Cluster) raiseMembers(ctx context.Context, places ...lab.Place) error {
	var all errgroup.Group
	for _, p := range places {
		all.Go(func() error {
			if err := c.start(p); err != nil {
				return err
			}
			return until(ctx, time.Minute, func(ctx context.Context) error {
				m, err := c.member(ctx, p)
				if err == nil && m.State != "running" {
					err = fmt.Errorf("PostgreSQL in %s is %q", p, m.State)
				}
				return err
			})
		})
	}
	return all.Wait()
}

func (c *Cluster) start(p lab.Place) error {
	for _, dir := range []string{c.lab.At(p, "pg"), c.lab.At(p, "pg", "run")} {
		if err := lab.Own(dir, postgresUser, 0o755); err != nil {
			return err
		}
	}
	file, err := c.config(p)
	if err != nil {
		return err
	}
	b, err := yaml.Marshal(file)
	if err != nil {
		return err
	}
	path := c.lab.At(p, "pg", "patroni.yaml")
	if err := lab.WriteFor(path, postgresUser, 0o600, "# written by haechi-lab\n"+string(b)); err != nil {
		return err
	}
	_, err = c.lab.StartJob(lab.Job{Place: p, User: postgresUser, Dir: c.lab.At(p, "pg"), Log: string(p) + "-patroni", Args: []string{patroniProgram, path},
		// When it starts it looks for the name of its address, which nobody here knows.
		Env: []string{"RES_OPTIONS=timeout:1 attempts:1"}})
	return err
}

// member is what Patroni says of a member on its own port.
type member struct {
	State    string `json:"state"`
	Role     string `json:"role"`
	Timeline int    `json:"timeline"`
}

func (c *Cluster) member(ctx context.Context, p lab.Place) (m member, err error) {
	return m, c.get(ctx, p, "http://"+restAddr(p)+"/patroni", &m)
}

// Leader is the site of Patroni's leader.
func (c *Cluster) Leader(ctx context.Context) (lab.Place, error) {
	var errs []error
	for _, p := range lab.Sites() {
		m, err := c.member(ctx, p)
		if err == nil && (m.Role == "master" || m.Role == "primary") {
			return p, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("nobody leads: %w", errors.Join(errs...))
}

// Settled waits until both followers stream, and as many of them as the settings say hold every write
// before the client hears of it.
func (c *Cluster) Settled(ctx context.Context) error {
	return until(ctx, time.Minute, func(ctx context.Context) error {
		leader, err := c.Leader(ctx)
		if err != nil {
			return err
		}
		rows, err := c.lab.SQL(ctx, leader, "postgres", "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming' ORDER BY 1")
		want := [][]string{{"async"}, {"sync"}}
		if c.settings.Waited == 2 {
			want[0] = want[1]
		}
		if err == nil && fmt.Sprint(rows) != fmt.Sprint(want) {
			err = fmt.Errorf("followers that stream: %v, not %v", rows, want)
		}
		return err
	})
}

// furnish makes users, talk's database and tables, and starts talk's gateways.
func (c *Cluster) furnish(ctx context.Context) error {
	leader, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	w, err := c.lab.Wanted(leader)
	if err != nil {
		return err
	}
	for _, q := range w.Roles {
		if strings.HasPrefix(q, "CREATE ROLE "+replicationRole) {
			continue // Patroni made it
		}
		if _, err := c.lab.SQL(ctx, leader, "postgres", q); err != nil {
			return err
		}
	}
	return c.lab.AddTalk(ctx, leader)
}

// get asks something inside a place over HTTP.
func (c *Cluster) get(ctx context.Context, p lab.Place, url string, into any) error {
	return c.call(ctx, p, http.MethodGet, url, nil, into)
}

func (c *Cluster) call(ctx context.Context, p lab.Place, method, url string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	in, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(string(in)))
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DialContext: c.lab.DialIn(p), DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end, or not wanted
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("%s: %s: %w", url, resp.Status, err)
	}
	return nil
}

// until asks again and again until ok has no objection; the error is its last.
func until(ctx context.Context, most time.Duration, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", most, err)
		case <-tick.C:
		}
	}
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}
