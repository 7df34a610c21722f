//go:build lab

package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/tower/web"
)

// runsKey is where the towers' records keep the events of runs.
const runsKey = "/haechi/runs/"

// follow hands over the events of runs as the etcd member in a site takes them, from now on.
func (w world) follow(ctx context.Context, p lab.Place) <-chan run.Event {
	w.Helper()
	c := w.etcd(ctx, p)
	out := make(chan run.Event, 1024)
	began := make(chan struct{})
	go func() {
		defer close(out)
		defer c.Close()
		for r := range c.Watch(ctx, runsKey, clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
			if r.Created {
				close(began)
			}
			for _, e := range r.Events {
				var ev run.Event
				if json.Unmarshal(e.Kv.Value, &ev) == nil {
					out <- ev
				}
			}
		}
	}()
	select {
	case <-began:
	case <-time.After(5 * time.Second):
		w.Fatalf("etcd in %s tells of nothing", p)
	}
	return out
}

// order has a person order something, and returns at once with the run's name.
func (w world) order(args ...string) run.ID {
	w.Helper()
	var out string
	w.eventually(20*time.Second, fmt.Sprintf("haechi %v is taken", args), func() (err error) {
		out, err = w.Haechi(w.Context(), append(args, "--no-wait", "--output", "json")...)
		if err != nil && strings.Contains(err.Error(), "it may have happened") {
			w.Fatal(err) // asking again could do it twice
		}
		return err
	})
	var s web.Started
	out = out[max(strings.IndexByte(out, '{'), 0):] // whom it had to wait for is said before
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.Run == "" {
		w.Fatalf("haechi %v: %s: %v", args, out, err)
	}
	return s.Run
}

// driver is the site whose tower drives, as the towers in some sites say.
func (w world) driver(among ...lab.Place) lab.Place {
	w.Helper()
	var out lab.Place
	w.eventually(15*time.Second, "a tower drives", func() error {
		for _, p := range among {
			n, err := w.now(p)
			if err != nil {
				continue
			}
			if site, ok := strings.CutPrefix(n.Driver.Tower, "tower-"); ok && n.Quorum.Have {
				out = lab.Place(site)
				return nil
			}
		}
		return errors.New("nobody knows who")
	})
	return out
}

// at evacuates the primary's site, and does something at the k-th event of the run,
// given the site of the driving tower. It returns false where the run had fewer events.
func (w world) at(k int, hit func(driver lab.Place)) (from lab.Place, id run.ID, reached bool) {
	w.Helper()
	from, err := w.primary(lab.Sites()...)
	if err != nil {
		w.Fatal(err)
	}
	driver := w.driver(lab.Sites()...)
	ctx, cancel := context.WithTimeout(w.Context(), 30*time.Second)
	defer cancel()
	events := w.follow(ctx, others(driver)[0])
	id = w.order("evacuate", string(from))
	n := 0
	for ev := range events {
		if ev.Run != id {
			continue
		}
		if n++; n == k {
			hit(driver)
			w.Logf("event %d: %s %d %s", k, ev.Kind, ev.Step, ev.Why)
			return from, id, true
		}
		if ev.Kind == run.Closed {
			return from, id, false
		}
	}
	w.Fatalf("run %s had %d events and did not end", id, n)
	return from, id, false
}

// finishes waits until a run is done, and checks that no step was done twice.
func (w world) finishes(p lab.Place, id run.ID, most time.Duration) tale {
	w.Helper()
	var out tale
	w.eventually(most, fmt.Sprintf("run %s ends", id), func() error {
		all, err := w.runs(p, time.Time{})
		if err != nil {
			return err
		}
		for _, r := range all {
			if r.ID == id && r.Closed != "" {
				out = r
				return nil
			}
		}
		return errors.New(tell(all))
	})
	if err := w.twice(out); err != nil {
		w.Error(err)
	}
	return out
}

// twice complains of a promotion that was done more than once in one step of a run.
func (w world) twice(r tale) error {
	w.Helper()
	for _, s := range r.Plan.Steps {
		if s.Verb != plan.Promote {
			continue
		}
		var done []string
		for _, p := range lab.Sites() {
			for _, o := range w.toldTo(p, time.Time{}) {
				if o.Done && strings.Contains(o.Line, " verb=promote ") && strings.Contains(o.Line, fmt.Sprintf(" run=%s step=%d ", r.ID, s.ID)) {
					done = append(done, o.Line)
				}
			}
		}
		if len(done) > 1 {
			return fmt.Errorf("step %d of run %s was done twice:\n%s", s.ID, r.ID, strings.Join(done, "\n"))
		}
	}
	return nil
}

