package audit

import (
	"maps"
	"slices"

	"github.com/haechi/haechi/core/estate"
)

// tiny is what arithmetic on shares of servers may be off.
const tiny = 1e-6

// room is how many servers' worth of work each service can do in a scenario, and what it took.
type room struct {
	has   map[id]float64
	grown map[id]float64 // of it, what others had or nobody
	short map[id]float64 // servers missing, of those that are not down and have too few
	shed  map[id]bool    // services whose servers others took
}

// claim is what one service asks for beyond its own servers: on pools where it can use them, or on
// pools where it cannot now but keeps its claim all the same.
type claim struct {
	of     id
	useful bool
	may    []int // supplies
	got    map[int]float64
}

// supply is a pool's free servers, or those of a service that may be given up.
type supply struct {
	left   float64
	victim id // none: free servers
	pool   id
	level  int // 0: free; 1: of the tier that is given up first; and so on
}

// market hands out room: claims in order, each as much as is possible without taking from those
// before it, by augmenting paths (Ford and Fulkerson, 1956), each the shortest there is.
type market struct {
	l        *loss
	claims   []claim
	supplies []supply
	from     [][]int // supply: claims that have of it
	byPool   map[id][]int
}

// rooms hands out all room that the scenario leaves.
func (l *loss) rooms() room {
	m := newMarket(l)
	r := room{has: map[id]float64{}, grown: map[id]float64{}, short: map[id]float64{}, shed: map[id]bool{}}
	for _, s := range l.g.services {
		m.serve(s)
	}
	for _, s := range l.g.services {
		spec := l.g.spec(s)
		if spec.Load <= 0 || len(spec.Runs) == 0 {
			continue
		}
		has := m.own(s, true) - m.taken(s)
		for _, c := range m.claims {
			if c.of == s && c.useful {
				has += sum(c.got)
				r.grown[s] += sum(c.got)
			}
		}
		r.has[s] = has
		if m.taken(s) > tiny {
			r.shed[s] = true
		}
		if need := spec.Load * share(spec); !l.gone[s] && has < need-tiny*max(1, need) {
			r.short[s] = need - has
		}
	}
	return r
}

// share of its load that is enough for a service.
func share(s *estate.Service) float64 {
	if s.AtLeast == 0 {
		return 1
	}
	return s.AtLeast
}

func newMarket(l *loss) *market {
	m := &market{l: l, byPool: map[id][]int{}}
	for _, f := range l.g.free {
		if !l.gone[f.pool] {
			m.offer(supply{left: float64(f.servers), victim: none, pool: f.pool})
		}
	}
	for level, tier := range l.g.e.Policy.Shed {
		for _, v := range l.g.services {
			spec := l.g.spec(v)
			if spec.Tier != tier {
				continue
			}
			for _, own := range l.g.runs[v] {
				if own.servers > 0 && !l.gone[own.pool] {
					m.offer(supply{left: float64(own.servers), victim: v, pool: own.pool, level: level + 1})
				}
			}
		}
	}
	return m
}

func (m *market) offer(s supply) {
	m.byPool[s.pool] = append(m.byPool[s.pool], len(m.supplies))
	m.supplies, m.from = append(m.supplies, s), append(m.from, nil)
}

// own is what a service has of its own in living pools; useful: only where an instance lives.
func (m *market) own(s id, useful bool) float64 {
	total := 0
	for _, own := range m.l.g.runs[s] {
		if !m.l.gone[own.pool] && (!useful || m.lives(s, own.pool)) {
			total += own.servers
		}
	}
	return float64(total)
}

func (m *market) lives(s, p id) bool {
	in, ok := m.l.g.beside[[2]id{s, m.l.g.sites[p]}]
	return ok && !m.l.gone[in]
}

// taken is what others have of a service's servers.
func (m *market) taken(v id) float64 {
	total := 0.0
	for i := range m.supplies {
		if m.supplies[i].victim != v {
			continue
		}
		for _, c := range m.from[i] {
			total += m.claims[c].got[i]
		}
	}
	return total
}

// serve is a service's turn.
func (m *market) serve(s id) {
	spec := m.l.g.spec(s)
	want := spec.Load - (m.own(s, false) - m.taken(s))
	if want > tiny {
		starts := !slices.ContainsFunc(m.l.g.after[s], func(n id) bool { return m.l.gone[n] })
		want -= m.ask(s, want, func(p id) bool { return starts && m.lives(s, p) }, true)
		m.ask(s, want, func(p id) bool { return !starts || !m.lives(s, p) }, false)
	}
	for i := range m.supplies { // those who come later are of lower tiers, and take nothing from it
		if m.supplies[i].victim == s {
			m.supplies[i].left = 0
		}
	}
}

// ask claims up to so much on the pools that a service runs in and that fit: free servers first, then
// those of tiers that are given up, in their order. It returns what it got.
func (m *market) ask(s id, want float64, fits func(pool id) bool, useful bool) (got float64) {
	at := len(m.claims)
	m.claims = append(m.claims, claim{of: s, useful: useful, got: map[int]float64{}})
	tier := m.l.g.spec(s).Tier
	for level := 0; level <= len(m.l.g.e.Policy.Shed) && want-got > tiny; level++ {
		for _, own := range m.l.g.runs[s] {
			p := own.pool
			if m.l.gone[p] || !fits(p) {
				continue
			}
			for _, i := range m.byPool[p] {
				if v := m.supplies[i].victim; m.supplies[i].level == level && (v == none || m.l.g.spec(v).Tier > tier) {
					m.claims[at].may = append(m.claims[at].may, i)
				}
			}
		}
		for want-got > tiny {
			x := m.augment(at, want-got)
			if x <= tiny {
				break
			}
			got += x
		}
	}
	return got
}

// augment finds room for a claim, where need be by moving claims before it to other room that they may
// have, and returns how much.
func (m *market) augment(at int, most float64) float64 {
	type step struct{ claim, supply, back int } // the claim takes of the supply; back: the step before
	var steps []step
	seen := make([]bool, len(m.supplies))
	asked := map[int]bool{at: true}
	add := func(c, back int) {
		for _, i := range m.claims[c].may {
			if !seen[i] {
				seen[i] = true
				steps = append(steps, step{c, i, back})
			}
		}
	}
	add(at, -1)
	for k := 0; k < len(steps); k++ {
		i := steps[k].supply
		if m.supplies[i].left > tiny {
			x := min(most, m.supplies[i].left)
			for j := k; steps[j].back >= 0; j = steps[j].back { // what each claim on the way can move
				x = min(x, m.claims[steps[j].claim].got[steps[steps[j].back].supply])
			}
			m.supplies[i].left -= x
			for j := k; j >= 0; j = steps[j].back {
				m.give(steps[j].claim, steps[j].supply, x)
				if b := steps[j].back; b >= 0 {
					m.give(steps[j].claim, steps[b].supply, -x)
				}
			}
			return x
		}
		for _, c := range m.from[i] {
			if !asked[c] && m.claims[c].got[i] > tiny {
				asked[c] = true
				add(c, k)
			}
		}
	}
	return 0
}

func (m *market) give(c, supply int, x float64) {
	if _, had := m.claims[c].got[supply]; !had {
		m.from[supply] = append(m.from[supply], c)
	}
	m.claims[c].got[supply] += x
}

func sum(m map[int]float64) float64 {
	total := 0.0
	for _, k := range slices.Sorted(maps.Keys(m)) {
		total += m[k]
	}
	return total
}
