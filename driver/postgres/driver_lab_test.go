//go:build lab

package postgres

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// failover carries the steps after the verdict and returns when the order to seal was given.
func (c *cluster) failover(r *carried) time.Time {
	c.t.Helper()
	began := time.Now()
	r.must(plan.Seal, "ansan", "anyang")
	r.must(plan.Choose, "ansan", "anyang")
	r.must(plan.Follow, "ansan", "anyang")
	r.must(plan.Promote, "ansan", "anyang")
	return began
}

// checkNothingLost waits until both survivors are level and looks for every acknowledged row.
func (c *cluster) checkNothingLost(w *writer) {
	c.t.Helper()
	w.end()
	if lost := w.lost(c.members[string(c.record.Primary)]); len(lost) > 0 {
		c.t.Errorf("%d acknowledged rows are lost, for example %d", len(lost), lost[0])
	}
}

func TestFailoverWithThePrimaryKilled(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	w := c.write(4, names...)
	eventually(t, "writes are acknowledged", func() bool { n, _ := w.since(time.Time{}, "pangyo"); return n > 200 })
	c.members["pangyo"].killDatabase()
	began := c.failover(c.begin())
	var first time.Time
	eventually(t, "the new primary acknowledges", func() bool {
		var n int
		n, first = w.since(began, string(c.record.Primary))
		return n > 50
	})
	t.Logf("FIGURE killed: first acknowledged write %v after the order to seal", first.Sub(began))
	c.checkNothingLost(w)
	if c.record.Epoch != 2 || c.record.LeastAny != 1 || len(c.record.Sync) != 1 || len(c.record.Former) != 1 || c.record.Timeline != 2 {
		t.Errorf("record %+v", c.record)
	}
	// The dead one does not come back as primary, also when its agent restarts.
	old := c.members["pangyo"]
	old.stopAgent()
	old.startAgent()
	_, err := c.order("pangyo", agent.Order{Verb: agent.Start, Self: "pangyo", Epoch: c.record.Next, Reign: c.record.Epoch})
	wantCode(t, err, agent.Unsafe)
	_, err = c.order("pangyo", agent.Order{Verb: agent.Follow, Self: "pangyo", Epoch: c.record.Next, Reign: c.record.Epoch,
		Upstream: &agent.Upstream{Member: "ansan", Host: "127.0.0.1", Port: "1", Credential: 2, Reign: 2}})
	wantCode(t, err, agent.Unsafe)
	if f := c.facts("pangyo"); f["running"] != "false" {
		t.Errorf("the dead member runs: %v", f)
	}
}

func TestFailoverWithThePrimaryAliveAndConnected(t *testing.T) {
	for _, wait := range []time.Duration{0, 150 * time.Millisecond} {
		t.Run("commits wait "+wait.String(), func(t *testing.T) {
			c := newCluster(t)
			c.adopt()
			old := c.write(4, "pangyo") // they know nobody else, and retry their ids
			old.commit = wait
			eventually(t, "writes are acknowledged", func() bool { n, _ := old.since(time.Time{}, "pangyo"); return n > 200 })
			r := c.begin()
			began := time.Now()
			r.must(plan.Seal, "ansan", "anyang")
			sealed := time.Now()
			w := c.write(4, "ansan", "anyang")
			r.must(plan.Choose, "ansan", "anyang")
			r.must(plan.Follow, "ansan", "anyang")
			r.must(plan.Promote, "ansan", "anyang")
			var first time.Time
			eventually(t, "the new primary acknowledges", func() bool {
				var n int
				n, first = w.since(began, "ansan", "anyang")
				return n > 100
			})
			t.Logf("FIGURE alive: sealed %v, first acknowledged write %v after the order to seal", sealed.Sub(began), first.Sub(began))
			_ = pause(t.Context(), time.Second)
			if n, _ := old.since(sealed.Add(5*time.Millisecond), "pangyo"); n > 0 {
				t.Errorf("the old primary acknowledged %d writes after the seal", n)
			}
			old.end()
			c.checkNothingLost(w)
			if lost := old.lost(c.members[string(c.record.Primary)]); len(lost) > 0 {
				t.Errorf("%d writes that the old primary acknowledged are lost", len(lost))
			}
			// The former primary is fenced, and stays down.
			r = c.begin()
			r.epoch = 0
			r.must(plan.Fence, "pangyo")
			_, err := c.order("pangyo", agent.Order{Verb: agent.Start, Self: "pangyo", Epoch: c.record.Next, Reign: 1})
			wantCode(t, err, agent.Unsafe)
			if f := c.facts("pangyo"); f["running"] != "false" || f["fenced"] != "true" {
				t.Errorf("fenced: %v", f)
			}
		})
	}
}

