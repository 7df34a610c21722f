package audit

import (
	"maps"
	"slices"

	"github.com/haechi/haechi/core/estate"
)

// Aftermath is an estate after a loss, when haechi has done its work.
type Aftermath struct {
	Survival
	Components []string                // all that there are, by name; a member of a store as store/member
	Gone       map[string]bool         // those of them that are lost or down
	Moves      map[estate.StoreID]bool // stores that live on only with another primary
	Grown      map[string]float64      // servers that services take besides their own, where they do: those have to be started
}

// After says how an estate is after the loss of some components.
func After(e estate.Estate, lose ...string) (Aftermath, error) { return Prepare(e).After(lose...) }

// Prepared is an estate of which many losses are asked, one after the other.
type Prepared struct {
	a    *audit
	all  []string
	down error // services are down with nothing lost
}

// Prepare does once what every loss of an estate needs.
func Prepare(e estate.Estate) *Prepared {
	g := compile(e)
	a := &audit{Input: Input{Estate: e}, g: g, l: newLoss(g)}
	return &Prepared{a, slices.Sorted(maps.Keys(g.by)), a.downAlready()}
}

// Components are all that there are, by name; a member of a store as store/member.
func (p *Prepared) Components() []string { return p.all }

// After says how the estate is after the loss of some components.
func (p *Prepared) After(lose ...string) (Aftermath, error) {
	a, g := p.a, p.a.g
	takes, err := g.find(lose)
	if err != nil {
		return Aftermath{}, err
	}
	if p.down != nil {
		return Aftermath{}, p.down
	}
	defer a.l.take(takes...)()
	r := a.l.rooms()
	out := Aftermath{Survival: a.l.survivalIn(r), Components: p.all, Gone: map[string]bool{}, Moves: map[estate.StoreID]bool{}, Grown: map[string]float64{}}
	for n := range g.names {
		if i := id(n); g.isComponent(i) && a.l.gone[i] {
			out.Gone[g.names[i]] = true
		}
	}
	for i := range g.stores {
		s := &g.stores[i]
		if a.l.state[i] != storeDown && a.l.moves(s) {
			out.Moves[estate.StoreID(g.names[s.of])] = true
		}
	}
	for s, n := range r.grown {
		if n > tiny {
			out.Grown[g.names[s]] = rounded(n)
		}
	}
	return out, nil
}

// moves says whether the primary of a store that lives has to be another one.
func (l *loss) moves(s *storeNode) bool {
	if s.spec.Any == 0 {
		return l.gone[s.members[s.primary]]
	}
	stays := l.under(s, s.primary, -1)
	return stays == storeDown || stays == storeDegraded && l.state[l.g.storeAt[s.copies]] == storeUp
}
