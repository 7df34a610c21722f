package audit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// MostInCut is how many components the largest cut that is looked for holds.
const MostInCut = 3

// Cuts lists the minimal cut sets of a service or store up to [MostInCut]: sets of sites and of things
// smaller than a site whose loss takes it down, while the loss of no part of the set does. Smallest
// first, then by name. Every cut hits every set of things that is enough to live; so the search
// goes from one such set to the next (the hitting-set tree of Reiter, 1987).
func Cuts(e estate.Estate, name string) ([][]string, error) {
	g := compile(e)
	n, err := g.mayFall(name)
	if err != nil {
		return nil, err
	}
	c := cutter{g: g, l: newLoss(g), of: n, seen: map[string]bool{}}
	if c.l.gone[n] {
		return nil, fmt.Errorf("%s is down with nothing lost: %s", name, g.sentence(c.l.reason(n)))
	}
	c.search(nil)
	out := [][]string{}
	for _, cut := range c.cuts {
		if c.minimal(cut) {
			out = append(out, g.said(scenario{takes: cut}))
		}
	}
	slices.SortFunc(out, func(a, b []string) int { return cmp.Or(cmp.Compare(len(a), len(b)), slices.Compare(a, b)) })
	return out, nil
}

// mayFall finds a service or store.
func (g *graph) mayFall(name string) (id, error) {
	n, ok := g.by[name]
	if !ok || g.kinds[n] != service && g.kinds[n] != store {
		return none, fmt.Errorf("%q is no service or store of this estate; %s", name, estate.DidYouMean(name, g.namesOf(service, store)))
	}
	return n, nil
}

type cutter struct {
	g    *graph
	l    *loss
	of   id
	seen map[string]bool
	cuts [][]id
}

func (c *cutter) search(taken []id) {
	sorted := c.g.byName(taken)
	key := strings.Join(c.g.said(scenario{takes: sorted}), "\x00")
	if c.seen[key] {
		return
	}
	c.seen[key] = true
	if c.l.gone[c.of] {
		c.cuts = append(c.cuts, sorted)
		return
	}
	if len(taken) == MostInCut {
		return
	}
	for _, n := range c.support() {
		back := c.l.take(n)
		c.search(append(slices.Clone(taken), n))
		back()
	}
}

// support is a set of things that is enough for it to live now.
func (c *cutter) support() []id {
	seen := map[id]bool{}
	var out []id
	var walk func(id)
	walk = func(n id) {
		if seen[n] {
			return
		}
		seen[n] = true
		if k := c.g.kinds[n]; k == site || small(k) {
			out = append(out, n)
		}
		children := c.g.children[n]
		if c.g.kinds[n] != copies { // of the members of a store all that live are taken
			children = children[:0:0]
			for _, x := range c.g.children[n] {
				if !c.l.gone[x] && len(children) < len(c.g.children[n])-int(c.g.bears[n]) {
					children = append(children, x)
				}
			}
		}
		for _, x := range children {
			if !c.l.gone[x] {
				walk(x)
			}
		}
	}
	walk(c.of)
	return c.g.byName(out)
}

// minimal says whether no part of a cut is one.
func (c *cutter) minimal(cut []id) bool {
	for i := range cut {
		back := c.l.take(slices.Delete(slices.Clone(cut), i, i+1)...)
		down := c.l.gone[c.of]
		back()
		if down {
			return false
		}
	}
	return true
}

// namesOf lists the names of some kinds, sorted.
func (g *graph) namesOf(kinds ...kind) []string {
	var out []string
	for _, n := range slices.Sorted(maps.Keys(g.by)) {
		if slices.Contains(kinds, g.kinds[g.by[n]]) {
			out = append(out, n)
		}
	}
	return out
}

// Fallen is what one accident takes along.
type Fallen struct {
	Lost  []string            `json:"lost"`  // as named
	Falls map[string][]string `json:"falls"` // by kind: "service", "store", "pool" …, by name
	Why   map[string]string   `json:"why"`   // of each service and store that falls
	Survival
}

// find finds components by their names.
func (g *graph) find(names []string) ([]id, error) {
	var out []id
	for _, n := range names {
		at, ok := g.by[n]
		if !ok {
			return nil, fmt.Errorf("%q is no component of this estate; %s", n, estate.DidYouMean(n, slices.Sorted(maps.Keys(g.by))))
		}
		out = append(out, at)
	}
	return out, nil
}

// Blast says what falls when some components are lost.
func Blast(e estate.Estate, names ...string) (Fallen, error) {
	g := compile(e)
	out := Fallen{Falls: map[string][]string{}, Why: map[string]string{}}
	takes, err := g.find(names)
	if err != nil {
		return Fallen{}, err
	}
	l := newLoss(g)
	before := len(l.trail)
	l.take(takes...)
	for _, n := range l.trail[before:] {
		if !g.isComponent(n) || slices.Contains(takes, n) {
			continue
		}
		k := kindNames[g.kinds[n]]
		out.Falls[k] = append(out.Falls[k], g.names[n])
		if g.kinds[n] == service || g.kinds[n] == store {
			out.Why[g.names[n]] = g.sentence(l.reason(n))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(out.Falls)) {
		slices.Sort(out.Falls[k])
	}
	out.Lost, out.Survival = slices.Clone(names), l.survival()
	return out, nil
}

var kindNames = map[kind]string{
	site: "site", host: "host", domain: "domain", pool: "pool", link: "link", member: "member", store: "store",
	service: "service", channel: "channel", tower: "tower", external: "external", other: "other",
}
