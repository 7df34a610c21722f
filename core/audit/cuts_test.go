package audit_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
)

// bruteCuts tries every set of things up to the size that is looked for, smallest first, and keeps
// those that take something down and hold no smaller one that does. All targets at once.
func bruteCuts(e estate.Estate, targets []string) map[string][][]string {
	things := breakable(e)
	out := map[string][][]string{}
	var try func(set []string, from, size int)
	try = func(set []string, from, size int) {
		if size == 0 {
			open := slices.DeleteFunc(slices.Clone(targets), func(t string) bool { return holdsOne(set, out[t]) })
			if len(open) == 0 {
				return
			}
			lost := evaluate(e, set...).lost
			for _, t := range open {
				if lost[t] {
					out[t] = append(out[t], slices.Clone(set))
				}
			}
			return
		}
		for i := from; i < len(things); i++ {
			try(append(set, things[i]), i+1, size-1)
		}
	}
	for size := 1; size <= audit.MostInCut; size++ {
		try(nil, 0, size)
	}
	return out
}

// breakable lists sites and the things that are smaller than a site.
func breakable(e estate.Estate) []string {
	out := slices.Concat(slices.Collect(maps.Keys(e.Domains)), slices.Collect(maps.Keys(e.Pools)), slices.Collect(maps.Keys(e.External)))
	for s := range e.Sites {
		out = append(out, string(s))
	}
	for id, st := range e.Stores {
		for m := range st.Members {
			out = append(out, string(id)+"/"+string(m))
		}
	}
	slices.Sort(out)
	return out
}

func holdsOne(set []string, cuts [][]string) bool {
	return slices.ContainsFunc(cuts, func(c []string) bool {
		return !slices.ContainsFunc(c, func(n string) bool { return !slices.Contains(set, n) })
	})
}

func TestCutsAreThoseOfBruteForce(t *testing.T) {
	const estates = 16 // of about 1,800 sets each, which the slow evaluator takes its time over
	seen := map[int]int{}
	for seed := range estates {
		e := rapid.Custom(anEstate).Example(seed)
		up := evaluate(e)
		targets := slices.DeleteFunc([]string{"b0", "b1", "v0", "v1", "v2", "v3", "v4"}, func(n string) bool { return up.lost[n] })
		want := bruteCuts(e, targets)
		for _, n := range targets {
			got, err := audit.Cuts(e, n)
			if err != nil {
				t.Fatal(err)
			}
			if diff := compareCuts(want[n], got); diff != "" {
				t.Fatalf("estate %d, cuts of %s (-brute force +Cuts):\n%s", seed, n, diff)
			}
			for _, c := range got {
				seen[len(c)]++
			}
		}
	}
	for size := 1; size <= audit.MostInCut; size++ {
		if seen[size] == 0 {
			t.Errorf("no cut of %d things was found in any estate: the estates are too easy", size)
		}
	}
}

func compareCuts(want, got [][]string) string {
	slices.SortFunc(want, func(a, b []string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return slices.Compare(a, b)
	})
	if len(want) == 0 && len(got) == 0 {
		return ""
	}
	return cmp.Diff(want, got)
}

func TestCutsOfNothing(t *testing.T) {
	e := load(t, blocks(t)[""][0])
	if _, err := audit.Cuts(e, "shopp"); err == nil || !strings.Contains(err.Error(), `did you mean "shop"?`) {
		t.Errorf("an unknown service: %v", err)
	}
	if _, err := audit.Cuts(e, "pangyo/web"); err == nil || !strings.Contains(err.Error(), "no service or store") {
		t.Errorf("a pool: %v", err)
	}
}
