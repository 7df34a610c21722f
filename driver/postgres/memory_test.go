package postgres

import (
	"testing"

	"github.com/haechi/haechi/agent"
)

// A tower that takes over looks at members whose seal was cut off. One that still may
// receive must not count, and must not be promoted.
func TestASealThatHasOnlyBegunCountsForNothing(t *testing.T) {
	u := &Unit{set: Settings{Member: "b"}}
	begun := memory{Role: asFollower, Sealed: true, SealedEpoch: 7}
	f := map[string]string{}
	begun.facts(f)
	if f["sealed"] != "begun" {
		t.Errorf("sealed = %q before anybody saw that nothing receives", f["sealed"])
	}
	if got := sealed(map[string]reply{"b": {member: "b", Answer: agent.Answer{Facts: f}}}, 7); len(got) != 0 {
		t.Errorf("counted as sealed: %v", got)
	}
	if err := u.mayBePromoted(agent.Order{Epoch: 7}, begun); err == nil {
		t.Error("it may be promoted")
	}
	proven := begun
	proven.Proven = true
	proven.facts(f)
	if f["sealed"] != "true" || u.mayBePromoted(agent.Order{Epoch: 7}, proven) != nil {
		t.Errorf("sealed = %q and promotion refused after it was proven", f["sealed"])
	}
}