func TestSealHoldsThoughAReaderBlocksReplay(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	w := c.write(2, names...)
	eventually(t, "writes are acknowledged", func() bool { n, _ := w.since(time.Time{}, "pangyo"); return n > 50 })
	for _, m := range []string{"ansan", "anyang"} {
		release := c.members[m].holdLock()
		defer release()
	}
	c.members["pangyo"].sql("ALTER TABLE public.locked ADD y int")
	eventually(t, "replay is blocked and reported", func() bool { return strings.Contains(c.facts("ansan")["replay_blocked_by"], "reader") })
	premises := Premises(c.estate.Stores["talk-db"], c.record, c.allFacts())
	if !strings.Contains(fmt.Sprint(premises), "replay is blocked") || len(situation.Forbidding(premises)) > 0 {
		t.Errorf("not reported before, or not as what a seal deals with: %+v", premises)
	}
	n, _ := w.since(time.Time{}, "pangyo")
	eventually(t, "writes go on meanwhile", func() bool { m, _ := w.since(time.Time{}, "pangyo"); return m > n+50 })
	began := time.Now()
	r := c.begin()
	r.must(plan.Seal, "ansan", "anyang")
	sealedBy := time.Now()
	r.must(plan.Choose, "ansan", "anyang")
	r.must(plan.Follow, "ansan", "anyang")
	r.must(plan.Promote, "ansan", "anyang")
	promoted := time.Now()
	after := c.write(2, "ansan", "anyang") // the others wait on the old primary for ever
	eventually(t, "the new primary acknowledges", func() bool { n, _ := after.since(began, string(c.record.Primary)); return n > 50 })
	c.checkNothingLost(after)
	t.Logf("FIGURE blocked: sealed %v and promoted %v after the order to seal", sealedBy.Sub(began), promoted.Sub(began))
	if n, _ := w.since(sealedBy, "pangyo"); n > 0 {
		t.Errorf("the old primary acknowledged %d writes after the seal", n)
	}
	c.checkNothingLost(w)
}

func TestPlannedMoveAndReturn(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	w := c.write(4, names...)
	for move := range 3 {
		from := time.Now()
		eventually(t, "writes are acknowledged", func() bool { n, _ := w.since(from, names...); return n > 100 })
		r := c.begin()
		old := string(c.record.Primary)
		others := without(names, old)
		r.must(plan.Halt, old)
		r.must(plan.Seal, others...)
		r.must(plan.Choose, others...)
		r.must(plan.Follow, others...)
		r.must(plan.Promote, others...)
		r.beforeReturn(old)
		r.must(plan.Return, old)
		now := time.Now()
		eventually(t, "writes are acknowledged", func() bool { n, _ := w.since(now, string(c.record.Primary)); return n > 100 })
		t.Logf("FIGURE planned move %d: longest pause %v", move, w.gap(from))
		if len(c.record.Former) != 0 || len(c.record.Sync) != 2 {
			t.Errorf("record %+v", c.record)
		}
		for _, m := range names {
			if f := c.facts(m); f["running"] != "true" || (f["role"] == "primary") != (m == string(c.record.Primary)) {
				t.Errorf("%s: %v", m, f)
			}
		}
	}
	c.checkNothingLost(w)
	if p := Premises(c.estate.Stores["talk-db"], c.record, c.allFacts()); len(p) > 0 {
		t.Errorf("premises fail after the moves: %v", p)
	}
}

