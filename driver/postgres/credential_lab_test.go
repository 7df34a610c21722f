//go:build lab

package postgres

import (
	"testing"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
)

// Runs that asked, failed or were taken back have used up more epochs than are tried by guess, and
// the agents were started anew since.
func TestManyRunsThatPromotedNobodyLeaveTheStorePromotable(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	c.record.Next += 2 * howFarBack
	r := c.begin()
	r.must(plan.Seal, "ansan", "anyang")
	if res, err := c.driver.Undo(t.Context(), r.task(plan.Seal, "ansan", "anyang")); err != nil || res.Outcome != run.Done {
		t.Fatalf("taken back: %v %v", res.Outcome, err)
	}
	for _, m := range c.members {
		m.stopAgent()
		m.startAgent()
	}
	for _, m := range names {
		if f := c.facts(m); f["credential"] != "1" {
			t.Errorf("%s has the credential of epoch %q", m, f["credential"])
		}
	}
	c.members["pangyo"].killDatabase()
	c.failover(c.begin())
	if c.record.Primary == "pangyo" || c.record.LeastAny != 1 {
		t.Errorf("record %+v", c.record)
	}
}
