package simulate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
)

// cases is how many losses are simulated to know how long a service is gone in 95 of 100.
const cases = 100

// smooth is the share of cases with trouble up to which the 95th percentile lies among those without: what
// is soon enough with everything at its 99th is then soon enough.
const smooth = 0.04

// Back answers the audit's rule rto. luck is that of the n-th case. What it returns keeps what it found of
// the scenario that it was asked last, so it is for one audit at a time.
func Back(e estate.Estate, m Model, luck func(n int) Chance) audit.Back {
	var g *ground
	var last *returns
	return func(name string, scenario []string) (audit.Return, bool) {
		if last == nil || !slices.Equal(last.scenario, scenario) {
			last = &returns{scenario: scenario, luck: luck}
			if g == nil {
				g = onGround(e, m)
			}
			if s, err := g.lose(scenario); err == nil { // an audit asks of what there is
				last.s = s
			}
		}
		return last.of(name)
	}
}

// returns is how services come back after one scenario.
type returns struct {
	scenario []string
	luck     func(n int) Chance
	s        *Simulation
	slow     *Outcome  // everything slow, nothing amiss; nil: not simulated yet
	outs     []Outcome // nil: not simulated yet
}

// of says how a service comes back. Where it is soon enough even with everything slow, that is the
// answer: it costs one case instead of a hundred.
func (r *returns) of(name string) (audit.Return, bool) {
	if r.s == nil {
		return audit.Return{}, false
	}
	i := slices.IndexFunc(r.s.services, func(s service) bool { return s.id == name })
	if i < 0 {
		return audit.Return{}, false
	}
	if rto := r.s.e.Services[estate.ServiceID(name)].RTO; rto != nil && r.s.trouble(i) < smooth {
		if r.slow == nil {
			o := r.s.slowly().Once(sureThing{})
			r.slow = &o
		}
		if r.slow.Back[i] <= *rto {
			return r.s.said(i, *r.slow)
		}
	}
	if r.outs == nil {
		for n := range cases {
			r.outs = append(r.outs, r.s.Once(r.luck(n)))
		}
	}
	order := slices.SortedFunc(slices.Values(r.outs), func(a, b Outcome) int { return cmp.Compare(a.Back[i], b.Back[i]) })
	return r.s.said(i, order[cases*95/100-1])
}

// said is what one outcome says of a service.
func (s *Simulation) said(i int, o Outcome) (audit.Return, bool) {
	if o.Back[i] == Never {
		return audit.Return{}, false
	}
	out := audit.Return{Within: o.Back[i], Waits: "nothing", Remedy: "nothing"}
	longest := time.Duration(-1)
	for at := o.serve[i]; at >= 0; at = o.items[at].after {
		if it := o.items[at]; it.to-it.from > longest {
			longest, out.Waits, out.Remedy = it.to-it.from, s.what(it), s.shorter(it)
		}
	}
	return out, true
}

// shorter is what would shorten an item.
func (s *Simulation) shorter(it item) string {
	name := ""
	if it.at >= 0 {
		name = s.names[it.at]
	}
	switch it.kind {
	case sure, decided:
		return "where links are good, let silence count sooner (policy: {profile: fast})"
	case asked:
		return "let haechi act without asking (policy: {site-loss: auto}), or see to it that people answer sooner and say so (policy: {answer: …})"
	case took, switched:
		if len(s.e.Towers) == 0 {
			return "let haechi move it: declare towers in three sites"
		}
		return fmt.Sprintf("keep what people have to move by hand out of the way of it: have other members hold each write of %s (acknowledge: {any: 1}), so that haechi may move it", cmp.Or(name, "its stores"))
	case resolve:
		return fmt.Sprintf("have resolvers forget sooner: a smaller ttl of %s", name)
	case started:
		return fmt.Sprintf("give %s servers of its own in another site (runs), so that none has to be started first", name)
	case powered, checked:
		return fmt.Sprintf("have %s twice, so that nobody waits until it is there again", name)
	case stepped:
	}
	return fmt.Sprintf("see what takes so long: haechi simulate --lose %s", strings.Join(s.lose, ","))
}

// trouble bounds the share of cases in which a step that a service waits for does not go as it should.
func (s *Simulation) trouble(i int) float64 {
	on := map[int]bool{}
	s.standsOn(s.services[i].at, on)
	steps := 0
	for _, o := range s.openings {
		waited := make([]bool, len(o.plan.Steps)+1) // by the ID of a step
		for _, p := range slices.Backward(o.plan.Steps) {
			if !waited[p.ID] && !on[s.by[p.Component]] {
				continue
			}
			steps++
			for _, before := range p.After {
				waited[before] = true
			}
		}
	}
	return float64(steps) * (s.model.Fails + s.model.Unheard)
}

// standsOn gathers all that a service requires, itself and the names that users know it by included.
func (s *Simulation) standsOn(at int, seen map[int]bool) {
	if seen[at] {
		return
	}
	seen[at] = true
	var walk func([]need)
	walk = func(needs []need) {
		for _, n := range needs {
			if n.of != nil {
				walk(n.of)
				continue
			}
			s.standsOn(n.at, seen)
		}
	}
	for _, svc := range s.services {
		if svc.at == at {
			walk(svc.requires)
			for _, n := range svc.names {
				seen[s.by[string(s.resolve[n].id)]] = true
			}
		}
	}
	for _, st := range s.stores {
		if st.at == at {
			walk(st.requires)
		}
	}
}

// slowly is the same loss with each thing as slow as one time in a hundred.
func (s *Simulation) slowly() *Simulation {
	out := *s
	out.model = s.model.slow()
	return &out
}

// slow is a model in which everything takes its 99th percentile.
func (m Model) slow() Model {
	steps := m.Steps
	m.Steps = map[plan.Verb]Dist{}
	for v, d := range steps {
		m.Steps[v] = d.slow()
	}
	for _, d := range []*Dist{&m.Sure, &m.Decide, &m.Look, &m.Clients, &m.Answer, &m.Start, &m.Boot, &m.Check, &m.Hand.Begin, &m.Hand.Switch, &m.Hand.Without} {
		*d = d.slow()
	}
	return m
}

// z99 is the 99th percentile of the standard normal distribution.
const z99 = 2.3263478740408408

func (d Dist) slow() Dist {
	if n := len(d.Measured); n > 0 {
		return Dist{Median: slices.Sorted(slices.Values(d.Measured))[(n*99+99)/100-1]}
	}
	return Dist{Median: estate.Duration(d.Draw(always(z99)))}
}

// always is a luck that never changes.
type always float64

func (always) Float64() float64       { return 0 }
func (a always) NormFloat64() float64 { return float64(a) }

// sureThing is a luck with which nothing fails.
type sureThing struct{}

func (sureThing) Float64() float64     { return 0.999999 }
func (sureThing) NormFloat64() float64 { return 0 }
