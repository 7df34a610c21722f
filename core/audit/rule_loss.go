package audit

import (
	"fmt"
	"slices"
	"strings"
)

// lookServices raises site-loss or spof for each service that is down now.
func (a *audit) lookServices(s scenario, rule Rule) {
	for _, n := range a.l.trail {
		if a.g.kinds[n] != service || slices.Contains(s.takes, n) {
			continue
		}
		a.add(key{rule: rule, component: a.g.names[n]}, s, byTier(a.g.tiers[n]), func(f *Finding) { a.explain(f, n, s) })
	}
}

// explain says how a component came down in a scenario.
func (a *audit) explain(f *Finding, n id, s scenario) {
	w := a.l.reason(n)
	f.Chain, f.Cause = a.g.told(w), a.g.names[w.cause]
	f.Message = fmt.Sprintf("%s is down when %s is lost: %s", a.g.names[n], a.g.lostAs(s), a.g.sentence(w))
	f.Remedy = a.g.remedy(w)
}

// lostAs draws what a scenario takes.
func (g *graph) lostAs(s scenario) string {
	all := strings.Join(g.said(s), " and ")
	if s.name != "" {
		return s.name + " (" + all + ")"
	}
	return all
}

// remedy is what keeps a component up where the search for its cause stopped.
func (g *graph) remedy(w why) string {
	last := w.chain[len(w.chain)-1]
	switch {
	case w.cause != g.whose(last):
		return fmt.Sprintf("give what stands on %s a second one that does not: {any: [%s, another]}", g.names[w.cause], g.names[w.cause])
	case w.how == "runs" && g.kinds[last] == instance:
		return fmt.Sprintf("give %s a second pool in %s, or let %s do with an instance elsewhere", g.names[g.owner[last]], g.names[g.sites[last]], g.names[g.whose(w.chain[len(w.chain)-2])])
	case w.how == "runs":
		more := g.otherSites(g.placesOf(last))
		if len(more) == 0 {
			return fmt.Sprintf("run %s on pools that do not fall together", g.names[last])
		}
		return fmt.Sprintf("run %s in %s, too: runs: {%s/…: …}", g.names[last], more[0], more[0])
	case w.how == "members":
		return fmt.Sprintf("give %s one more member in a site of its own, so that those that are left hold every write and can take over", g.names[last])
	case w.how == "any":
		return fmt.Sprintf("give %s an alternative that does not fall with the others", g.names[last])
	case len(w.chain) > 1:
		return fmt.Sprintf("let %s do without %s: a second one elsewhere, {any: [%s, another]}", g.names[w.chain[len(w.chain)-2]], g.names[last], g.names[last])
	}
	return fmt.Sprintf("run %s elsewhere, too", g.names[last])
}

// lookWhole raises common-mode: a service or store that is lost in all sites at once and takes more than
// half of the other services of tier 0 and 1 along.
func (a *audit) lookWhole(s scenario) {
	n := s.takes[0]
	if a.g.kinds[n] == tower {
		return
	}
	of, fallen := a.g.vital, 0
	if a.g.isVital(n) {
		of--
	}
	for _, o := range a.l.trail {
		if o != n && a.g.isVital(o) {
			fallen++
		}
	}
	if 2*fallen <= of {
		return
	}
	name, along := a.g.names[n], "every other service"
	if fallen < of {
		along = fmt.Sprintf("%d of the other %d services", fallen, of)
	}
	a.add(key{rule: CommonMode, component: name}, s, Low, func(f *Finding) {
		f.Cause, f.Chain = name, []string{name}
		f.Message = fmt.Sprintf("%s as a whole (a bad release, an expired certificate) takes %s of tier 0 and 1 along", name, along)
		f.Remedy = fmt.Sprintf("let what can do without %s for a while say wants instead of requires, and release it one site after the other", name)
	})
}

// lookResidual raises residual: what is down with a second loss, and would not be with the first.
func (a *audit) lookResidual(s scenario) {
	for _, n := range a.l.trail {
		if a.g.kinds[n] != service && a.g.kinds[n] != store || slices.Contains(s.takes, n) {
			continue
		}
		how, _ := a.l.stops(n)
		if how != "runs" && how != "members" {
			continue // it is another's own pools or members that run out
		}
		if a.downWithout(n, s) {
			continue
		}
		name := a.g.names[n]
		a.add(key{rule: Residual, component: name}, s, Low, func(f *Finding) {
			w := why{chain: []id{n}, cause: n, how: how}
			f.Chain, f.Cause = a.g.told(w), strings.Join(a.g.said(s), " + ")
			f.Message = fmt.Sprintf("%s survives the loss of each, but not of %s together", name, a.g.lostAs(s))
			f.Remedy = a.g.remedy(w)
		})
	}
}

// downWithout says whether a component is down already when only one of the scenario's is lost.
func (a *audit) downWithout(n id, s scenario) bool {
	return slices.ContainsFunc(s.takes, func(one id) bool { return a.fallWith(one)[n] })
}

// fallWith are the services and stores that fall with one thing alone.
func (a *audit) fallWith(one id) map[id]bool {
	if out, known := a.alone[one]; known {
		return out
	}
	out := map[id]bool{}
	o := a.l.aside()
	before := len(o.trail)
	back := o.take(one)
	for _, n := range o.trail[before:] {
		if k := a.g.kinds[n]; k == service || k == store {
			out[n] = true
		}
	}
	back()
	a.alone[one] = out
	return out
}
