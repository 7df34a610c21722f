package audit

import (
	"fmt"
	"slices"

	"github.com/haechi/haechi/core/estate"
)

// Tree is why a service or store is down, as a fault tree for other tools. Its minimal cut sets up to
// [MostInCut] are those of [Cuts]; larger ones may be missing.
type Tree struct {
	Top    string   // a gate
	Gates  []Gate   // each before those that it names
	Events []string // what fails by itself: sites, and what is smaller
}

// Gate fails when at least so many of what it names fail.
type Gate struct {
	Name    string
	AtLeast int
	Of      []string // gates and events
}

// mostBeside is how many members and links of one store are tried together.
const mostBeside = 40

// FaultTree draws the tree of a service or store. It fails where something stands on itself, since a tree
// has no rings.
func FaultTree(e estate.Estate, name string) (Tree, error) {
	g := compile(e)
	n, err := g.mayFall(name)
	if err != nil {
		return Tree{}, err
	}
	t := forester{g: g, l: newLoss(g), state: map[id]int{}}
	top, err := t.gate(n)
	if err != nil {
		return Tree{}, err
	}
	slices.Reverse(t.out.Gates)
	slices.Sort(t.out.Events)
	t.out.Top = top
	return t.out, nil
}

type forester struct {
	g     *graph
	l     *loss
	state map[id]int // 1: under way, 2: done
	out   Tree
}

// gate draws what has a node fail, and returns its name.
func (t *forester) gate(n id) (string, error) {
	g := t.g
	name := g.names[n]
	if !g.isComponent(n) {
		name = fmt.Sprintf("%s-%d", gateNames[g.kinds[n]], n)
	}
	event := g.kinds[n] == site || small(g.kinds[n])
	if event && len(g.children[n]) == 0 {
		if t.state[n] == 0 {
			t.state[n] = 2
			t.out.Events = append(t.out.Events, name)
		}
		return name, nil
	}
	switch t.state[n] {
	case 1:
		return "", fmt.Errorf("%s stands on itself, directly or not: a ring is no tree", name)
	case 2:
		return "fall of " + name, nil
	}
	t.state[n] = 1
	gate := Gate{Name: "fall of " + name, AtLeast: int(g.bears[n]) + 1}
	var err error
	if g.kinds[n] == copies {
		gate.AtLeast = 1
		gate.Of, err = t.ways(n)
	} else {
		gate.Of, err = t.all(g.children[n])
	}
	if err != nil {
		return "", err
	}
	if event {
		t.out.Events = append(t.out.Events, name)
		gate.Of = append(gate.Of, name)
	}
	t.state[n] = 2
	t.out.Gates = append(t.out.Gates, gate)
	return gate.Name, nil
}

func (t *forester) all(of []id) ([]string, error) {
	var out []string
	for _, c := range of {
		name, err := t.gate(c)
		if err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}

// ways are the smallest sets of a store's members and links whose loss takes it down.
func (t *forester) ways(n id) ([]string, error) {
	beside := t.g.children[n]
	if len(beside) > mostBeside {
		return nil, fmt.Errorf("%s has %d members and links to look at together; at most %d can be drawn", t.g.names[t.g.owner[n]], len(beside), mostBeside)
	}
	st := &t.g.stores[t.g.storeAt[n]]
	var found [][]id
	for size := 1; size <= MostInCut; size++ {
		sets(beside, size, func(taken []id) {
			if !slices.ContainsFunc(found, func(f []id) bool { return within(f, taken) }) && t.down(st, taken) {
				found = append(found, slices.Clone(taken))
			}
		})
	}
	var out []string
	for i, f := range found {
		of, err := t.all(f)
		if err != nil {
			return nil, err
		}
		w := Gate{Name: fmt.Sprintf("way-%d-%d", n, i), AtLeast: len(of), Of: of}
		t.out.Gates = append(t.out.Gates, w)
		out = append(out, w.Name)
	}
	return out, nil
}

// down says whether a store is down without some of its members and links, and nothing else.
func (t *forester) down(st *storeNode, without []id) bool {
	for _, n := range without {
		t.l.gone[n] = true
	}
	t.l.stale = true
	state := t.l.judge(st)
	for _, n := range without {
		t.l.gone[n] = false
	}
	t.l.stale = true
	return state == storeDown
}

var gateNames = map[kind]string{
	gate: "any", both: "both", ground: "pools", instance: "instance", instances: "instances", nearby: "nearby", copies: "copies", people: "people",
}

// sets calls f with each set of so many of some nodes; f must not keep it.
func sets(of []id, size int, f func([]id)) {
	var grow func(from int, taken []id)
	grow = func(from int, taken []id) {
		if len(taken) == size {
			f(taken)
			return
		}
		for i := from; i < len(of); i++ {
			grow(i+1, append(taken, of[i]))
		}
	}
	grow(0, make([]id, 0, size))
}

// within says whether all of some nodes are among others.
func within(some, others []id) bool {
	return !slices.ContainsFunc(some, func(n id) bool { return !slices.Contains(others, n) })
}
