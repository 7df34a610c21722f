package tower

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/testkit"
	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/web"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// operator is who applies estates.
var operator = pki.Identity{Kind: pki.Person, Name: "operator", Roles: []string{pki.Operator}}

// within bounds what a test waits for in the real world.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// until polls ok, and fails the test if it stays false.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx := within(t)
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for !ok() {
		select {
		case <-every.C:
		case <-ctx.Done():
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

// leavesNothing fails the test if a goroutine is left when all towers are down. Call it first. etcd
// leaves some of its connections to other members to time out, so those are not counted.
func leavesNothing(t testing.TB) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
			goleak.IgnoreAnyFunction("net/http.(*conn).serve"), goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"))
	})
}

// logged writes a tower's log into the test's.
func logged(t testing.TB) *slog.Logger {
	if os.Getenv("HAECHI_DEBUG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// town is some towers, tower-a in site a and so on, whose orders change one world.
type town struct {
	t     *testing.T
	ca    string
	world *testkit.World
	cfg   map[string]Config
	nodes map[string]*Node
}

func newTown(t *testing.T, sites ...string) *town {
	t.Helper()
	p := newPlace(t)
	w := &town{t, p.ca, testkit.NewWorld(), map[string]Config{}, map[string]*Node{}}
	cluster := map[string]Seat{}
	for _, s := range sites {
		cluster["tower-"+s] = Seat{Site: estate.SiteID(s), Peer: free(t), Etcd: free(t)}
	}
	for _, s := range sites {
		name := "tower-" + s
		w.cfg[s] = Config{Name: name, Site: estate.SiteID(s), Data: t.TempDir(), Cluster: cluster,
			Listen: Listen{Peer: cluster[name].Peer, Page: free(t)}, TLS: p.files(pki.Tower, name),
			Etcd: Etcd{Heartbeat: 40 * time.Millisecond, Election: 400 * time.Millisecond}}
		must(t, etcd.Prepare(w.cfg[s].etcd(nil).DataDir))
	}
	return w
}

// up starts a tower, which is stopped with the test at the latest.
func (w *town) up(site string) *Node {
	w.t.Helper()
	n, err := w.start(w.cfg[site], logged(w.t).With("tower", site))
	must(w.t, err)
	w.nodes[site] = n
	w.t.Cleanup(func() { w.down(site) })
	return n
}

// start starts a tower whose orders change the one world, and whose seats are real.
func (w *town) start(cfg Config, log *slog.Logger) (*Node, error) {
	return start(cfg, log, func(n *Node) map[string]driver.Driver {
		return map[string]driver.Driver{"postgres": w.world, "dns": w.world, "towers": n.seater()}
	})
}

// down stops a tower, if it is up.
func (w *town) down(site string) {
	w.t.Helper()
	if n := w.nodes[site]; n != nil {
		delete(w.nodes, site)
		if err := n.Stop(); err != nil {
			w.t.Errorf("stop %s: %v", site, err)
		}
	}
}

// driver waits until one tower drives and all that are up know it.
func (w *town) driver() (driver *Node) {
	w.t.Helper()
	until(w.t, "one tower drives, and all know it", func() bool {
		driver = nil
		for _, n := range w.nodes {
			if n.isDriving() {
				driver = n
			}
		}
		if driver == nil {
			return false
		}
		d, _ := driver.driving()
		for _, n := range w.nodes {
			if n.beliefs().snap.Drive != d {
				return false
			}
		}
		return true
	})
	return driver
}

// estate is one without databases: a name with an answer in each site, whose only
// name server stands in site a.
func (w *town) estate() string {
	var sites, towers, answers []string
	for _, s := range []string{"a", "b", "c", "d"} {
		c, ok := w.cfg[s]
		if ok {
			towers = append(towers, fmt.Sprintf("tower-%s: {site: %s, address: %q}", s, s, c.Listen.Peer))
		}
		if s == "d" && !ok {
			continue // only where a tower stands there
		}
		sites = append(sites, s+": {}")
		answers = append(answers, fmt.Sprintf("%s: %q", s, "127.0.1.1:80"))
	}
	key := filepath.Join(w.t.TempDir(), "tsig")
	must(w.t, os.WriteFile(key, []byte("c2VjcmV0"), 0o600))
	return fmt.Sprintf(`haechi: v1
estate: test
sites: {%s}
towers: {%s}
hosts:
  ns-a: {site: a, agent: "127.0.0.1:1", address: %q, unit: named}
services:
  talk: {}
names:
  talk.example.: {service: talk, zone: example., ttl: 1s, servers: [ns-a], answers: {%s}, key: {name: haechi-key., secret: {file: %s}}}
policy: {profile: fast, site-loss: auto}
`, strings.Join(sites, ", "), strings.Join(towers, ", "), free(w.t), strings.Join(answers, ", "), key)
}

// withStore adds a store with members in a, b and c on hosts where nobody answers.
func withStore(text string, any int) string {
	text = strings.Replace(text, "hosts:\n", "hosts:\n  db-a: {site: a, agent: '127.0.0.1:2'}\n  db-b: {site: b, agent: '127.0.0.1:3'}\n  db-c: {site: c, agent: '127.0.0.1:4'}\n", 1)
	member := "%[1]s: {site: %[1]s, host: db-%[1]s, address: '127.0.1.%[2]d:1', unit: talk-db}"
	return text + fmt.Sprintf("stores:\n  talk-db: {engine: postgres, tier: 0, primary: a, acknowledge: {any: %d}, members: {%s, %s, %s}}\n", any,
		fmt.Sprintf(member, "a", 1), fmt.Sprintf(member, "b", 2), fmt.Sprintf(member, "c", 3))
}

// apply makes text the estate in force, and waits until all towers go by it.
func (w *town) apply(at *Node, text string) {
	w.t.Helper()
	v, err := at.Apply(within(w.t), operator, []web.File{{Name: "estate.yaml", Data: []byte(text)}}, -1)
	must(w.t, err)
	until(w.t, "all towers go by the estate", func() bool {
		for _, n := range w.nodes {
			if n.beliefs().snap.Estate.Version != v.Version {
				return false
			}
		}
		return true
	})
}

// closed waits for a run's end.
func closed(t testing.TB, n *Node, id run.ID) web.Run {
	t.Helper()
	until(t, "the run ends", func() bool { i, ok := n.store.Snapshot().Index[id]; return ok && !i.Open() })
	r, err := n.Run(within(t), id)
	must(t, err)
	return r
}

// refusedAs fails the test unless err is the asker's business, under that code.
func refusedAs(t testing.TB, err error, code web.Code, says string) {
	t.Helper()
	r, ok := err.(*web.Refused)
	if !ok || r.Code != code || !strings.Contains(r.Why, says) {
		t.Fatalf("err = %v, want %s that says %q", err, code, says)
	}
}

// hang lets the next act hang until its tower dies, and closes hung when it has begun.
func (w *town) hang(hung chan struct{}) {
	var once sync.Once
	w.world.Before = func(ctx context.Context, _ string, _ driver.Task) (res driver.Result, err error) {
		once.Do(func() {
			close(hung)
			<-ctx.Done()
			err = context.Cause(ctx)
		})
		return res, err
	}
}
