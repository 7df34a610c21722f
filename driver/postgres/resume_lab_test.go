//go:build lab

package postgres

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
)

// dying carries a failover up to the promotion of a member and has its server die at some point of it.
func dying(t *testing.T, stop func(c *cluster, chosen *member) (kill func(), goOn func())) {
	c := newCluster(t)
	c.adopt()
	w := c.write(4, names...)
	eventually(t, "writes are acknowledged", func() bool { n, _ := w.since(time.Time{}, "pangyo"); return n > 100 })
	c.members["pangyo"].killDatabase()
	r := c.begin()
	for _, v := range []plan.Verb{plan.Seal, plan.Choose, plan.Follow} {
		r.must(v, "ansan", "anyang")
	}
	chosen := c.members[r.facts[factChosen]]
	kill, goOn := stop(c, chosen)
	task := r.task(plan.Promote, "ansan", "anyang")
	ended := make(chan driver.Result, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		res, err := c.driver.Do(ctx, task)
		t.Logf("died: %v %s %v", res.Outcome, res.Note, err)
		ended <- res
	}()
	kill()
	if res := <-ended; res.Outcome != run.Unknown || res.Store != nil {
		t.Fatalf("it died: %v, record %+v", res.Outcome, res.Store)
	}
	chosen.stopAgent() // what it remembers is on disk
	chosen.startAgent()
	goOn()
	if res, err := c.driver.Look(t.Context(), task); res.Outcome != run.NotDone {
		t.Fatalf("look: %v %v", res.Outcome, err)
	}
	began := time.Now()
	r.must(plan.Promote, "ansan", "anyang")
	eventually(t, "it acknowledges", func() bool { n, _ := w.since(began, chosen.name); return n > 100 })
	if c.record.Primary != "ansan" && c.record.Primary != "anyang" || c.record.LeastAny != 1 || c.record.Timeline < 2 {
		t.Errorf("record %+v", c.record)
	}
	if f := c.facts(chosen.name); f["role"] != "primary" || toNumber(f["timeline"]) < 2 {
		t.Errorf("%s: %v", chosen.name, f)
	}
	c.checkNothingLost(w)
}

// child is the first process of the member's server of some kind.
func (m *member) child(kind string) int {
	m.c.t.Helper()
	u := &Unit{set: m.set}
	for _, p := range children(u.postmaster()) {
		if strings.Contains(p.name, kind) {
			return p.pid
		}
	}
	m.c.t.Fatalf("%s has no %s", m.name, kind)
	return 0
}

// inRecovery keeps the member from leaving recovery, and kills its server once it was told to.
func inRecovery(c *cluster, chosen *member) func() {
	must(c.t, syscall.Kill(chosen.child("startup"), syscall.SIGSTOP))
	return func() {
		eventually(c.t, "it is told to leave recovery", func() bool {
			_, err := os.Stat(filepath.Join(chosen.set.Data, "promote"))
			return err == nil
		})
		chosen.killDatabase()
	}
}

func TestAServerThatDiesBeforeItLeftRecoveryIsPromotedAgain(t *testing.T) {
	dying(t, func(c *cluster, chosen *member) (func(), func()) { return inRecovery(c, chosen), func() {} })
}

// The server removes its standby.signal a moment before the record that ends its recovery.
func TestAServerThatDiesAsItLeavesRecoveryBeginsATimelineOfItsOwn(t *testing.T) {
	dying(t, func(c *cluster, chosen *member) (func(), func()) {
		u := &Unit{set: chosen.set}
		return inRecovery(c, chosen), func() { must(t, os.Remove(u.standbyPath())) }
	})
}

func TestAServerThatDiesBeforeOthersHoldWhatItHoldsIsPromotedAgain(t *testing.T) {
	dying(t, func(c *cluster, chosen *member) (func(), func()) {
		startup := c.members[without([]string{"ansan", "anyang"}, chosen.name)[0]].child("startup")
		must(t, syscall.Kill(startup, syscall.SIGSTOP)) // it alone has the receiver go on to the new timeline
		return func() {
			eventually(t, "it takes writes", func() bool { return c.facts(chosen.name)["in_recovery"] == "false" })
			chosen.killDatabase()
		}, func() { must(t, syscall.Kill(startup, syscall.SIGCONT)) }
	})
}
