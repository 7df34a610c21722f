package audit

import (
	"fmt"
	"slices"
	"strings"
)

// still applies the rules that need no loss.
func (a *audit) still() {
	a.lookStart()
	a.lookTiers()
	a.lookPower()
	a.lookBackups()
	a.lookPaths()
	a.lookProofs()
	a.lookLink(scenario{})
}

// lookStart raises bootstrap-cycle: what can never start from nothing, since each waits for another
// through requires and after, alternatives tried. One finding for each ring.
func (a *audit) lookStart() {
	started := a.g.startable()
	for _, set := range a.g.rings(started) {
		ring := a.g.ring(set)
		names := make([]string, len(ring))
		for i, n := range ring {
			names[i] = a.g.names[n]
		}
		severity := Medium
		if slices.ContainsFunc(set, func(n id) bool { return a.g.isVital(n) }) {
			severity = High
		}
		first := slices.Min(names)
		a.add(key{rule: BootstrapCycle, component: first}, scenario{}, severity, func(f *Finding) {
			f.Chain, f.Cause = names, first
			f.Message = fmt.Sprintf("none of %s can start from nothing: each waits for another", strings.Join(names, ", "))
			f.Remedy = fmt.Sprintf("break the ring: give one of them an alternative that starts without the others, for example a copy of %s that is kept aside", names[len(names)-1])
		})
	}
}

// startable finds all that can start from nothing: the least set in which each has what it requires
// and comes after.
func (g *graph) startable() []bool {
	up := make([]bool, len(g.names))
	missing := make([]int32, len(g.names)) // children that are needed still
	waits := make([][]id, len(g.names))    // who waits for a node by after
	var queue []id
	for i := range g.names {
		n := id(i)
		missing[i] = int32(len(g.children[n])) - g.bears[n]
		switch g.kinds[n] {
		case copies: // enough members, whatever links do
			missing[i] = 1
		case store, service:
			missing[i] += int32(len(g.after[n]))
			for _, c := range g.after[n] {
				waits[c] = append(waits[c], n)
			}
		}
		if g.bears[n] < 0 {
			missing[i] = 1 << 30
		}
		if missing[i] <= 0 {
			queue = append(queue, n)
		}
	}
	for len(queue) > 0 {
		n := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if up[n] {
			continue
		}
		up[n] = true
		for _, p := range append(slices.Clone(g.parents[n]), waits[n]...) {
			if missing[p]--; missing[p] <= 0 && !up[p] {
				queue = append(queue, p)
			}
		}
	}
	return up
}

// rings are the strongly connected sets of what cannot start (Tarjan, 1972).
func (g *graph) rings(up []bool) [][]id {
	t := tarjan{g: g, up: up, index: map[id]int{}, low: map[id]int{}, on: map[id]bool{}}
	for i := range g.names {
		if n := id(i); !up[n] && t.index[n] == 0 {
			t.walk(n)
		}
	}
	return slices.DeleteFunc(t.sets, func(set []id) bool { return len(g.ring(set)) == 0 })
}

type tarjan struct {
	g     *graph
	up    []bool
	index map[id]int
	low   map[id]int
	on    map[id]bool
	stack []id
	next  int
	sets  [][]id
}

func (t *tarjan) walk(n id) {
	t.next++
	t.index[n], t.low[n] = t.next, t.next
	t.stack, t.on[n] = append(t.stack, n), true
	for _, c := range t.g.waitsFor(n) {
		switch {
		case t.up[c]:
		case t.index[c] == 0:
			t.walk(c)
			t.low[n] = min(t.low[n], t.low[c])
		case t.on[c]:
			t.low[n] = min(t.low[n], t.index[c])
		}
	}
	if t.low[n] != t.index[n] {
		return
	}
	var set []id
	for {
		last := t.stack[len(t.stack)-1]
		t.stack, t.on[last] = t.stack[:len(t.stack)-1], false
		set = append(set, last)
		if last == n {
			break
		}
	}
	if len(set) > 1 || slices.Contains(t.g.waitsFor(n), n) {
		t.sets = append(t.sets, set)
	}
}

func (g *graph) waitsFor(n id) []id {
	return append(slices.Clone(g.children[n]), g.after[n]...)
}

// ring is the shortest ring through the first component by name of a set, components only.
func (g *graph) ring(set []id) []id {
	first := none
	for _, n := range set {
		if g.isComponent(n) && (first == none || g.names[n] < g.names[first]) {
			first = n
		}
	}
	if first == none {
		return nil
	}
	back := map[id]id{}
	queue := []id{first}
	for k := 0; k < len(queue); k++ {
		for _, c := range g.waitsFor(queue[k]) {
			if c == first {
				var ring []id
				for n := queue[k]; n != first; n = back[n] {
					if g.isComponent(n) {
						ring = append(ring, n)
					}
				}
				slices.Reverse(ring)
				return append([]id{first}, ring...)
			}
			if _, seen := back[c]; !seen && slices.Contains(set, c) {
				back[c] = queue[k]
				queue = append(queue, c)
			}
		}
	}
	return nil
}

func (g *graph) isComponent(n id) bool { return g.kinds[n] >= site }

// lookTiers raises tier-inversion: a service that requires one of a lower tier.
func (a *audit) lookTiers() {
	for _, s := range a.g.services {
		spec, name := a.g.spec(s), a.g.names[s]
		worst := none
		for _, n := range a.g.requiredServices(s) {
			if t := a.g.tierOf(n); t > spec.Tier && (worst == none || t > a.g.tierOf(worst)) {
				worst = n
			}
		}
		if worst == none {
			continue
		}
		severity := Medium
		if spec.Tier <= 1 {
			severity = High
		}
		on := a.g.names[worst]
		a.add(key{rule: TierInversion, component: name}, scenario{}, severity, func(f *Finding) {
			f.Chain, f.Cause = []string{name, on}, on
			f.Message = fmt.Sprintf("%s is of tier %d and requires %s, which is of tier %d and saved later", name, spec.Tier, on, a.g.tierOf(worst))
			f.Remedy = fmt.Sprintf("raise %s to tier %d, or let %s say wants: [%s]", on, spec.Tier, name, on)
		})
	}
}

func (g *graph) tierOf(n id) int { return g.tiers[n] }

// requiredServices lists the services that one names in its requires, alternatives included, by name.
func (g *graph) requiredServices(s id) []id {
	var out []id
	for _, n := range g.mentioned(g.spec(s).Requires) {
		if g.kinds[n] == service {
			out = append(out, n)
		}
	}
	return out
}
