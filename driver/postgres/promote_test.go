package postgres

import (
	"maps"
	"testing"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
)

// chosen carries a failover up to its promotion.
func (w *fakeWorld) chosen(t *testing.T) run.Facts {
	t.Helper()
	f := run.Facts{}
	for _, v := range []plan.Verb{plan.Seal, plan.Choose, plan.Follow} {
		res, err := w.driver().Do(t.Context(), w.task(v, f, "ansan", "anyang"))
		if err != nil || res.Outcome != run.Done {
			t.Fatalf("%s: %v %v", v, res.Outcome, err)
		}
		maps.Copy(f, res.Facts)
	}
	return f
}

// The server dies and its agent lives: the promotion goes on by itself, as a look and a further try.
func TestAPromotedServerThatDiesIsPromotedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*fakeMember)
		dead  bool // before it was told
	}{
		"before it was told":        {func(m *fakeMember) { m.dead = true }, true},
		"before others hold it all": {func(m *fakeMember) { m.dies = 1 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newFakeWorld(t)
			f := w.chosen(t)
			c.spoil(w.members[f[factChosen]])
			task := w.task(plan.Promote, f, "ansan", "anyang")
			if !c.dead {
				began := time.Now()
				res, err := w.driver().Do(t.Context(), task)
				if err == nil || res.Outcome != run.Unknown || res.Store != nil {
					t.Fatalf("it died: %v %v, record %+v", res.Outcome, err, res.Store)
				}
				if d := time.Since(began); d > 5*time.Second {
					t.Errorf("a server that is down was waited for %v", d)
				}
			}
			if res, err := w.driver().Look(t.Context(), task); err != nil || res.Outcome != run.NotDone {
				t.Fatalf("look: %v %v", res.Outcome, err)
			}
			res, err := w.driver().Do(t.Context(), task)
			if err != nil || res.Outcome != run.Done || res.Store == nil || res.Store.LeastAny != 1 {
				t.Errorf("again: %v %v, record %+v", res.Outcome, err, res.Store)
			}
		})
	}
}

// One that no run promotes under this epoch stays down, whatever it was told before.
func TestOnlyTheRunThatPromotesStartsWhatDiedMeanwhile(t *testing.T) {
	w := newFakeWorld(t)
	f := w.chosen(t)
	m := w.members[f[factChosen]]
	m.dies = 1
	if _, err := w.driver().Do(t.Context(), w.task(plan.Promote, f, "ansan", "anyang")); err == nil {
		t.Fatal("it lives")
	}
	task := w.task(plan.Promote, f, "ansan", "anyang")
	task.Epoch++
	if res, err := w.driver().Do(t.Context(), task); err == nil || res.Outcome != run.NotDone || !m.dead {
		t.Errorf("another epoch's promotion: %v %v", res.Outcome, err)
	}
	u := &Unit{set: Settings{Member: m.name}}
	for _, v := range []plan.Verb{plan.Open, plan.Halt} {
		s, err := w.driver().open(w.task(v, f, m.name))
		if err != nil {
			t.Fatal(err)
		}
		if err := u.mayStart(s.order("start", m.name), m.mem); err == nil {
			t.Errorf("%s started a primary whose promotion does not stand", v)
		}
	}
}