// Row 13: the driving tower is killed after each journaled event of a run.
func TestDriverKilledAfterEachEvent(t *testing.T) {
	w := raise(t, "fast")
	f := w.under(func() lab.Proof {
		first := w.order("failover", "talk-db", "--to", "ansan")
		r := w.finishes(lab.Ansan, first, 20*time.Second)
		began := lab.Proof{At: r.Opened, What: "runs whose driver dies"}
		for k := 1; ; k++ {
			var dead lab.Place
			from, id, reached := w.at(k, func(driver lab.Place) {
				dead = driver
				if _, err := w.KillProcess(t.Context(), driver, lab.RoleTower); err != nil {
					t.Fatal(err)
				}
			})
			if !reached {
				t.Logf("a run has %d events", k-1)
				w.finishes(lab.Ansan, id, 20*time.Second)
				return began
			}
			r := w.finishes(others(dead)[0], id, 30*time.Second)
			if r.Status() != run.StatusDone && r.Status() != run.StatusUndone {
				t.Errorf("killed after event %d: %s ended %s (%s)", k, id, r.Status(), r.Closed)
			}
			t.Logf("killed the tower in %s after event %d: %s %s in %v, ended by %s", dead, k, id, r.Status(), r.Last.Sub(r.Opened).Round(time.Millisecond), r.Tower)
			w.must(w.StartProcess(t.Context(), dead, lab.RoleTower))
			w.serving(from)
		}
	}, func(t *trial.Trial) { t.Clients, t.Rate, t.Patience = 20, 50, 60*time.Second })
	w.served(f, 1000)
}

// serving lets a site that was emptied answer users again, and waits until everything is as it should be.
func (w world) serving(p lab.Place) {
	w.Helper()
	w.shows(p, 30*time.Second, "everything up", func(n web.Now) bool {
		return allUp(n) && n.Quorum.Have && n.Stores[0].Writes == web.WritesAcknowledged && len(n.Stores[0].Unmet) == 0 && !slices.ContainsFunc(n.Runs, web.Run.Open)
	})
	if got, err := w.names(others(p)[0]); err == nil && slices.Contains(got, p) {
		return
	}
	w.order("serve", string(p))
	w.sends(others(p)[0], 20*time.Second, lab.Sites()...)
}

// Row 14, first half: the driving tower is stopped in mid-run, and continued when another has ended it.
func TestStoppedDriverIsRefusedWhenItGoesOn(t *testing.T) {
	w := raise(t, "fast")
	f := w.under(func() lab.Proof {
		var p lab.Proof
		_, id, reached := w.at(5, func(driver lab.Place) { p = w.must(w.Stop(t.Context(), driver, lab.RoleTower)) })
		if !reached {
			t.Fatal("the run ended before")
		}
		stopped := w.stoppedTower()
		r := w.finishes(others(stopped)[0], id, 30*time.Second)
		if r.Status() != run.StatusDone && r.Status() != run.StatusUndone {
			t.Errorf("%s ended %s (%s)", id, r.Status(), r.Closed)
		}
		term := r.Term
		w.while(time.Until(p.At.Add(long(30*time.Second, 10*time.Second))))
		again := w.must(w.Continue(t.Context(), stopped, lab.RoleTower))
		w.shows(stopped, 15*time.Second, "that another drives", func(n web.Now) bool { return n.Driver.Term >= term && n.Quorum.Have })
		w.always(2*time.Second, "no order of an old term is done", func() error { return w.lateOrders(again.At, term) })
		if n := len(mustRuns(w, stopped, r.Opened)); n > 3 {
			t.Errorf("%d runs since then", n)
		}
		return p
	}, func(t *trial.Trial) { t.Patience = 60 * time.Second })
	w.served(f, 60)
}

