package audit_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
)

// crowded draws an estate of pools and services alone, too small for all of them once something is lost.
func crowded(t *rapid.T) estate.Estate {
	var b strings.Builder
	b.WriteString("haechi: v1\nestate: x\nsites: {s0: {}, s1: {}, s2: {}}\npools:\n")
	for i := range 6 {
		fmt.Fprintf(&b, "  p%d: {site: s%d, servers: %d}\n", i, i%3, 12+rapid.IntRange(0, 8).Draw(t, "servers"))
	}
	b.WriteString("services:\n")
	for i := range 5 {
		var runs []string
		for p := range 6 {
			if rapid.Bool().Draw(t, "runs") {
				runs = append(runs, fmt.Sprintf("p%d: %d", p, rapid.IntRange(0, 2).Draw(t, "given")))
			}
		}
		if len(runs) == 0 {
			runs = []string{"p0: 1"}
		}
		fmt.Fprintf(&b, "  v%d: {tier: %d, load: %d, runs: {%s}}\n", i, rapid.IntRange(0, 2).Draw(t, "tier"), rapid.IntRange(1, 20).Draw(t, "load"), strings.Join(runs, ", "))
	}
	e, err := estate.Load([]estate.File{{Name: "x", Data: []byte(b.String())}}, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	return e
}

// most is how many servers some services can have together of what is free: the greatest flow, by trying
// every way to give one more, again and again.
func most(want map[string]int, on map[string][]string, free map[string]int) int {
	given := map[[2]string]int{} // service, pool
	used := map[string]int{}
	var give func(s string, seen map[string]bool) bool
	give = func(s string, seen map[string]bool) bool {
		for _, p := range on[s] {
			if seen[p] {
				continue
			}
			seen[p] = true
			if used[p] < free[p] {
				used[p]++
				given[[2]string{s, p}]++
				return true
			}
			for o := range want { // somebody else may find room elsewhere
				if given[[2]string{o, p}] > 0 && give(o, seen) {
					given[[2]string{o, p}]--
					given[[2]string{s, p}]++
					return true
				}
			}
		}
		return false
	}
	total := 0
	for s, n := range want {
		for range n {
			if give(s, map[string]bool{}) {
				total++
			}
		}
	}
	return total
}

func TestRoomIsTheMostThatEachCanHaveInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := crowded(t)
		lose := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"s0", "p0", "p1", "p2", "p3", "p4", "p5"}), 0, 4, rapid.ID[string]).Draw(t, "lose")
		a := after(t, e, lose)
		free := map[string]int{}
		for n, p := range e.Pools {
			if free[n] = p.Servers; a.Gone[n] {
				free[n] = 0
			}
		}
		for _, s := range e.Services {
			for p, n := range s.Runs {
				if !a.Gone[p] {
					free[p] -= n
				}
			}
		}
		names := slices.SortedFunc(maps.Keys(e.Services), func(x, y estate.ServiceID) int {
			return cmp.Or(cmp.Compare(e.Services[x].Tier, e.Services[y].Tier), cmp.Compare(x, y))
		})
		want, on, before := map[string]int{}, map[string][]string{}, 0
		for _, id := range names {
			s, n, own := e.Services[id], string(id), 0
			for p, given := range s.Runs {
				if !a.Gone[p] {
					own += given
					on[n] = append(on[n], p)
				}
			}
			want[n] = max(0, int(s.Load)-own)
			now := most(want, on, free)
			got := now - before
			before = now
			if a.Services[n] == "down" {
				continue
			}
			if lacks := float64(want[n] - got); a.Shortfall[n] != lacks {
				t.Fatalf("without %v %s lacks %v servers, and should lack %v", lose, n, a.Shortfall[n], lacks)
			}
		}
	})
}

// What is given up is given to a better tier, and only as much as it lacks.
func TestSheddingTakesFromTheLowestTiersNamed(t *testing.T) {
	const text = `
haechi: v1
estate: x
sites: {s0: {}, s1: {}, s2: {}}
pools: {p0: {site: s0, servers: 10}, p1: {site: s1, servers: 20}}
services:
  chat:   {tier: 0, load: 16, runs: {p0: 10, p1: 6}}
  mail:   {tier: 1, load: 4, runs: {p1: 4}}
  report: {tier: 2, load: 6, runs: {p1: 6}}
  batch:  {tier: 3, load: 4, runs: {p1: 4}}
`
	for _, c := range []struct {
		policy           string
		chat, mail, rest float64 // servers missing; of report and batch together
		shed             []string
	}{
		{"", 10, 0, 0, nil},
		{"policy: {shed: [3]}\n", 6, 0, 4, []string{"batch"}},
		{"policy: {shed: [3, 2]}\n", 0, 0, 10, []string{"batch", "report"}},
		{"policy: {shed: [2]}\n", 4, 0, 6, []string{"report"}},
		{"policy: {shed: [0]}\n", 10, 0, 0, nil},
	} {
		e, err := estate.Load([]estate.File{{Name: "x", Data: []byte(text + c.policy)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := audit.After(e, "s0")
		if err != nil {
			t.Fatal(err)
		}
		s := a.Shortfall
		if s["chat"] != c.chat || s["mail"] != c.mail || s["report"]+s["batch"] != c.rest || !slices.Equal(a.Shed, c.shed) {
			t.Errorf("%q: shortfall %v, shed %v", c.policy, s, a.Shed)
		}
	}
}
