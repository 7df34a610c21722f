//go:build lab

package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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

// order has a person order something, and returns at once with the run's name. What is refused since a run is open about
// the same, a comparison for example, is ordered again.
func (w world) order(args ...string) run.ID {
	w.Helper()
	var out string
	w.eventually(time.Minute, fmt.Sprintf("haechi %v is taken", args), func() (err error) {
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

// event counts down to the k-th event of a run.
func event(k int) func(run.Event, plan.Verb) bool {
	return func(run.Event, plan.Verb) bool { k--; return k == 0 }
}

// at evacuates the primary's site, and does something at the first event of the run that is
// wanted (verb is that of its step), given the site of the driving tower. It returns
// false where the run had no such event.
func (w world) at(want func(run.Event, plan.Verb) bool, hit func(driver lab.Place)) (from lab.Place, id run.ID, reached bool) {
	w.Helper()
	from, err := w.primary(lab.Sites()...)
	if err != nil {
		w.Fatal(err)
	}
	driver := w.driver(lab.Sites()...)
	ctx, cancel := context.WithTimeout(w.Context(), 90*time.Second)
	defer cancel()
	events := w.follow(ctx, others(driver)[0])
	id = w.order("evacuate", string(from))
	n := 0
	var steps []plan.Step
	for ev := range events {
		if ev.Run != id {
			continue
		}
		if ev.Plan != nil {
			steps = ev.Plan.Steps
		}
		var verb plan.Verb
		if ev.Step > 0 && ev.Step <= len(steps) {
			verb = steps[ev.Step-1].Verb
		}
		if n++; want(ev, verb) {
			hit(driver)
			w.Logf("event %d: %s %d %s %s", n, ev.Kind, ev.Step, verb, ev.Why)
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

// twice complains of a step that was done again, or begun again without an end that was written or
// found before, of a promotion that an agent carried out more than once, and of a run that is
// done though nobody was promoted.
func (w world) twice(r tale) error {
	w.Helper()
	begun, done := map[int]bool{}, map[int]int{}
	for _, ev := range r.events {
		switch {
		case ev.Kind == run.Began && begun[ev.Step]:
			return fmt.Errorf("step %d of run %s began again, and nobody had looked", ev.Step, r.ID)
		case ev.Kind == run.Began:
			begun[ev.Step] = true
		case ev.Kind == run.UndoEnded && ev.Outcome == run.Done:
			begun[ev.Step], done[ev.Step] = false, 0
		case ev.Kind == run.Ended:
			begun[ev.Step] = false
			if ev.Outcome == run.Done {
				done[ev.Step]++
			}
		}
		if done[ev.Step] > 1 {
			return fmt.Errorf("step %d of run %s was done twice", ev.Step, r.ID)
		}
	}
	for _, s := range r.Plan.Steps {
		if s.Verb != plan.Promote {
			continue
		}
		told, carried := w.promotions(r.ID, s.ID)
		if carried > 1 || r.Status() == run.StatusDone && (told == 0 || done[s.ID] != 1) {
			return fmt.Errorf("run %s is %s: its promotion was ordered %d times, carried out %d times, and ended as done %d times", r.ID, r.Status(), told, carried, done[s.ID])
		}
	}
	return nil
}

// promotions counts how often agents were told to promote in a step of a run, and how often they did.
func (w world) promotions(id run.ID, step int) (told, carried int) {
	w.Helper()
	for _, p := range lab.Sites() {
		for _, o := range w.toldTo(p, time.Time{}) {
			if !strings.Contains(o.Line, " verb=promote ") || !strings.Contains(o.Line, fmt.Sprintf(" run=%s step=%d ", id, step)) {
				continue
			}
			if told++; o.Done {
				carried++
			}
		}
	}
	return told, carried
}

// Row 13: the driving tower is killed after each journaled event of a run; on a slow machine, where a run and the way back
// from it take 20 s, after each third one, unless HAECHI_SOAK is set.
func TestDriverKilledAfterEachEvent(t *testing.T) {
	w := raise(t, "fast")
	first, stride := 1, 1
	if slow && os.Getenv("HAECHI_SOAK") == "" {
		_, draw := w.moments()
		stride = 3
		first += draw.IntN(stride)
	}
	f := w.under(func() lab.Proof {
		r := w.finishes(lab.Ansan, w.order("failover", "talk-db", "--to", "ansan"), 20*time.Second)
		began := lab.Proof{At: r.Opened, What: "runs whose driver dies"}
		for k := first; ; k += stride {
			var dead lab.Place
			from, id, reached := w.at(event(k), func(driver lab.Place) {
				dead = driver
				if _, err := w.KillProcess(t.Context(), driver, lab.RoleTower); err != nil {
					t.Fatal(err)
				}
			})
			if !reached {
				t.Logf("a run has less than %d events", k)
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
	w.served(f)
}

// serving lets a site that was emptied answer users again, and waits until everything is as it should be.
func (w world) serving(p lab.Place) {
	w.Helper()
	w.shows(p, 2*time.Minute, "everything up", func(n web.Now) bool {
		return allUp(n) && n.Quorum.Have && n.Stores[0].Writes == web.WritesAcknowledged && len(n.Stores[0].Unmet) == 0 && !slices.ContainsFunc(n.Runs, web.Run.Open)
	})
	if got, err := w.names(others(p)[0]); err == nil && slices.Contains(got, p) {
		return
	}
	if r := w.finishes(others(p)[0], w.order("serve", string(p)), time.Minute); r.Status() != run.StatusDone {
		w.Fatalf("serve %s: %s", p, r.Closed)
	}
	w.sends(others(p)[0], 20*time.Second, lab.Sites()...)
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

// records are the towers' records below some keys, as the etcd member in a site has them.
func (w world) records(p lab.Place, below ...string) map[string]string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 10*time.Second)
	defer cancel()
	c := w.etcd(ctx, p)
	defer c.Close()
	out := map[string]string{}
	for _, key := range below {
		r, err := c.Get(ctx, "/haechi/now/"+key, clientv3.WithPrefix())
		if err != nil || len(r.Kvs) == 0 {
			w.Fatalf("the towers keep nothing below %s: %v", key, err)
		}
		for _, kv := range r.Kvs {
			out[string(kv.Key)] = string(kv.Value)
		}
	}
	return out
}

// Row 20: all towers are restarted, in the middle of a run, and again when it is done.
func TestAllTowersRestarted(t *testing.T) {
	w := raise(t, "fast")
	before, err := w.now(lab.Pangyo)
	if err != nil {
		t.Fatal(err)
	}
	people := w.records(lab.Pangyo, "estate", "armed/") // what no run changes
	restart := func() lab.Proof {
		var p lab.Proof
		for _, q := range lab.Sites() {
			p = w.must(w.KillProcess(t.Context(), q, lab.RoleTower))
		}
		for _, q := range lab.Sites() {
			w.must(w.StartProcess(t.Context(), q, lab.RoleTower))
		}
		return p
	}
	f := w.under(func() lab.Proof {
		var p lab.Proof
		from, id, reached := w.at(event(4), func(lab.Place) { p = restart() })
		if !reached {
			t.Fatal("the run ended before")
		}
		if r := w.finishes(lab.Pangyo, id, 40*time.Second); r.Status() != run.StatusDone {
			t.Errorf("%s ended %s (%s): it was to go on", id, r.Status(), r.Closed)
		}
		w.sends(lab.Anyang, 5*time.Second, others(from)...)
		return p
	}, func(t *trial.Trial) { t.Patience = 60 * time.Second })
	w.served(f)
	up := func(n web.Now) bool { return allUp(n) && n.Stores[0].Writes == web.WritesAcknowledged && n.Quorum.Have }
	after := w.shows(lab.Pangyo, 30*time.Second, "everything up", up)
	if after.Estate != before.Estate || !slices.Equal(after.Armed, before.Armed) || after.Driver.Term <= before.Driver.Term {
		t.Errorf("estate %v, armed %v, term %d; before it was %v, %v, %d", after.Estate, after.Armed, after.Driver.Term, before.Estate, before.Armed, before.Driver.Term)
	}
	if got := w.records(lab.Pangyo, "estate", "armed/"); !maps.Equal(got, people) {
		t.Errorf("what people set is %v; before it was %v", got, people)
	}
	if _, err := w.Haechi(t.Context(), "hold", "--why", "so that there is a hold"); err != nil {
		t.Fatal(err)
	}
	w.shows(lab.Pangyo, 2*time.Minute, "no run", func(n web.Now) bool { return len(n.Holds) > 0 && !slices.ContainsFunc(n.Runs, web.Run.Open) })
	all := w.records(lab.Pangyo, "estate", "armed/", "holds/", "stores/", "withdrawn/", "intents/")
	restart()
	w.shows(lab.Pangyo, 30*time.Second, "everything up", up)
	if got := w.records(lab.Pangyo, "estate", "armed/", "holds/", "stores/", "withdrawn/", "intents/"); !maps.Equal(got, all) {
		t.Errorf("the records are %v; before the second restart they were %v", got, all)
	}
}
