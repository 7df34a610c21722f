package audit

import (
	"fmt"
	"slices"
	"strings"
)

// lookAlternatives raises shared-fate: alternatives that fall to one thing smaller than a site, so many
// that the rest does not suffice.
func (a *audit) lookAlternatives(s scenario) {
	if len(s.takes) != 1 {
		return
	}
	var names []string
	var of []id
	fallen := map[id][]id{}
	for _, n := range a.l.trail {
		d, lost := a.declares(n)
		if d == none || len(lost) < 2 || d == s.takes[0] {
			continue
		}
		if _, twice := fallen[d]; !twice {
			names, of = append(names, a.g.names[d]), append(of, d)
		}
		fallen[d] = lost
	}
	if len(of) == 0 {
		return
	}
	slices.Sort(names)
	first, culprit := a.g.by[names[0]], a.g.names[s.takes[0]]
	severity := Medium
	if a.carries(of) {
		severity = High
	}
	a.add(key{rule: SharedFate, component: names[0], cause: culprit}, s, severity, func(f *Finding) {
		f.Others, f.Chain = len(of)-1, []string{names[0], culprit}
		f.Message = fmt.Sprintf("%s has alternatives, but %s all fall when %s does", names[0], a.g.listed(fallen[first]), culprit)
		f.Remedy = fmt.Sprintf("move one of them off %s", culprit)
	})
}

// declares says whose alternatives a node that is gone stands for, and which of them are gone.
func (a *audit) declares(n id) (id, []id) {
	switch a.g.kinds[n] {
	case gate:
		return a.g.owner[n], a.l.goneOf(n)
	case copies:
		return a.g.owner[n], a.l.goneOf(n)
	case service:
		lost := a.l.poolsOf(n)
		if how, _ := a.l.stops(n); how == "runs" {
			return n, lost
		}
	}
	return none, nil
}

// carries says whether a service of tier 0 or 1 stands on any of some components, or is one.
func (a *audit) carries(of []id) bool {
	return slices.ContainsFunc(a.g.above(of), func(n id) bool {
		return a.g.isVital(n)
	})
}

// above lists what stands on some nodes, themselves included.
func (g *graph) above(of []id) []id {
	seen := map[id]bool{}
	for _, n := range of {
		seen[n] = true
	}
	out := slices.Clone(of)
	for k := 0; k < len(out); k++ {
		for _, p := range g.parents[out[k]] {
			if !seen[p] {
				seen[p] = true
				out = append(out, p)
			}
		}
	}
	return out
}

func (g *graph) listed(of []id) string {
	names := make([]string, len(of))
	for i, n := range of {
		names[i] = g.spoken(n)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " and ")
}
