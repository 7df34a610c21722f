package audit

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// scenario is a set of components that are lost together.
type scenario struct {
	name  string // of a named one
	takes []id
	class class
}

// class says for which rules a scenario counts.
type class uint8

const (
	oneSite    class = iota // a site, or a named accident that holds one
	oneSmall                // one thing smaller than a site, or a named accident without a site
	oneWhole                // a service, store or tower as such: its redundancy does not help
	twoSites                // a pair of sites
	siteAndOne              // a site and one thing elsewhere
)

// scenarios lists all that are tried, in the order in which findings prefer them: fewest
// components first, then by their names.
func (g *graph) scenarios(depth int) []scenario {
	var out []scenario
	var small []id
	for n := range g.names {
		switch i := id(n); g.kinds[n] {
		case site:
			out = append(out, scenario{takes: []id{i}, class: oneSite})
		case host, domain, pool, link, channel, member, external:
			out = append(out, scenario{takes: []id{i}, class: oneSmall})
			small = append(small, i)
		case tower, service, store:
			out = append(out, scenario{takes: []id{i}, class: oneWhole})
			small = append(small, i)
		}
	}
	for i, a := range g.allSites {
		for _, b := range g.allSites[i+1:] {
			out = append(out, scenario{takes: []id{a, b}, class: twoSites})
		}
	}
	for _, n := range slices.Sorted(maps.Keys(g.e.Scenarios)) {
		s := scenario{name: n, class: oneSmall}
		for _, c := range g.e.Scenarios[n] {
			s.takes = append(s.takes, g.by[c])
			if g.kinds[g.by[c]] == site {
				s.class = oneSite
			}
		}
		slices.SortFunc(s.takes, func(a, b id) int { return cmp.Compare(g.names[a], g.names[b]) })
		out = append(out, s)
	}
	if depth > 1 {
		for _, a := range g.allSites {
			for _, b := range small {
				if g.sites[b] != a {
					out = append(out, scenario{takes: []id{a, b}, class: siteAndOne})
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b scenario) int { return g.compare(a, b) })
	return out
}

// compare orders scenarios: the smallest first, then the first by name.
func (g *graph) compare(a, b scenario) int {
	return cmp.Or(cmp.Compare(len(a.takes), len(b.takes)), slices.CompareFunc(a.takes, b.takes, func(x, y id) int { return strings.Compare(g.names[x], g.names[y]) }))
}

// said lists the components of a scenario by name.
func (g *graph) said(s scenario) []string {
	out := make([]string, len(s.takes))
	for i, n := range s.takes {
		out[i] = g.names[n]
	}
	return out
}