func mustRuns(w world, p lab.Place, since time.Time) []tale {
	w.Helper()
	all, err := w.runs(p, since)
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// stoppedTower is the site whose tower does not answer.
func (w world) stoppedTower() lab.Place {
	w.Helper()
	for _, p := range lab.Sites() {
		if _, err := w.now(p); err != nil {
			return p
		}
	}
	w.Fatal("every tower answers")
	return ""
}

// told is one line of an agent's log about an order.
type told struct {
	At   time.Time
	Took time.Duration
	Term uint64
	Done bool
	Line string
}

// toldTo reads what an agent was ordered since an instant.
func (w world) toldTo(p lab.Place, since time.Time) (out []told) {
	w.Helper()
	b, err := os.ReadFile(filepath.Join(w.Dir(), "log", string(p)+"-agent.log"))
	if err != nil {
		w.Fatal(err)
	}
	value := func(line, key string) string {
		_, after, _ := strings.Cut(" "+line, " "+key+"=")
		word, _, _ := strings.Cut(after, " ")
		return word
	}
	for _, line := range strings.Split(string(b), "\n") {
		if value(line, "msg") != "order" {
			continue
		}
		o := told{Line: line, Done: value(line, "code") == `""`}
		o.At, _ = time.Parse(time.RFC3339Nano, value(line, "time"))
		o.Took, _ = time.ParseDuration(value(line, "took"))
		o.Term, _ = strconv.ParseUint(value(line, "term"), 10, 64)
		if o.At.After(since) {
			out = append(out, o)
		}
	}
	return out
}

// lateOrders complains of orders that agents carried out since an instant for a term below one.
func (w world) lateOrders(since time.Time, term uint64) error {
	for _, p := range lab.Sites() {
		for _, o := range w.toldTo(p, since) {
			if o.Done && o.Term < term {
				return fmt.Errorf("%s: %s", p, o.Line)
			}
		}
	}
	return nil
}

// lateWork is an order that an agent got before an instant, and carried out after it although it was stopped
// for so long that nobody waited any more.
func (w world) lateWork(p lab.Place, since time.Time) string {
	for _, o := range w.toldTo(p, since) {
		if o.Done && o.At.Add(-o.Took).Before(since.Add(-5*time.Second)) {
			return o.Line
		}
	}
	return ""
}

// Row 14, second half: an agent is stopped in mid-run, and goes on when the run is over.
func TestStoppedAgentDoesNothingLate(t *testing.T) {
	w := raise(t, "fast")
	f := w.under(func() lab.Proof {
		p := w.must(w.KillProcess(t.Context(), lab.Pangyo, lab.RolePostgres))
		w.eventually(10*time.Second, "a member is sealed", func() error {
			rows, err := w.SQL(t.Context(), lab.Ansan, "postgres", "SHOW primary_conninfo")
			if err == nil && rows[0][0] != "" {
				err = errors.New("not yet")
			}
			return err
		})
		stopped := w.must(w.Stop(t.Context(), lab.Ansan, lab.RoleAgent))
		w.while(time.Until(stopped.At.Add(long(30*time.Second, 10*time.Second))))
		before, err := w.journalOf(lab.Anyang)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("while the agent was stopped: %s", before[len(before)-1].Text)
		again := w.must(w.Continue(t.Context(), lab.Ansan, lab.RoleAgent))
		w.while(time.Second)
		if late := w.lateWork(lab.Ansan, again.At); late != "" {
			t.Errorf("what was ordered before the stop, and given up since, was carried out after it: %s", late)
		}
		asked := map[run.ID]bool{}
		w.eventually(40*time.Second, "one primary takes writes", func() error {
			acked, err := w.acknowledges()
			if len(acked) == 1 {
				return err
			}
			all := mustRuns(w, lab.Anyang, p.At)
			for _, r := range all {
				if r.Status() == run.StatusAsked && !asked[r.ID] {
					asked[r.ID] = true
					err = errors.Join(err, w.approveAs(lab.Anyang, r)) // unless another took its place just now
				}
			}
			return fmt.Errorf("%v acknowledge (%w); %s", acked, err, tell(all))
		})
		w.always(3*time.Second, "never two primaries", func() error {
			if all := w.Primaries(t.Context()); len(all) > 1 {
				return fmt.Errorf("%v", all)
			}
			return nil
		})
		return p
	}, gone(lab.Pangyo), func(t *trial.Trial) { t.Patience = 60 * time.Second })
	w.served(f, 80)
}

// Row 20: all towers are restarted, in the middle of a run.
func TestAllTowersRestarted(t *testing.T) {
	w := raise(t, "fast")
	before, err := w.now(lab.Pangyo)
	if err != nil {
		t.Fatal(err)
	}
	f := w.under(func() lab.Proof {
		var p lab.Proof
		_, id, reached := w.at(4, func(lab.Place) {
			for _, q := range lab.Sites() {
				p = w.must(w.KillProcess(t.Context(), q, lab.RoleTower))
			}
		})
		if !reached {
			t.Fatal("the run ended before")
		}
		for _, q := range lab.Sites() {
			w.must(w.StartProcess(t.Context(), q, lab.RoleTower))
		}
		r := w.finishes(lab.Pangyo, id, 40*time.Second)
		if r.Status() != run.StatusDone && r.Status() != run.StatusUndone {
			t.Errorf("%s ended %s (%s)", id, r.Status(), r.Closed)
		}
		return p
	}, func(t *trial.Trial) { t.Patience = 60 * time.Second })
	w.served(f, 60)
	after := w.shows(lab.Pangyo, 30*time.Second, "everything up", func(n web.Now) bool { return allUp(n) && n.Stores[0].Writes == web.WritesAcknowledged })
	if after.Estate != before.Estate || !slices.Equal(after.Armed, before.Armed) || after.Driver.Term <= before.Driver.Term {
		t.Errorf("estate %v, armed %v, term %d; before it was %v, %v, %d", after.Estate, after.Armed, after.Driver.Term, before.Estate, before.Armed, before.Driver.Term)
	}
}