// A follower whose machine hangs keeps the old primary's sender, and with it the whole server,
// for as long as wal_sender_timeout. Another one has everything by then: the move goes on.
func TestHaltDoesNotWaitForAFollowerThatHangs(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	w := c.write(4, names...)
	eventually(t, "writes are acknowledged", func() bool { n, _ := w.since(time.Time{}, "pangyo"); return n > 50 })
	receiver := c.members["anyang"].receiver()
	must(t, syscall.Kill(receiver, syscall.SIGSTOP))
	goOn := sync.OnceFunc(func() { _ = syscall.Kill(receiver, syscall.SIGCONT) })
	defer goOn()
	r := c.begin()
	if res, err := r.try(3*time.Second, plan.Halt, "pangyo"); err != nil || res.Outcome != run.Done {
		t.Fatalf("halt: %v %v", res.Outcome, err)
	}
	if f := c.facts("pangyo"); f["running"] != "true" || f["state"] != "stopping" {
		t.Fatalf("it is gone already, so nothing was shown: %v", f)
	}
	for range 2 { // said again, and looked at, it is the same halt
		if res, err := c.driver.Look(t.Context(), r.task(plan.Halt, "pangyo")); err != nil || res.Outcome != run.Done {
			t.Errorf("look: %v %v", res.Outcome, err)
		}
		r.must(plan.Halt, "pangyo")
	}
	goOn()
	r.must(plan.Seal, "ansan", "anyang")
	r.must(plan.Choose, "ansan", "anyang")
	r.must(plan.Follow, "ansan", "anyang")
	r.must(plan.Promote, "ansan", "anyang")
	r.beforeReturn("pangyo")
	r.must(plan.Return, "pangyo")
	now := time.Now()
	eventually(t, "writes are acknowledged", func() bool { n, _ := w.since(now, string(c.record.Primary)); return n > 50 })
	c.checkNothingLost(w)
}

func TestHaltIsTakenBack(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	w := c.write(2, names...)
	eventually(t, "writes are acknowledged", func() bool { n, _ := w.since(time.Time{}, "pangyo"); return n > 50 })
	r := c.begin()
	r.must(plan.Halt, "pangyo")
	halt := r.task(plan.Halt, "pangyo")
	r.must(plan.Seal, "ansan", "anyang")
	seal := r.task(plan.Seal, "ansan", "anyang")
	r.must(plan.Choose, "ansan", "anyang")
	r.must(plan.Follow, "ansan", "anyang")
	seal.Facts, halt.Facts = r.facts, r.facts
	for i := range 2 { // twice is once
		if res, err := c.driver.Undo(t.Context(), seal); err != nil || res.Outcome != run.Done {
			t.Fatalf("undo %d of the seal: %v %v", i, res.Outcome, err)
		}
		if res, err := c.driver.Undo(t.Context(), halt); err != nil || res.Outcome != run.Done {
			t.Fatalf("undo %d of the halt: %v %v", i, res.Outcome, err)
		}
	}
	now := time.Now()
	eventually(t, "the old primary acknowledges again", func() bool { n, _ := w.since(now, "pangyo"); return n > 50 })
	eventually(t, "both follow it", func() bool {
		return strings.HasPrefix(c.facts("pangyo")["client/ansan"], "streaming") && strings.HasPrefix(c.facts("pangyo")["client/anyang"], "streaming")
	})
	// A promotion of the run that was taken back comes late.
	_, err := c.order("ansan", agent.Order{Verb: agent.Promote, Self: "ansan", Epoch: r.epoch, Reign: 1, Sync: []string{"anyang"}, Any: 1})
	wantCode(t, err, agent.Unsafe)
	c.checkNothingLost(w)
}

