//go:build lab

package proof

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/tower/web"
)

// Row 14, first half: the driving tower is stopped in mid-run, and continued when another has ended it.
func TestStoppedDriverIsRefusedWhenItGoesOn(t *testing.T) {
	w := raise(t, "fast")
	f := w.under(func() lab.Proof {
		var p lab.Proof
		_, id, reached := w.at(event(5), func(driver lab.Place) { p = w.must(w.Stop(t.Context(), driver, lab.RoleTower)) })
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
		w.refusesOld(term)
		all := slices.DeleteFunc(mustRuns(w, stopped, r.Opened), func(r tale) bool { return r.Plan.Kind == plan.VerifyAll })
		if len(all) > 3 {
			t.Errorf("the runs since then are %s", tell(all))
		}
		return p
	}, func(t *trial.Trial) { t.Patience = 60 * time.Second })
	w.served(f)
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

// refusesOld gives each agent that has heard of a term an order of the one before: it must refuse it.
func (w world) refusesOld(term uint64) {
	w.Helper()
	h, asked := w.asTower(5*time.Second), 0
	defer h.CloseIdleConnections()
	for _, p := range lab.Sites() {
		a, err := give(h, p, agent.Order{Version: 1, Verb: agent.Status, Unit: "talk-db"})
		if err != nil || a.Term < term {
			w.Logf("the agent in %s has heard of term %d (%v)", p, a.Term, err)
			continue
		}
		asked++
		o := agent.Order{Version: 1, Verb: agent.Seal, Unit: "talk-db", Self: string(p), Term: term - 1, Epoch: a.Epoch + 1, Reign: a.Epoch, Life: a.Life, Sent: a.Clock, Within: 5 * time.Second}
		if a, err = give(h, p, o); err != nil || a.Code != agent.OldTerm {
			w.Errorf("the agent in %s was told to seal under term %d: %+v, %v", p, o.Term, a, err)
		}
	}
	if asked == 0 {
		w.Errorf("no agent has heard of term %d, so this shows nothing", term)
	}
}

// lateWork is an order that an agent had begun before it was stopped, and carried out when it went on.
func (w world) lateWork(p lab.Place, since time.Time) string {
	for _, o := range w.toldTo(p, since) {
		if o.Done && o.At.Add(-o.Took).Before(since) {
			return o.Line
		}
	}
	return ""
}

// Row 14, second half: an agent is stopped in mid-run, and goes on when the run is over.
func TestStoppedAgentDoesNothingLate(t *testing.T) {
	w := raise(t, "fast")
	h := w.asTower(90 * time.Second)
	defer h.CloseIdleConnections()
	look := func() agent.Answer {
		a, err := give(h, lab.Ansan, agent.Order{Version: 1, Verb: agent.Status, Unit: "talk-db"})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	look() // so that there is a connection that a stopped agent need not take
	f := w.under(func() lab.Proof {
		p := w.must(w.KillProcess(t.Context(), lab.Pangyo, lab.RolePostgres))
		w.eventually(10*time.Second, "a member is sealed", func() error {
			rows, err := w.SQL(t.Context(), lab.Ansan, "postgres", "SHOW primary_conninfo")
			if err == nil && rows[0][0] != "" {
				err = errors.New("not yet")
			}
			return err
		})
		heard := look()
		stopped := w.must(w.Stop(t.Context(), lab.Ansan, lab.RoleAgent))
		queued := make(chan error, 1)
		go func() { // an order that waits until the agent goes on
			a, err := give(h, lab.Ansan, agent.Order{Version: 1, Verb: agent.Seal, Unit: "talk-db", Self: "ansan", Term: heard.Term, Epoch: heard.Epoch, Reign: heard.Epoch,
				Life: heard.Life, Sent: heard.Clock, Within: 5 * time.Second})
			if err == nil && a.Code != agent.Late {
				err = fmt.Errorf("an order that came while the agent was stopped is to be refused as %s: %+v", agent.Late, a)
			}
			queued <- err
		}()
		w.while(time.Until(stopped.At.Add(long(30*time.Second, 10*time.Second))))
		before, err := w.journalOf(lab.Anyang)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("while the agent was stopped: %s", before[len(before)-1].Text)
		again := w.must(w.Continue(t.Context(), lab.Ansan, lab.RoleAgent))
		if err := <-queued; err != nil {
			t.Error(err)
		}
		w.while(time.Second)
		if late := w.lateWork(lab.Ansan, again.At); late != "" {
			t.Errorf("what was ordered before the stop, and given up since, was carried out after it: %s", late)
		}
		answered := map[time.Time]bool{} // questions, by when they were put: what is asked again is answered again
		w.eventually(40*time.Second, "one primary takes writes", func() error {
			acked, err := w.acknowledges()
			if len(acked) == 1 {
				return err
			}
			all := mustRuns(w, lab.Anyang, p.At)
			for _, r := range all {
				fresh := false
				for _, q := range r.Questions() {
					fresh, answered[q.At] = fresh || !answered[q.At], true
				}
				if r.Status() == run.StatusAsked && fresh {
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
	w.served(f)
}
