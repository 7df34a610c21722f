package generate

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// Answer is a finding that an audit of a planted estate must show, in the audit's words.
type Answer struct {
	Rule      string `json:"rule"`
	Component string `json:"component"`
	Severity  string `json:"severity"`
	Cause     string `json:"cause"`
}

// raised is what a fault raises, with what is known of it before all faults stand.
type raised struct {
	rule, component, cause string
	takes                  []string // the scenario, by name; the smallest shows the cause
	of                     []string // components that the severity hangs on
}

// fall is one thing that falls when some others are lost.
type fall struct {
	takes     []string
	holdsSite bool
	at        string // where it ends: what is lost there, or whose alternatives are
	cause     string
}

// lone is what stands in one site only, without another place to go.
type lone struct {
	what string
	at   estate.SiteID
}

// raise notes a finding; of several for one rule and component that with the smallest scenario counts.
// Redundancy on paper is told for each culprit, and all that it betrays are one finding.
func (p *planter) raise(r raised) {
	k := r.rule + " " + r.component
	if r.rule == "shared-fate" {
		k = r.rule + " " + r.cause
	}
	old, twice := p.raised[k]
	switch {
	case !twice:
		p.raised[k] = r
	case r.rule == "shared-fate":
		old.of = append(old.of, r.of...)
		old.component = min(old.component, r.component)
		p.raised[k] = old
	case cmp.Or(cmp.Compare(len(r.takes), len(old.takes)), slices.Compare(r.takes, old.takes), strings.Compare(r.cause, old.cause)) < 0:
		p.raised[k] = r
	}
}

// answers follows what was planted to all that it raises.
func (p *planter) answers() []Answer {
	p.followLone()
	p.followFalls()
	p.followDrills()
	out := []Answer{}
	for _, k := range slices.Sorted(maps.Keys(p.raised)) {
		r := p.raised[k]
		a := Answer{r.rule, r.component, p.severity(r), r.cause}
		if a.Severity != "low" || r.rule == "common-mode" || r.rule == "residual" {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b Answer) int {
		return cmp.Or(strings.Compare(a.Rule, b.Rule), strings.Compare(a.Component, b.Component), strings.Compare(a.Cause, b.Cause))
	})
	return out
}

// followLone notes what the loss of its site does to each service that runs in one site only, and what
// takes several of its pools at once.
func (p *planter) followLone() {
	all := slices.Clone(p.huddled)
	for _, id := range slices.Sorted(maps.Keys(p.e.Services)) {
		s := p.e.Services[id]
		sites := p.sitesOf(s)
		if len(sites) != 1 {
			continue
		}
		all = append(all, lone{string(id), sites[0]})
		under := map[string]int{}
		for pool := range s.Runs {
			under[pool]++
			under[p.e.Pools[pool].Requires[0].Name]++ // its floor
		}
		for thing, n := range under {
			if n == len(s.Runs) {
				p.falls([]string{thing}, false, string(id), string(id))
			}
			if n == len(s.Runs) && n > 1 {
				p.betrays(thing, string(id))
			}
		}
	}
	for _, l := range all {
		p.falls([]string{string(l.at)}, true, l.what, l.what)
		for _, culprit := range p.dark[l.at] {
			p.falls([]string{culprit}, false, l.what, l.what)
			if s, ok := p.e.Services[estate.ServiceID(l.what)]; !ok || len(s.Runs) > 1 {
				p.betrays(culprit, l.what)
			}
		}
	}
}

// followFalls notes, for each scenario, the services that are down in it.
func (p *planter) followFalls() {
	byScenario := map[string][]fall{}
	for _, f := range p.fallen {
		k := strings.Join(f.takes, " ")
		byScenario[k] = append(byScenario[k], f)
	}
	needed := p.requiredBy()
	for _, k := range slices.Sorted(maps.Keys(byScenario)) {
		ends := map[string]string{}
		var down []string
		for _, f := range byScenario[k] {
			ends[f.at] = f.cause
			down = append(down, f.at)
		}
		down = reach(down, needed)
		rule := "spof"
		if byScenario[k][0].holdsSite {
			rule = "site-loss"
		}
		for _, n := range down {
			if _, is := p.e.Services[estate.ServiceID(n)]; is {
				p.raise(raised{rule: rule, component: n, takes: byScenario[k][0].takes, cause: p.causeOf(n, ends, down)})
			}
		}
	}
}

// causeOf follows what a service requires and is down to where it ends: shortest first, then by name.
func (p *planter) causeOf(of string, ends map[string]string, down []string) string {
	seen := map[string]bool{of: true}
	for edge := []string{of}; len(edge) > 0; {
		slices.Sort(edge)
		var next []string
		for _, n := range edge {
			if c, ok := ends[n]; ok {
				return c
			}
			for _, r := range p.plain(n) {
				if slices.Contains(down, r) && !seen[r] {
					seen[r] = true
					next = append(next, r)
				}
			}
		}
		edge = next
	}
	return of
}

// plain lists what a service or store requires without an alternative.
func (p *planter) plain(n string) []string {
	needs := p.e.Services[estate.ServiceID(n)].Requires
	if s, ok := p.e.Stores[estate.StoreID(n)]; ok {
		needs = s.Requires
	}
	var out []string
	for _, r := range needs {
		if r.Of == nil {
			out = append(out, strings.TrimSuffix(r.Name, estate.SameSite))
		}
	}
	return out
}

// requiredBy lists the services and stores that require each thing without an alternative.
func (p *planter) requiredBy() map[string][]string {
	out := map[string][]string{}
	for _, n := range p.thinking() {
		for _, r := range p.plain(n) {
			out[r] = append(out[r], n)
		}
	}
	return out
}

// thinking lists services and stores.
func (p *planter) thinking() []string {
	var out []string
	for _, s := range slices.Sorted(maps.Keys(p.e.Services)) {
		out = append(out, string(s))
	}
	for _, s := range slices.Sorted(maps.Keys(p.e.Stores)) {
		out = append(out, string(s))
	}
	return out
}

// reach lists all that can be reached from some things, themselves included.
func reach(from []string, edges map[string][]string) []string {
	seen := map[string]bool{}
	var out []string
	add := func(ns []string) {
		for _, n := range ns {
			if !seen[n] {
				seen[n] = true
				out = append(out, n)
			}
		}
	}
	add(from)
	for i := 0; i < len(out); i++ {
		add(edges[out[i]])
	}
	return out
}
