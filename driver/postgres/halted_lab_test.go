//go:build lab

package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
)

// Where a server ended is read from its control file as pg_controldata reads it, and by that where it did not end so.
func TestWhereAServerEndedIsReadWithoutAProgram(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	for _, step := range []struct {
		verb   plan.Verb
		member string
		native bool
	}{{plan.Halt, "pangyo", true}, {plan.Fence, "ansan", false}} {
		if _, err := c.begin().try(30*time.Second, step.verb, step.member); err != nil {
			t.Fatal(err)
		}
		u := &Unit{set: c.members[step.member].set}
		want, err := u.control(t.Context())
		must(t, err)
		got, err := u.ended(t.Context())
		must(t, err)
		for _, k := range []string{controlState, controlAt, controlTimeline} {
			if got[k] != want[k] || got[k] == "" {
				t.Errorf("%s: %s is %q, want %q", step.member, k, got[k], want[k])
			}
		}
		u.set.Bin = t.TempDir()
		if _, err := u.ended(t.Context()); (err == nil) != step.native {
			t.Errorf("%s: without any program: %v", step.member, err)
		}
	}
}

// burn ends a member and its agent for the rest of a test.
func (m *member) burn() {
	m.c.t.Helper()
	m.killDatabase()
	m.stopAgent()
}

// takeOver carries a failover of what a move left that was cut short, without its target, and
// checks that the store serves. With want empty any of the rest may be primary then.
func (c *cluster) takeOver(w *writer, gone, want string) {
	c.t.Helper()
	members := without(names, gone)
	r := c.begin()
	r.args = map[string]string{plan.ArgHalted: "pangyo", plan.ArgPrefer: want}
	began := time.Now()
	for _, v := range []plan.Verb{plan.Seal, plan.Choose, plan.Follow, plan.Promote} {
		r.must(v, members...)
	}
	p := string(c.record.Primary)
	if want != "" && p != want || len(c.record.Sync) != 1 || c.record.LeastAny != 1 || !slices.Equal(c.record.Former, []estate.MemberID{estate.MemberID(gone)}) {
		c.t.Errorf("record %+v, want %s as primary", c.record, want)
	}
	eventually(c.t, "the new primary acknowledges", func() bool { n, _ := w.since(began, p); return n > 50 })
	c.t.Logf("FIGURE taken over: %s acknowledges, longest pause since the order to seal %v", p, w.gap(began))
	c.checkNothingLost(w)
}

// cut is a move of pangyo, with writers, up to some step.
func (c *cluster) cut(steps ...plan.Verb) (*writer, *carried) {
	c.t.Helper()
	c.adopt()
	w := c.write(4, names...)
	eventually(c.t, "writes are acknowledged", func() bool { n, _ := w.since(time.Time{}, "pangyo"); return n > 100 })
	r := c.begin()
	r.must(plan.Halt, "pangyo")
	for _, v := range steps {
		r.must(v, "ansan", "anyang")
	}
	return w, r
}

func TestAHaltedPrimaryServesAgainWhereTheTargetBurnsBeforeItIsPromoted(t *testing.T) {
	for _, again := range []bool{true, false} {
		t.Run(fmt.Sprintf("it is preferred %v", again), func(t *testing.T) { servesAgain(t, again) })
	}
}

func servesAgain(t *testing.T, again bool) {
	c := newCluster(t)
	w, r := c.cut(plan.Seal, plan.Choose, plan.Follow)
	target := r.facts[factChosen]
	c.members[target].burn()
	rest := without([]string{"ansan", "anyang"}, target)[0]
	// A run that is taken back leaves it down, and the next one counts on it all the same.
	off := c.begin()
	off.args = map[string]string{plan.ArgHalted: "pangyo"}
	off.must(plan.Seal, rest, "pangyo")
	off.must(plan.Choose, rest, "pangyo")
	if res, err := c.driver.Undo(t.Context(), off.task(plan.Seal, rest, "pangyo")); err != nil || res.Outcome != run.Done {
		t.Fatalf("taken back: %v %v", res.Outcome, err)
	}
	// What was ordered before comes late: neither is made a primary by it.
	for _, o := range []agent.Order{{Verb: agent.Start, Epoch: r.epoch}, {Verb: agent.Promote, Epoch: off.epoch, Sync: []string{rest}, Any: 1}} {
		o.Self, o.Reign = "pangyo", 1
		_, err := c.order("pangyo", o)
		if _, ok := refused(err); !ok {
			t.Errorf("%s: %v", o.Verb, err)
		}
	}
	if f := c.facts("pangyo"); f["role"] == "primary" || f["halted_epoch"] == "" {
		t.Errorf("pangyo: %v", f)
	}
	if again {
		rest = "pangyo"
	}
	c.takeOver(w, target, rest)
}

