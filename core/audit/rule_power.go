package audit

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// lookPower raises power: watts that fall on a feed today, or when its twin is lost, are over its limit.
func (a *audit) lookPower() {
	limits := map[string]float64{}
	for n, d := range a.Estate.Domains {
		if w, ok := watts(d.Limit); ok {
			limits[n] = w
		}
	}
	if len(limits) == 0 {
		return
	}
	a.overloaded(limits, scenario{})
	for _, n := range slices.Sorted(maps.Keys(a.Estate.Domains)) {
		s := scenario{takes: []id{a.g.by[n]}}
		back := a.l.take(s.takes...)
		a.overloaded(limits, s)
		back()
	}
}

func (a *audit) overloaded(limits map[string]float64, s scenario) {
	falls := a.draw()
	for _, n := range slices.Sorted(maps.Keys(limits)) {
		if a.l.gone[a.g.by[n]] || falls[n] <= limits[n]*(1+tiny) {
			continue
		}
		a.add(key{rule: Power, component: n}, s, High, func(f *Finding) {
			f.Chain, f.Cause = []string{n}, n
			when := "today"
			if len(s.takes) > 0 {
				when = "when " + a.g.lostAs(s) + " is lost"
			}
			f.Message = fmt.Sprintf("%s kW fall on %s %s; its limit is %s kW", number(falls[n]/1000), n, when, number(limits[n]/1000))
			f.Remedy = fmt.Sprintf("raise the limit of %s to %s kW, or feed less from it", n, number(falls[n]/1000))
		})
	}
}

// draw is what falls on each domain, in watts: what its pools draw, shared equally among the living
// alternatives of an any, and passed on to what the domain itself requires.
func (a *audit) draw() map[string]float64 {
	out := map[string]float64{}
	for _, n := range slices.Sorted(maps.Keys(a.Estate.Pools)) {
		p := a.Estate.Pools[n]
		if w := float64(p.Servers) * p.Watts; w > 0 && !a.l.gone[a.g.by[n]] {
			a.pass(out, p.Requires, w)
		}
	}
	return out
}

func (a *audit) pass(out map[string]float64, needs []estate.Need, w float64) {
	for _, n := range needs {
		if n.Of == nil {
			if d, ok := a.Estate.Domains[n.Name]; ok {
				out[n.Name] += w
				a.pass(out, d.Requires, w)
			}
			continue
		}
		var living []estate.Need
		for _, o := range n.Of {
			if a.lives(o) {
				living = append(living, o)
			}
		}
		for _, o := range living {
			a.pass(out, []estate.Need{o}, w/float64(len(living)))
		}
	}
}

func (a *audit) lives(n estate.Need) bool {
	if n.Of == nil {
		return !a.l.gone[a.g.by[strings.TrimSuffix(n.Name, estate.SameSite)]]
	}
	have := 0
	for _, o := range n.Of {
		if a.lives(o) {
			have++
		}
	}
	return have >= n.AtLeast
}

// watts reads a limit such as 400kW. Apparent power counts as real: feeds are rated so.
func watts(limit string) (float64, bool) {
	for _, u := range []struct {
		unit string
		is   float64
	}{{"kW", 1e3}, {"MW", 1e6}, {"kVA", 1e3}, {"MVA", 1e6}, {"VA", 1}, {"W", 1}} {
		if n, ok := strings.CutSuffix(limit, u.unit); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(n), 64)
			return v * u.is, err == nil
		}
	}
	return 0, false
}
