package audit

import (
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// lookReturn raises rto: a service that comes back, but too late.
func (a *audit) lookReturn(s scenario) {
	if a.Back == nil {
		return
	}
	ins, same := a.interruptions()
	for _, in := range ins {
		spec, name := a.g.spec(in.of), a.g.names[in.of]
		r := a.returns(name, same, s)
		if r == nil || r.Within <= *spec.RTO {
			continue
		}
		a.add(key{rule: RTO, component: name}, s, byTier(spec.Tier), func(f *Finding) {
			f.Chain, f.Cause = a.g.told(in.why), a.g.names[in.why.cause]
			f.Message = fmt.Sprintf("%s is back within %s when %s is lost (in 95 of 100 cases), later than its rto of %s; it waits longest for: %s",
				name, about(r.Within), a.g.lostAs(s), estate.Span(*spec.RTO), r.Waits)
			f.Remedy = r.Remedy
		})
	}
}

// about draws a time rounded up, so that what is too late does not read as just in time.
func about(d time.Duration) string {
	unit := time.Second
	if d < 10*time.Second {
		unit = 10 * time.Millisecond
	}
	if down := d.Truncate(unit); down < d {
		d = down + unit
	}
	return estate.Span(d)
}

// returns asks how a service comes back, once for all scenarios that are the same to it; nil: it does not.
func (a *audit) returns(service, same string, s scenario) *Return {
	k := service + " " + same
	if r, ok := a.asked[k]; ok {
		return r
	}
	r, back := a.Back(service, a.g.said(s))
	if a.asked[k] = &r; !back {
		a.asked[k] = nil
	}
	return a.asked[k]
}

// interruption is a service that is gone for a while, and what it waits for.
type interruption struct {
	of  id
	why why
}

// interruptions lists the services with an rto that are gone for a while in the scenario, though up once
// haechi has done its work: a store moves that they stand on, users are still sent to a lost site, or
// all their servers have yet to be started. Scenarios with the same interruptions for the same
// reasons are the same to those services: a member, its host, the host's rack.
func (a *audit) interruptions() (out []interruption, same string) {
	if !slices.ContainsFunc(a.g.services, func(n id) bool { return a.g.spec(n).RTO != nil }) {
		return nil, ""
	}
	moving, members := a.moving()
	idle := a.yetToStart()
	gone := slices.Concat(moving, a.sentAstray(), idle)
	if len(gone) == 0 {
		return nil, ""
	}
	for _, n := range members {
		same += a.g.names[n] + " "
	}
	if len(idle) > 0 { // what they start after counts, too
		same = fmt.Sprint(a.l.taken)
	}
	before := len(a.l.trail)
	defer a.l.take(a.g.byName(gone)...)()
	for _, n := range a.g.byName(a.l.trail[before:]) {
		if a.g.kinds[n] == service && a.g.spec(n).RTO != nil {
			out = append(out, interruption{n, a.l.reason(n)})
		}
	}
	return out, same
}

// moving lists the stores that live on only with another primary, and what says how they move: their members
// that are gone, and the sites that are.
func (a *audit) moving() (stores, because []id) {
	for _, n := range a.g.allSites {
		if a.l.gone[n] {
			because = append(because, n)
		}
	}
	for i := range a.g.stores {
		s := &a.g.stores[i]
		if a.l.count[s.copies] == 0 || a.l.state[i] == storeDown || !a.l.moves(s) {
			continue
		}
		stores = append(stores, s.of)
		because = append(because, s.of)
		for _, m := range s.members {
			if a.l.gone[m] {
				because = append(because, m)
			}
		}
	}
	return stores, because
}

// sentAstray lists the living services of which a name answers with a lost site.
func (a *audit) sentAstray() []id {
	if !slices.ContainsFunc(a.g.allSites, func(s id) bool { return a.l.gone[s] }) {
		return nil
	}
	var out []id
	for _, name := range a.Estate.Names {
		n, ok := a.g.by[string(name.Service)]
		if !ok || a.l.gone[n] {
			continue
		}
		for at := range name.Answers {
			if a.l.gone[a.g.by[string(at)]] {
				out = append(out, n)
				break
			}
		}
	}
	return out
}

// yetToStart lists the living services that lost all servers given to them.
func (a *audit) yetToStart() []id {
	if !slices.ContainsFunc(a.l.trail, func(n id) bool { return a.g.kinds[n] == pool }) {
		return nil
	}
	var out []id
	for _, n := range a.g.services {
		had, has := 0, 0
		for _, own := range a.g.runs[n] {
			had += own.servers
			if !a.l.gone[own.pool] {
				has += own.servers
			}
		}
		if had > 0 && has == 0 && !a.l.gone[n] {
			out = append(out, n)
		}
	}
	return out
}