// The target was promoted and nobody wrote it down; what it acknowledged stands on its follower alone.
func TestAHaltedPrimaryThatIsBehindIsNotChosen(t *testing.T) {
	c := newCluster(t)
	w, r := c.cut(plan.Seal, plan.Choose, plan.Follow)
	before := c.record
	began := time.Now()
	r.must(plan.Promote, "ansan", "anyang")
	target := string(c.record.Primary)
	eventually(t, "the target acknowledges", func() bool { n, _ := w.since(began, target); return n > 100 })
	c.members[target].burn()
	before.Next = c.record.Next
	c.record = before
	c.takeOver(w, target, without([]string{"ansan", "anyang"}, target)[0])
}

// The target was promoted, and burned before the former primary was back, or as it was coming.
func TestAHaltedPrimaryFollowsWhereTheTargetBurnsAfterItWasPromoted(t *testing.T) {
	for _, name := range []string{"halted", "coming back", "not counted any more"} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			w, r := c.cut(plan.Seal, plan.Choose, plan.Follow, plan.Promote)
			target, began := string(c.record.Primary), time.Now()
			eventually(t, "the target acknowledges", func() bool { n, _ := w.since(began, target); return n > 100 })
			if name != "halted" {
				former := c.record.Former
				r.beforeReturn("pangyo")
				before := c.record
				r.must(plan.Return, "pangyo")
				before.Next, before.Former = c.record.Next, former
				if name != "coming back" { // the return was given up
					before.Sync = slices.DeleteFunc(before.Sync, func(m estate.MemberID) bool { return m == "pangyo" })
				}
				c.record = before // nobody wrote down that it is back
			}
			rest := without(names, target)
			if name == "not counted any more" {
				// Who is promoted without asking it may hold less, and a run rewinds it then. Here nothing is under way.
				w.end()
				eventually(t, "the others hold the same", func() bool { return c.facts(rest[0])["received"] == c.facts(rest[1])["received"] })
			}
			c.members[target].burn()
			if name == "not counted any more" {
				defer c.checkNothingLost(w)
				w = c.write(4, names...)
			}
			if f := c.facts("pangyo"); strings.Contains(f["role"], "primary") {
				t.Fatalf("pangyo: %v", f)
			}
			want := without([]string{"ansan", "anyang"}, target)[0]
			if name != "halted" {
				want = "" // it holds as much as the other by then
			}
			c.takeOver(w, target, want)
		})
	}
}

// Something else started it: it may have written what nobody has.
func TestAHaltedPrimaryThatRanSinceCountsForNothing(t *testing.T) {
	c := newCluster(t)
	w, r := c.cut(plan.Seal, plan.Choose, plan.Follow)
	w.end()
	target := r.facts[factChosen]
	c.members[target].burn()
	p := c.members["pangyo"]
	p.startByHand()
	for _, state := range []string{"runs", "ran"} {
		if state == "ran" {
			p.killDatabase()
		}
		off := c.begin()
		off.args = map[string]string{plan.ArgHalted: "pangyo"}
		res, err := off.try(5*time.Second, plan.Seal, without(names, target)...)
		if err == nil || res.Outcome == run.Done || res.Ask == "" {
			t.Errorf("it %s: %v %v", state, res.Outcome, err)
		}
	}
}

// The follower that burns holds the primary, which waits until all is sent to it.
func TestAHaltedPrimaryThatWindsUpStillIsNotWaitedFor(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	w := c.write(4, names...)
	eventually(t, "writes are acknowledged", func() bool { n, _ := w.since(time.Time{}, "pangyo"); return n > 100 })
	receiver := c.members["ansan"].receiver()
	must(t, syscall.Kill(receiver, syscall.SIGSTOP))
	c.begin().must(plan.Halt, "pangyo")
	if f := c.facts("pangyo"); f["state"] != "stopping" {
		t.Fatalf("it has ended: %v", f)
	}
	c.members["ansan"].stopAgent()
	c.takeOver(w, "ansan", "")
	if err := syscall.Kill(receiver, syscall.SIGKILL); err != nil {
		t.Errorf("the receiver that held it: %v", err)
	}
}

// The tower that ordered the stop dies while the server ends: the next one finds it halted, and goes on.
func TestAHaltWhoseTowerDiesIsRemembered(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	m := c.members["pangyo"]
	release := m.holdLock()
	defer release()
	backend := int(toNumber(m.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'reader'")[0][0]))
	must(t, syscall.Kill(backend, syscall.SIGSTOP)) // the server cannot end before this one does
	r := c.begin()
	first, die := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		res, err := c.driver.Do(first, r.task(plan.Halt, "pangyo"))
		if res.Outcome == run.Done {
			err = fmt.Errorf("it was done: %s", res.Note)
		}
		ended <- err
	}()
	eventually(t, "it is stopping", func() bool { return c.facts("pangyo")["state"] == "stopping" })
	die()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the tower that dies: %v", err)
	}
	must(t, syscall.Kill(backend, syscall.SIGCONT))
	var res driver.Result
	eventually(t, "it is known to be halted", func() (done bool) {
		res, _ = c.driver.Look(t.Context(), r.task(plan.Halt, "pangyo"))
		return res.Outcome == run.Done
	})
	r.learn(res)
	for _, v := range []plan.Verb{plan.Seal, plan.Choose, plan.Follow, plan.Promote} {
		r.must(v, "ansan", "anyang")
	}
}