func TestSealSurvivesARestart(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	r := c.begin()
	r.must(plan.Seal, "ansan", "anyang")
	for _, m := range []string{"ansan", "anyang"} {
		c.members[m].killDatabase()
		c.members[m].stopAgent()
		c.members[m].startAgent()
		_, err := c.order(m, agent.Order{Verb: agent.Start, Self: m, Epoch: r.epoch, Reign: 1})
		must(t, err)
	}
	_ = pause(t.Context(), 500*time.Millisecond)
	if f := c.facts("pangyo"); f["client/ansan"]+f["client/anyang"] != "" {
		t.Errorf("sealed members receive after a restart: %v", f)
	}
	if res, err := c.driver.Look(t.Context(), r.task(plan.Seal, "ansan", "anyang")); res.Outcome != run.Done {
		t.Errorf("look: %v %v", res.Outcome, err)
	}
	r.facts = run.Facts{"sealed": "ansan,anyang"} // as after a look from elsewhere: positions are asked anew
	r.must(plan.Choose, "ansan", "anyang")
	r.must(plan.Follow, "ansan", "anyang")
	r.must(plan.Promote, "ansan", "anyang")
}

func TestOldTermsAndEpochsAreRefused(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	r := c.begin()
	r.term = 7
	r.must(plan.Seal, "ansan", "anyang")
	c.members["ansan"].stopAgent()
	c.members["ansan"].startAgent()
	for _, v := range []agent.Verb{agent.Seal, agent.Unseal, agent.Promote, agent.Start, agent.Stop, agent.Fence} {
		_, err := c.order("ansan", agent.Order{Verb: v, Term: 6, Epoch: r.epoch})
		wantCode(t, err, agent.OldTerm)
		_, err = c.order("ansan", agent.Order{Verb: v, Term: 7, Epoch: r.epoch - 1})
		wantCode(t, err, agent.OldEpoch)
	}
}

func TestTooFewSealedAreLetGo(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	w := c.write(2, "pangyo")
	eventually(t, "writes are acknowledged", func() bool { n, _ := w.since(time.Time{}, "pangyo"); return n > 50 })
	c.members["anyang"].stopAgent()
	began := time.Now()
	res, err := c.begin().try(time.Second, plan.Seal, "ansan", "anyang")
	took := time.Since(began)
	if res.Outcome != run.NotDone || err == nil || !strings.Contains(res.Ask, "accept-data-loss") {
		t.Fatalf("seal with too few: %v %v, ask %q", res.Outcome, err, res.Ask)
	}
	t.Logf("FIGURE too few: let go after %v", took)
	if took > time.Second {
		t.Errorf("let go after %v", took)
	}
	if f := c.facts("ansan"); f["sealed"] != "false" {
		t.Errorf("still sealed: %v", f)
	}
	now := time.Now()
	eventually(t, "ansan receives again", func() bool { return strings.HasPrefix(c.facts("pangyo")["client/ansan"], "streaming") })
	eventually(t, "writes go on", func() bool { n, _ := w.since(now, "pangyo"); return n > 50 })
}

func TestAFollowerThatDiedComesBackAsOne(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	c.members["anyang"].killDatabase()
	_, err := c.order("anyang", agent.Order{Verb: agent.Start, Self: "anyang", Epoch: c.record.Next, Reign: c.record.Epoch})
	must(t, err)
	eventually(t, "it streams", func() bool { return strings.HasPrefix(c.facts("pangyo")["client/anyang"], "streaming") })
}

func TestHeldHostsDoNothing(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	c.members["ansan"].hold()
	res, err := c.begin().try(time.Second, plan.Seal, "ansan", "anyang")
	if res.Outcome != run.NotDone || !strings.Contains(err.Error(), "held") {
		t.Errorf("held: %v %v", res.Outcome, err)
	}
	if f := c.facts("ansan"); f["held"] != "true" || f["running"] != "true" {
		t.Errorf("status of a held host: %v", f)
	}
}

func wantCode(t *testing.T, err error, code agent.Code) {
	t.Helper()
	if r, ok := refused(err); !ok || r.Answer.Code != code {
		t.Errorf("error %v, want code %s", err, code)
	}
}
