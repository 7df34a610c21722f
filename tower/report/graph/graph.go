// Package graph draws an estate as a picture for people: its components by kind, those of a site in
// the site's box, and what they require, want and start after. It decides nothing, and equal
// estates give equal bytes.
package graph

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// Options say what is drawn, and how.
type Options struct {
	Of    string                        // the component to centre on: drawn is what it needs and what needs it; empty: everything
	Depth int                           // with Of: how many steps are followed each way; 0: all
	Link  func(component string) string // where a click on a component leads; nil: nowhere
}

// SVG draws the estate. The error is a component in Options that the estate does not have.
func SVG(e estate.Estate, o Options) ([]byte, error) {
	g := read(e)
	if o.Of != "" {
		if _, ok := g.by[o.Of]; !ok {
			return nil, fmt.Errorf("%q is no component of %s; %s", o.Of, e.Name, estate.DidYouMean(o.Of, slices.Collect(maps.Keys(g.by))))
		}
		g.keep(g.near(o.Of, o.Depth))
	}
	p := place(g)
	return p.svg(o), nil
}

// style is how strongly one component leans on another; the strongest comes first.
type style int

const (
	requires style = iota
	oneOf          // one of several: any, atleast, the pools of a service, the members of a store
	wants
	after
)

type node struct {
	name, label string
	kind        string // the section of the estate file, in the singular
	says        string // what else there is to say about it
	site        string // the box that it is in; empty: none
	row         int
	x, width    float64 // of its middle
	above       []*node // those it is joined with in the row above and below, bends of edges included
	below       []*node
}

type edge struct {
	from, to *node
	style    style
	bends    []*node // from the upper end to the lower
}

type graph struct {
	title  string
	sites  []*node
	nodes  []*node // without sites
	edges  []*edge
	by     map[string]*node
	joined map[[2]string]*edge
}

// read makes nodes and edges of the estate, in the order of sections and names.
func read(e estate.Estate) *graph {
	g := &graph{title: e.Name, by: map[string]*node{}, joined: map[[2]string]*edge{}}
	for _, n := range sorted(e.Sites) {
		s := e.Sites[estate.SiteID(n)]
		at := &node{name: n, label: n, kind: "site", says: s.Title, site: n}
		if s.Witness {
			at.says = strings.TrimPrefix(at.says+", witness", ", ")
		}
		g.by[n], g.sites = at, append(g.sites, at)
	}
	g.things(e)
	g.stores(e)
	g.services(e)
	g.people(e)
	return g
}

// things are what stands in sites, and between them.
func (g *graph) things(e estate.Estate) {
	for _, n := range sorted(e.Links) {
		l := e.Links[n]
		g.add("link", n, "", fmt.Sprintf("%s – %s", l.Between[0], l.Between[1]))
	}
	for _, n := range sorted(e.External) {
		g.add("external", n, "", "")
	}
	for _, n := range sorted(e.Domains) {
		g.add("domain", n, e.Domains[n].Site, strings.TrimSpace(e.Domains[n].Kind+" "+e.Domains[n].Limit))
	}
	for _, n := range sorted(e.Pools) {
		g.add("pool", n, e.Pools[n].Site, fmt.Sprintf("%d servers", e.Pools[n].Servers))
	}
	for _, n := range sorted(e.Hosts) {
		g.add("host", n, e.Hosts[estate.HostID(n)].Site, "")
	}
	for _, n := range sorted(e.Towers) {
		g.add("tower", n, e.Towers[estate.TowerID(n)].Site, "")
	}
	for _, n := range sorted(e.Observers) {
		g.add("observer", n, "", "")
	}
}

func (g *graph) stores(e estate.Estate) {
	for _, n := range sorted(e.Stores) {
		s := e.Stores[estate.StoreID(n)]
		g.add("store", n, "", fmt.Sprintf("%s, tier %d", s.Engine, s.Tier))
		for _, m := range s.MemberIDs() {
			says := "member of " + n
			if m == s.Primary {
				says = "first primary of " + n
			}
			g.add("member", n+"/"+string(m), s.Members[m].Site, says)
		}
	}
}

func (g *graph) services(e estate.Estate) {
	for _, n := range sorted(e.Services) {
		g.add("service", n, "", fmt.Sprintf("tier %d", e.Services[estate.ServiceID(n)].Tier))
	}
	for _, n := range sorted(e.Names) {
		g.add("name", n, "", "")
	}
}

