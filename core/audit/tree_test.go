package audit_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/audit"
)

// falls evaluates a tree by its gates alone: whether its top falls with some events.
func falls(t audit.Tree, events []string) bool {
	down := map[string]bool{}
	for _, e := range events {
		down[e] = true
	}
	for _, g := range slices.Backward(t.Gates) { // each stands before those that it names
		n := 0
		for _, of := range g.Of {
			if down[of] {
				n++
			}
		}
		down[g.Name] = n >= g.AtLeast
	}
	return down[t.Top]
}

// What the drawn tree says, read by its gates alone, is what Cuts says: for each set of up to three events.
func TestFaultTreeFallsWithEachCutAndNothingLess(t *testing.T) {
	trees := 0
	for seed := range 40 {
		e := rapid.Custom(anEstate).Example(seed)
		for _, name := range []string{"b0", "v0", "v3"} {
			cuts, err := audit.Cuts(e, name)
			if err != nil {
				continue // it is down already
			}
			tree, err := audit.FaultTree(e, name)
			if err != nil {
				continue // a ring
			}
			trees++
			var try func(set []string, from int)
			try = func(set []string, from int) {
				if got, want := falls(tree, set), holdsOne(set, cuts); got != want {
					t.Fatalf("estate %d: %s falls with %v: the tree says %v, its cuts %v", seed, name, set, got, cuts)
				}
				for i := from; i < len(tree.Events) && len(set) < audit.MostInCut; i++ {
					try(append(set, tree.Events[i]), i+1)
				}
			}
			try(nil, 0)
		}
	}
	if trees < 20 {
		t.Errorf("only %d trees could be drawn", trees)
	}
}
