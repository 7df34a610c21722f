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
func After(e estate.Estate, lose ...string) (Aftermath, error) {
	g := compile(e)
	takes, err := g.find(lose)
	if err != nil {
		return Aftermath{}, err
	}
	a := &audit{Input: Input{Estate: e}, g: g, l: newLoss(g)}
	if err := a.downAlready(); err != nil {
		return Aftermath{}, err
	}
	a.l.take(takes...)
	out := Aftermath{Survival: a.l.survival(), Components: slices.Sorted(maps.Keys(g.by)), Gone: map[string]bool{}, Moves: map[estate.StoreID]bool{}, Grown: map[string]float64{}}
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
	for s, n := range a.l.rooms().grown {
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
