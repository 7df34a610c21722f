//go:build lab

package proof

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/web"
)

// gather has the tower in p drive, and its etcd member lead.
func (w world) gather(p lab.Place) {
	w.Helper()
	for range 20 {
		n := w.shows(p, 20*time.Second, "every site up", allUp)
		if n.Driver.Tower == "tower-"+string(p) {
			w.lead(p)
			return
		}
		for _, q := range others(p) {
			if n.Driver.Tower == "tower-"+string(q) {
				w.must(w.Stop(w.Context(), q, lab.RoleTower))
				w.shows(p, 10*time.Second, "another driver", func(now web.Now) bool { return now.Driver.Term > n.Driver.Term })
				w.must(w.Continue(w.Context(), q, lab.RoleTower))
			}
		}
	}
	w.Fatalf("the tower in %s never drove", p)
}

// etcdClient is where each tower's etcd member listens for those who have a tower's certificate.
const etcdClient = "127.0.0.1:2379"

// etcd speaks to the member in a site, from within the site.
func (w world) etcd(ctx context.Context, p lab.Place) *clientv3.Client {
	w.Helper()
	config, err := pki.ClientTLS(pki.FilesIn(w.At(p, "tower", "tls")), pki.Only(pki.Tower))
	if err != nil {
		w.Fatal(err)
	}
	dial := w.DialIn(p)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{etcdClient}, Context: ctx, TLS: config,
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return dial(ctx, "tcp", etcdClient)
		})}})
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// lead moves etcd's lead to the member in p, if it is elsewhere.
func (w world) lead(p lab.Place) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 10*time.Second)
	defer cancel()
	at := func(p lab.Place) (*clientv3.Client, *clientv3.StatusResponse) {
		c := w.etcd(ctx, p)
		s, err := c.Status(ctx, etcdClient)
		if err != nil {
			w.Fatalf("etcd in %s: %v", p, err)
		}
		return c, s
	}
	here, mine := at(p)
	defer here.Close()
	for _, q := range others(p) {
		c, s := at(q)
		if s.Leader == s.Header.MemberId {
			if _, err := c.MoveLeader(ctx, mine.Header.MemberId); err != nil {
				w.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			w.Error(err)
		}
	}
	w.eventually(5*time.Second, "etcd's leader is in "+string(p), func() error {
		s, err := here.Status(ctx, etcdClient)
		if err == nil && s.Leader != mine.Header.MemberId {
			err = fmt.Errorf("it is %x", s.Leader)
		}
		return err
	})
	w.Logf("the tower in %s drives, and etcd's leader is there", p)
}