// people are channels and teams; once they stand, everything does and can be joined.
func (g *graph) people(e estate.Estate) {
	for _, n := range sorted(e.Channels) {
		g.add("channel", n, "", e.Channels[n].Kind)
	}
	for _, n := range sorted(e.Teams) {
		g.add("team", n, "", "")
	}
	for _, n := range sorted(e.Domains) {
		g.needs(n, e.Domains[n].Requires, requires)
	}
	for _, n := range sorted(e.Links) {
		g.needs(n, e.Links[n].Requires, requires)
	}
	for _, n := range sorted(e.Pools) {
		g.needs(n, e.Pools[n].Requires, requires)
	}
	for _, n := range sorted(e.Hosts) {
		g.needs(n, e.Hosts[estate.HostID(n)].Requires, requires)
	}
	for _, n := range sorted(e.Channels) {
		g.needs(n, e.Channels[n].Requires, requires)
	}
	for _, n := range sorted(e.Teams) {
		for _, c := range e.Teams[n].Channels {
			g.join(n, c, oneOf)
		}
	}
	for _, n := range sorted(e.Stores) {
		s := e.Stores[estate.StoreID(n)]
		g.needs(n, s.Requires, requires)
		g.needs(n, s.After, after)
		for _, m := range s.MemberIDs() {
			g.join(n, n+"/"+string(m), oneOf)
			g.join(n+"/"+string(m), string(s.Members[m].Host), requires)
		}
	}
	for _, n := range sorted(e.Services) {
		s := e.Services[estate.ServiceID(n)]
		g.needs(n, s.Requires, requires)
		for _, p := range sorted(s.Runs) {
			g.join(n, p, oneOf)
		}
		g.needs(n, s.Wants, wants)
		g.needs(n, s.After, after)
	}
	for _, n := range sorted(e.Names) {
		g.join(n, string(e.Names[estate.NameID(n)].Service), requires)
		for _, h := range e.Names[estate.NameID(n)].Servers {
			g.join(n, string(h), oneOf)
		}
	}
}

func (g *graph) add(kind, name string, site estate.SiteID, says string) {
	n := &node{name: name, label: name, kind: kind, site: string(site), says: says}
	if site != "" {
		n.label = strings.TrimPrefix(name, string(site)+"/") // the box says it
	}
	g.by[name], g.nodes = n, append(g.nodes, n)
}

func (g *graph) needs(from string, ns []estate.Need, how style) {
	for _, n := range ns {
		inner := how
		if n.Of != nil {
			if n.AtLeast < len(n.Of) && how == requires {
				inner = oneOf
			}
			g.needs(from, n.Of, inner)
			continue
		}
		g.join(from, strings.TrimSuffix(n.Name, estate.SameSite), how)
	}
}

// join draws one line between two components, the strongest of those that there are.
func (g *graph) join(from, to string, how style) {
	a, b := g.by[from], g.by[to]
	if a == nil || b == nil || a == b {
		return
	}
	if known, ok := g.joined[[2]string{from, to}]; ok {
		known.style = min(known.style, how)
		return
	}
	x := &edge{from: a, to: b, style: how}
	g.joined[[2]string{from, to}] = x
	g.edges = append(g.edges, x)
}

// near lists what a component needs and what needs it, each followed so many steps (0: all).
func (g *graph) near(of string, depth int) map[*node]bool {
	down, up := map[*node][]*node{}, map[*node][]*node{}
	lean := func(a, b *node) { down[a], up[b] = append(down[a], b), append(up[b], a) }
	for _, x := range g.edges {
		lean(x.from, x.to)
	}
	for _, n := range g.nodes {
		if n.site != "" {
			lean(n, g.by[n.site])
		}
	}
	kept := map[*node]bool{g.by[of]: true}
	for _, next := range []map[*node][]*node{down, up} {
		seen, edge := map[*node]bool{g.by[of]: true}, []*node{g.by[of]}
		for step := 0; len(edge) > 0 && (depth == 0 || step < depth); step++ {
			var further []*node
			for _, n := range edge {
				for _, m := range next[n] {
					if !seen[m] {
						seen[m], kept[m] = true, true
						further = append(further, m)
					}
				}
			}
			edge = further
		}
	}
	return kept
}

// keep leaves only some nodes, and the sites that they stand in.
func (g *graph) keep(some map[*node]bool) {
	for n := range some {
		if n.site != "" {
			some[g.by[n.site]] = true
		}
	}
	gone := func(n *node) bool { return !some[n] }
	g.nodes = slices.DeleteFunc(g.nodes, gone)
	g.sites = slices.DeleteFunc(g.sites, gone)
	g.edges = slices.DeleteFunc(g.edges, func(x *edge) bool { return gone(x.from) || gone(x.to) })
}

func sorted[K ~string, V any](m map[K]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, string(k))
	}
	slices.Sort(out)
	return out
}
