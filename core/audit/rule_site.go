package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/seats"
)

// lookSite applies the rules that ask what one lost site leaves.
func (a *audit) lookSite(s scenario) {
	if len(s.takes) == 1 && a.g.kinds[s.takes[0]] == site {
		a.lookRoom(s)
		a.lookLoss(s)
		a.lookQuorum(s)
		a.lookLink(s)
	}
}

// lookRoom raises capacity: services that are short after one site is gone.
func (a *audit) lookRoom(s scenario) {
	r := a.l.rooms()
	var shed []string
	for n := range r.shed {
		shed = append(shed, a.g.names[n])
	}
	slices.Sort(shed)
	for _, n := range a.g.services {
		short, is := r.short[n]
		if !is {
			continue
		}
		name, spec := a.g.names[n], a.g.spec(n)
		a.add(key{rule: Capacity, component: name}, s, byTier(spec.Tier), func(f *Finding) {
			f.Chain, f.Cause = []string{name}, name
			f.Message = fmt.Sprintf("%s has room for %s of the %s servers' worth that it needs when %s is lost; %s are missing", name, number(r.has[n]), number(spec.Load*share(spec)), a.g.lostAs(s), number(short))
			if len(shed) > 0 {
				f.Message += "; given up for others: " + strings.Join(shed, ", ")
			}
			f.Remedy = fmt.Sprintf("give it %s more servers in the pools that are left (%s)", number(short), strings.Join(a.poolsLeft(n), ", "))
		})
	}
}

// poolsLeft lists a service's pools that live, by name; all where none does.
func (a *audit) poolsLeft(s id) []string {
	var left, all []string
	for p := range a.g.spec(s).Runs {
		all = append(all, p)
		if !a.l.gone[a.g.by[p]] {
			left = append(left, p)
		}
	}
	if len(left) == 0 {
		left = all
	}
	slices.Sort(left)
	return left
}

