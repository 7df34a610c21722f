package audit

import "github.com/haechi/haechi/core/estate"

// storeNode is a store with the nodes of its members.
type storeNode struct {
	of, copies id
	spec       estate.Store
	members    []id // by name
	primary    int  // among members
}

// storeState is how a store takes writes.
type storeState uint8

const (
	storeUp storeState = iota
	storeDegraded
	storeDown
)

// judge says how a store does after haechi has done its work: with the primary that it has, or with
// one by a safe promotion, whichever is better.
func (l *loss) judge(s *storeNode) storeState {
	if s.spec.Any == 0 {
		for _, m := range s.members {
			if !l.gone[m] {
				return storeUp
			}
		}
		return storeDown
	}
	best := storeDown
	for c := range s.members {
		if c == s.primary {
			best = min(best, l.under(s, c, -1))
			continue
		}
		if l.sealable(s, c) {
			best = min(best, l.under(s, c, s.primary))
		}
	}
	return best
}

// under is the state with a member as primary, where one, the former primary, does not help.
func (l *loss) under(s *storeNode, primary, former int) storeState {
	if l.gone[s.members[primary]] {
		return storeDown
	}
	hold := 0
	for m := range s.members {
		if m != primary && m != former && l.hears(s, primary, m) {
			hold++
		}
	}
	switch {
	case hold >= s.spec.Any:
		return storeUp
	case s.spec.Alone == "allow":
		return storeDegraded
	}
	return storeDown
}

// sealable says whether enough members live and reach the candidate that each acknowledged write
// is on one of them: m - k + 1 of the m besides the primary.
func (l *loss) sealable(s *storeNode, candidate int) bool {
	sealed := 0
	for m := range s.members {
		if m != s.primary && l.hears(s, candidate, m) {
			sealed++
		}
	}
	return sealed >= len(s.members)-1-s.spec.Any+1
}

// hears says whether two members live and reach each other.
func (l *loss) hears(s *storeNode, a, b int) bool {
	x, y := s.members[a], s.members[b]
	return !l.gone[x] && !l.gone[y] && l.joined(l.g.sites[x], l.g.sites[y])
}

// joined says whether a way of living links leads from one site to another. Where no link is
// declared all sites are joined.
func (l *loss) joined(a, b id) bool {
	if a == b || len(l.g.e.Links) == 0 {
		return true
	}
	if l.stale {
		l.chart()
	}
	return !l.gone[a] && !l.gone[b] && l.islands[a] == l.islands[b]
}

// chart finds out which sites reach each other.
func (l *loss) chart() {
	l.stale = false
	for _, s := range l.g.allSites {
		l.islands[s] = none
	}
	for _, first := range l.g.allSites {
		if l.gone[first] || l.islands[first] != none {
			continue
		}
		l.islands[first] = first
		for todo := []id{first}; len(todo) > 0; {
			at := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for _, ln := range l.g.links[at] {
				if l.islands[ln.to] == none && !l.gone[ln.link] && !l.gone[ln.to] {
					l.islands[ln.to] = first
					todo = append(todo, ln.to)
				}
			}
		}
	}
}
