package plan

import (
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// edges says what each store and service stands on, by name, alternatives included:
// which of several alternatives will serve is not known beforehand, so all come first.
func edges(e estate.Estate) map[string][]string {
	out := map[string][]string{}
	for id, s := range e.Stores {
		out[string(id)] = append(named(s.Requires), named(s.After)...)
	}
	for id, s := range e.Services {
		out[string(id)] = append(named(s.Requires), named(s.After)...)
	}
	return out
}

// named flattens needs to the names in them.
func named(needs []estate.Need) []string {
	var out []string
	for _, n := range needs {
		if n.Name != "" {
			name, _, _ := strings.Cut(n.Name, "@")
			out = append(out, name)
		}
		out = append(out, named(n.Of)...)
	}
	return out
}

// backwards turns edges around: what stands on each.
func backwards(on map[string][]string) map[string][]string {
	out := map[string][]string{}
	for name, needs := range on {
		for _, n := range needs {
			out[n] = append(out[n], name)
		}
	}
	return out
}

// under is everything that a component stands on, directly or not. Rings of services
// are legal, so a component may stand under itself.
func under(on map[string][]string, from string) map[string]bool {
	seen := map[string]bool{}
	todo := slices.Clone(on[from])
	for len(todo) > 0 {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[next] {
			continue
		}
		seen[next] = true
		todo = append(todo, on[next]...)
	}
	return seen
}

// ranked is a store with its place in the order.
type ranked struct {
	id    estate.StoreID
	tier  int              // the best tier of all that stands on it, and its own
	needs []estate.StoreID // stores of the same plan that come first, sorted
}

// inOrder sorts stores so that what others stand on comes first, then by tier, then by
// name. Stores in a ring do not wait for each other.
//
// Only a real need makes a store wait. A tier decides who is first in the list, not who
// waits: a store of tier 1 that waited for one of tier 0 would hang behind its question.
func inOrder(e estate.Estate, ids []estate.StoreID) []ranked {
	on := edges(e)
	of := backwards(on)
	below := map[string]map[string]bool{} // of the stores alone: an estate has many more services
	for _, id := range ids {
		below[string(id)] = under(on, string(id))
	}
	var todo []ranked
	for _, id := range ids {
		r := ranked{id: id, tier: e.Stores[id].Tier}
		for name := range under(of, string(id)) {
			if svc, ok := e.Services[estate.ServiceID(name)]; ok {
				r.tier = min(r.tier, svc.Tier)
			}
		}
		for _, other := range ids {
			if other != id && below[string(id)][string(other)] && !below[string(other)][string(id)] {
				r.needs = append(r.needs, other)
			}
		}
		slices.Sort(r.needs)
		todo = append(todo, r)
	}
	slices.SortFunc(todo, func(a, b ranked) int {
		if a.tier != b.tier {
			return a.tier - b.tier
		}
		return strings.Compare(string(a.id), string(b.id))
	})
	return settle(todo)
}

// settle takes the first store whose needs are already placed, again and again. The
// needs are a strict order, so there is always one.
func settle(todo []ranked) []ranked {
	var out []ranked
	placed := map[estate.StoreID]bool{}
	for len(todo) > 0 {
		i := slices.IndexFunc(todo, func(r ranked) bool {
			return !slices.ContainsFunc(r.needs, func(n estate.StoreID) bool { return !placed[n] })
		})
		placed[todo[i].id] = true
		out = append(out, todo[i])
		todo = slices.Delete(todo, i, i+1)
	}
	return out
}