// number draws servers as people say them.
func number(x float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", rounded(x)), ".0") }

// lookLoss raises rpo: a store that a service requires can lose more than the service allows.
func (a *audit) lookLoss(s scenario) {
	for _, n := range a.g.services {
		spec := a.g.spec(n)
		if spec.RPO == nil {
			continue
		}
		for _, on := range a.g.mentioned(spec.Requires) {
			if a.g.kinds[on] != store {
				continue
			}
			lost, why := a.mayLose(on)
			if why == "" || lost != nil && *lost <= *spec.RPO {
				continue
			}
			name, st := a.g.names[n], a.g.names[on]
			a.add(key{rule: RPO, component: name}, s, byTier(spec.Tier), func(f *Finding) {
				f.Chain, f.Cause = []string{name, st}, st
				f.Message = fmt.Sprintf("%s may lose %s of what it was told is saved when %s is lost, more than its rpo of %s: %s", name, amount(lost), a.g.lostAs(s), estate.Span(*spec.RPO), why)
				f.Remedy = fmt.Sprintf("have a member of %s in another site hold each write before the client hears of it: acknowledge: {any: 1}, alone: refuse, enough members outside the primary's site", st)
			})
		}
	}
}

func amount(d *time.Duration) string {
	if d == nil {
		return "an unknown part"
	}
	return estate.Span(*d)
}

// mayLose says how much of what was acknowledged a store can lose now, and why; nothing where it cannot.
// No amount means that nobody knows it.
func (a *audit) mayLose(n id) (*time.Duration, string) {
	s := a.storeOf(n)
	if !a.l.gone[s.members[s.primary]] {
		return nil, ""
	}
	var lag *time.Duration
	if s.spec.Lag > 0 {
		lag = &s.spec.Lag
	}
	name := a.g.names[n]
	others := 0 // besides the primary, that are lost with it
	for m, at := range s.members {
		if m != s.primary && a.l.gone[at] {
			others++
		}
	}
	switch {
	case s.spec.Any == 0:
		return lag, name + " acknowledges before any other member holds the write"
	case s.spec.Alone == "allow":
		return lag, name + " may acknowledge alone"
	case others >= s.spec.Any:
		return lag, fmt.Sprintf("%d of %s's members besides the primary hold each write, and as many are lost with it", s.spec.Any, name)
	}
	return nil, ""
}

func (a *audit) storeOf(n id) *storeNode {
	i := slices.IndexFunc(a.g.stores, func(s storeNode) bool { return s.of == n })
	return &a.g.stores[i]
}

// lookQuorum raises quorum: no majority of the towers is left, or too few members to promote one safely.
func (a *audit) lookQuorum(s scenario) {
	name := a.g.names[s.takes[0]]
	left := 0
	voters := seats.Of(a.Estate)
	for _, t := range voters {
		if !a.l.gone[a.g.by[string(t)]] {
			left++
		}
	}
	if all := len(voters); all > 0 && 2*left <= all {
		a.add(key{rule: Quorum, component: name}, s, Critical, func(f *Finding) {
			f.Chain, f.Cause = []string{name}, name
			f.Message = fmt.Sprintf("when %s is lost %d of %d towers that vote are left, which is no majority: haechi starts nothing", name, left, all)
			f.Remedy = "put towers into three sites or more (one may be a witness): then those vote that leave a majority whichever site is lost"
		})
	}
	for i := range a.g.stores {
		st := &a.g.stores[i]
		if st.spec.Any < 1 || !a.l.gone[st.members[st.primary]] {
			continue
		}
		alive := 0
		for m, at := range st.members {
			if m != st.primary && !a.l.gone[at] {
				alive++
			}
		}
		need := len(st.members) - 1 - st.spec.Any + 1
		if alive >= need {
			continue
		}
		n := a.g.names[st.of]
		a.add(key{rule: Quorum, component: n}, s, byTier(a.bestTier(st)), func(f *Finding) {
			f.Chain, f.Cause = []string{n}, n
			f.Message = fmt.Sprintf("when %s is lost %d of the other members of %s are left; %d are needed to promote one without losing a write", name, alive, n, need)
			f.Remedy = fmt.Sprintf("spread the members of %s so that no site holds the primary and so many others, or have more of them hold each write (acknowledge: {any: %d})", n, st.spec.Any+1)
		})
	}
}

// bestTier is the best tier of what stands on a store, or its own.
func (a *audit) bestTier(st *storeNode) int {
	best := st.spec.Tier
	first := true
	for _, n := range a.g.above([]id{st.of}) {
		if a.g.kinds[n] == service && (first || a.g.spec(n).Tier < best) {
			best, first = a.g.spec(n).Tier, false
		}
	}
	return best
}

// lookLink raises link-capacity: replication that does not fit through what is left.
func (a *audit) lookLink(s scenario) {
	if len(s.takes) > 1 || len(s.takes) == 1 && a.g.kinds[s.takes[0]] != site && a.g.kinds[s.takes[0]] != link {
		return
	}
	load := a.l.traffic()
	for _, n := range a.g.linkIDs() {
		most, cap := 0.0, a.g.gbps(n)
		for h, x := range load {
			if h.link == n {
				most = max(most, x)
			}
		}
		if cap <= 0 || most <= cap+tiny {
			continue
		}
		name := a.g.names[n]
		a.add(key{rule: LinkCapacity, component: name}, s, High, func(f *Finding) {
			f.Chain, f.Cause = []string{name}, name
			when := "today"
			if len(s.takes) > 0 {
				when = "when " + a.g.lostAs(s) + " is lost"
			}
			f.Message = fmt.Sprintf("%s Gbit/s of replication have to cross %s %s; it carries %s", number(most), name, when, number(cap))
			f.Remedy = fmt.Sprintf("widen %s to %s Gbit/s (gbps: %s), or add a link beside it", name, number(most), number(most))
		})
	}
}

func (g *graph) linkIDs() []id {
	var out []id
	for i, k := range g.kinds {
		if k == link {
			out = append(out, id(i))
		}
	}
	return out
}