// Row 1: fire where the primary, the driving tower, etcd's leader and the first name server are.
func TestFireTakesEverythingThatMattersAtOnce(t *testing.T) {
	w := raise(t, "fast")
	w.gather(lab.Pangyo)
	f := w.under(func() lab.Proof { return w.must(w.Fire(w.Context(), lab.Pangyo)) }, gone(lab.Pangyo), func(t *trial.Trial) { t.Clients, t.Rate = 200, 500 })
	w.served(f)
	w.ended(lab.Ansan, 20*time.Second, f.At, "lose-site", run.StatusDone)
	p, err := w.primary(others(lab.Pangyo)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range others(lab.Pangyo) {
		w.sends(q, 2*time.Second, others(lab.Pangyo)...)
	}
	t.Logf("%s is primary", p)
}

// Row 2: fire in a site without the primary.
func TestFireWithoutThePrimaryMovesNothing(t *testing.T) {
	w := raise(t, "fast")
	f := w.under(func() lab.Proof { return w.must(w.Fire(w.Context(), lab.Ansan)) }, gone(lab.Ansan))
	w.served(f)
	if f.LongestPause >= 1 {
		t.Errorf("writes paused for %.2f s, must be less than 1", f.LongestPause)
	}
	w.ended(lab.Pangyo, 20*time.Second, f.At, "lose-site", run.StatusDone)
	w.stays(lab.Pangyo, f.At)
	w.sends(lab.Pangyo, 2*time.Second, others(lab.Ansan)...)
}

// stays fails the test unless the primary is where it was and no run promoted.
func (w world) stays(p lab.Place, since time.Time) {
	w.Helper()
	n, err := w.now(p)
	if err != nil {
		w.Fatal(err)
	}
	if s := n.Stores[0]; s.Primary != string(p) || s.Epoch != 1 || s.Writes != web.WritesAcknowledged {
		w.Errorf("the primary is not %s under the first epoch: %s", p, brief(n))
	}
	if got, err := w.primary(p); err != nil || got != p {
		w.Errorf("the primary is %q, %v", got, err)
	}
	all, err := w.runs(p, since)
	for _, r := range all {
		for _, s := range r.Plan.Steps {
			if s.Verb == "promote" || s.Verb == "seal" {
				w.Errorf("run %s wanted to %s %s", r.ID, s.Verb, s.Component)
			}
		}
	}
	if err != nil {
		w.Error(err)
	}
}

// Row 3: the primary's process is killed and its site lives.
func TestKilledDatabaseMovesThatStoreAlone(t *testing.T) {
	w := raise(t, "fast")
	f := w.under(func() lab.Proof { return w.must(w.KillProcess(w.Context(), lab.Pangyo, lab.RolePostgres)) }, gone(lab.Pangyo))
	w.served(f)
	r := w.ended(lab.Pangyo, 20*time.Second, f.At, "lose-store", run.StatusDone)
	for _, s := range r.Plan.Steps {
		if s.Component != "talk-db" {
			t.Errorf("the run has a step for %s: %s", s.Component, s.Verb)
		}
	}
	if _, err := w.primary(others(lab.Pangyo)...); err != nil {
		t.Error(err)
	}
	if n, err := w.now(lab.Ansan); err != nil || !allUp(n) {
		t.Errorf("the sites are not all up: %s, %v", brief(n), err)
	}
	w.sends(lab.Ansan, 2*time.Second, lab.Sites()...)
}

// Row 18: two sites are lost at once. First the two without the primary, then with it.
func TestTwoSitesLostAtOnceStartNothing(t *testing.T) {
	for _, left := range some(t, []lab.Place{lab.Pangyo, lab.Anyang}) {
		t.Run(string(left)+"IsLeft", func(t *testing.T) {
			w := raise(t, "fast")
			f := w.under(func() lab.Proof {
				p := w.must(w.Fire(w.Context(), others(left)[0]))
				w.must(w.Fire(w.Context(), others(left)[1]))
				n := w.shows(left, 10*time.Second, "that the quorum is missing, who is missing, and the way out", func(n web.Now) bool {
					gone := func(p lab.Place) bool {
						return says(n, string(p)) && slices.ContainsFunc(n.Sites, func(s web.Site) bool { return s.ID == string(p) && s.State != "up" && !s.TowerUp })
					}
					return !n.Quorum.Have && n.Quorum.Why != "" && n.Headline.Level == web.Bad && says(n, "bring the other towers back") &&
						gone(others(left)[0]) && gone(others(left)[1])
				})
				t.Log(brief(n))
				w.always(long(20*time.Second, 4*time.Second), "nothing is done", func() error {
					if yes, err := w.IsPrimary(w.Context(), left); err != nil || yes != (left == lab.Pangyo) {
						return errors.Join(fmt.Errorf("the member in %s is primary: %v", left, yes), err)
					}
					return w.noRuns(left, p.At)
				})
				for _, q := range others(left) {
					w.must(w.Rebuild(w.Context(), q))
				}
				for _, q := range others(left) {
					if w.databaseRuns(q) != nil {
						w.must(w.StartDatabase(w.Context(), q))
					}
				}
				return p
			})
			w.served(f)
			w.shows(left, 20*time.Second, "acknowledged writes", func(n web.Now) bool { return n.Stores[0].Writes == web.WritesAcknowledged })
		})
	}
}

func (w world) databaseRuns(p lab.Place) error {
	_, err := w.SQL(w.Context(), p, "postgres", "SELECT 1")
	return err
}
