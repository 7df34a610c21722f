package audit

import (
	"maps"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// kind says what a node stands for.
type kind uint8

const (
	gate      kind = iota // alternatives within a requirement
	both                  // a service and its instance beside me
	ground                // the pools of a service in one site
	instance              // a service in one site
	instances             // those of a service together
	nearby                // the members of a store in one site
	copies                // a store's members together: up, or not, by the rules of its writes
	people                // the channels of a team, the servers of a name
	site
	host
	domain
	pool
	link
	member
	store
	service
	channel
	tower
	external
	other // observers, names, teams
)

// id is a node's place in the graph.
type id int32

const none id = -1

// graph is an estate as a circuit of thresholds: a node is lost when it is taken, or when more of
// its children are lost than it bears. All that a loss can reach is then found by counting, once
// along each edge (the unit propagation of Dowling and Gallier, 1984, for Horn formulas).
type graph struct {
	e        estate.Estate
	names    []string // of components; what they are for, of the others
	kinds    []kind
	bears    []int32
	children [][]id
	parents  [][]id
	sites    []id // the site that a node stands in; none
	owner    []id // of gates, instances and copies: the component that declares them
	by       map[string]id
	beside   map[[2]id]id // service or store and site: what name@same-site means there
	stores   []storeNode
	storeAt  map[id]int // of the node of copies
	wants    map[id][]id
	after    map[id][]id
	services []id // by tier, then by name
	specs    map[id]*estate.Service
	runs     map[id][]given // servers given to a service, by pool
	free     []given        // servers that are given to nobody, by pool
	tiers    map[id]int     // of services
	vital    int            // services of tier 0 and 1
	teams    []team         // by name
	links    map[id][]line
	ways     map[[2]id][]hop // between sites, while nothing is lost; see way
	allSites []id
}

// given is a number of servers of a pool.
type given struct {
	pool    id
	servers int
}

// compile builds the graph. The estate is one that estate.Load has checked.
func compile(e estate.Estate) *graph {
	g := &graph{e: e, by: map[string]id{}, beside: map[[2]id]id{}, storeAt: map[id]int{}, wants: map[id][]id{}, after: map[id][]id{}, tiers: map[id]int{}, specs: map[id]*estate.Service{}, runs: map[id][]given{}, ways: map[[2]id][]hop{}}
	g.declare()
	g.links = g.lines()
	for _, n := range slices.Sorted(maps.Keys(e.Domains)) {
		g.require(g.by[n], e.Domains[n].Requires)
	}
	for _, n := range slices.Sorted(maps.Keys(e.Links)) {
		l := g.by[n]
		for _, s := range e.Links[n].Between {
			g.edge(l, g.by[string(s)])
		}
		g.require(l, e.Links[n].Requires)
	}
	for _, n := range slices.Sorted(maps.Keys(e.Pools)) {
		g.require(g.by[n], e.Pools[n].Requires)
	}
	for _, n := range slices.Sorted(maps.Keys(e.Hosts)) {
		g.require(g.by[string(n)], e.Hosts[n].Requires)
	}
	for _, n := range slices.Sorted(maps.Keys(e.Channels)) {
		g.require(g.by[n], e.Channels[n].Requires)
	}
	g.joinStores()
	g.joinServices()
	g.joinPeople()
	return g
}

// declare makes a node of each component and of each instance, so that requirements find them.
func (g *graph) declare() {
	e := g.e
	for _, n := range slices.Sorted(maps.Keys(e.Sites)) {
		g.allSites = append(g.allSites, g.component(site, string(n), ""))
	}
	for _, n := range slices.Sorted(maps.Keys(e.Domains)) {
		g.component(domain, n, e.Domains[n].Site)
	}
	for _, n := range slices.Sorted(maps.Keys(e.Links)) {
		g.component(link, n, "")
	}
	for _, n := range slices.Sorted(maps.Keys(e.Pools)) {
		g.component(pool, n, e.Pools[n].Site)
	}
	for _, n := range slices.Sorted(maps.Keys(e.Hosts)) {
		g.component(host, string(n), e.Hosts[n].Site)
	}
	for _, n := range slices.Sorted(maps.Keys(e.Towers)) {
		g.component(tower, string(n), e.Towers[n].Site)
	}
	for _, n := range slices.Sorted(maps.Keys(e.External)) {
		g.component(external, n, "")
	}
	for _, n := range slices.Sorted(maps.Keys(e.Channels)) {
		g.component(channel, n, "")
	}
	for _, n := range slices.Sorted(maps.Keys(e.Observers)) {
		g.component(other, string(n), "")
	}
	for _, n := range slices.Sorted(maps.Keys(e.Names)) {
		g.component(other, string(n), "")
	}
	for _, n := range slices.Sorted(maps.Keys(e.Teams)) {
		g.component(other, n, "")
	}
	g.declareStores()
	g.declareServices()
}

func (g *graph) declareStores() {
	for _, n := range slices.Sorted(maps.Keys(g.e.Stores)) {
		s := g.component(store, string(n), "")
		byMember := map[id][]id{}
		sn := storeNode{of: s, spec: g.e.Stores[n]}
		for _, m := range g.e.Stores[n].MemberIDs() {
			at := g.component(member, string(n)+"/"+string(m), g.e.Stores[n].Members[m].Site)
			byMember[g.sites[at]] = append(byMember[g.sites[at]], at)
			if m == g.e.Stores[n].Primary {
				sn.primary = len(sn.members)
			}
			sn.members = append(sn.members, at)
		}
		for _, where := range slices.Sorted(maps.Keys(byMember)) {
			g.beside[[2]id{s, where}] = g.anyOf(nearby, s, byMember[where], 1)
		}
		sn.copies = g.node(copies, "members of "+string(n), none, s)
		g.storeAt[sn.copies] = len(g.stores)
		g.stores = append(g.stores, sn)
	}
}

// declareServices makes the instances of each service: one for each site in which it has pools.
func (g *graph) declareServices() {
	taken := map[id]int{}
	for _, n := range slices.Sorted(maps.Keys(g.e.Services)) {
		s := g.component(service, string(n), "")
		g.services = append(g.services, s)
		spec := g.e.Services[n]
		g.specs[s] = &spec
		pools := map[id][]id{}
		for _, p := range slices.Sorted(maps.Keys(spec.Runs)) {
			at := g.sites[g.by[p]]
			pools[at] = append(pools[at], g.by[p])
			g.runs[s] = append(g.runs[s], given{g.by[p], spec.Runs[p]})
			taken[g.by[p]] += spec.Runs[p]
		}
		for _, where := range slices.Sorted(maps.Keys(pools)) {
			in := g.node(instance, string(n)+" in "+g.names[where], where, s)
			g.edge(in, g.anyOf(ground, s, pools[where], 1))
			g.beside[[2]id{s, where}] = in
		}
	}
	for _, n := range slices.Sorted(maps.Keys(g.e.Pools)) {
		if left := g.e.Pools[n].Servers - taken[g.by[n]]; left > 0 {
			g.free = append(g.free, given{g.by[n], left})
		}
	}
	for _, s := range g.services {
		g.tiers[s] = g.spec(s).Tier
		if g.isVital(s) {
			g.vital++
		}
	}
	slices.SortStableFunc(g.services, func(a, b id) int { return g.tiers[a] - g.tiers[b] })
}

func (g *graph) spec(s id) *estate.Service { return g.specs[s] }

func (g *graph) joinStores() {
	for i := range g.stores {
		sn := &g.stores[i]
		for m, at := range sn.members {
			spec := sn.spec.Members[sn.spec.MemberIDs()[m]]
			if spec.Host != "" {
				g.edge(at, g.by[string(spec.Host)])
			}
			g.edge(sn.copies, at)
		}
		if len(g.e.Links) > 0 { // which members reach each other
			for _, l := range slices.Sorted(maps.Keys(g.e.Links)) {
				g.edge(sn.copies, g.by[l])
			}
		}
		g.edge(sn.of, sn.copies)
		g.require(sn.of, sn.spec.Requires)
		g.after[sn.of] = g.aside(sn.of, sn.spec.After)
	}
}

func (g *graph) joinServices() {
	for _, s := range g.services {
		spec := g.spec(s)
		var all []id
		for _, where := range g.allSites {
			if in, ok := g.beside[[2]id{s, where}]; ok {
				all = append(all, in)
			}
		}
		for _, n := range spec.Requires {
			if len(all) == 0 || !besideMe(n) {
				g.edge(s, g.need(s, none, n))
				continue
			}
			for _, in := range all {
				g.edge(in, g.need(s, g.sites[in], n))
			}
		}
		if len(all) > 0 {
			g.edge(s, g.anyOf(instances, s, all, 1))
		}
		g.wants[s] = g.aside(s, spec.Wants)
		g.after[s] = g.aside(s, spec.After)
	}
}

// isVital says whether a node is a service of tier 0 or 1.
func (g *graph) isVital(n id) bool {
	t, ok := g.tiers[n]
	return ok && t <= 1
}

// team is one with its channels.
type team struct {
	name     string
	channels []id
}

func (g *graph) joinPeople() {
	for _, n := range slices.Sorted(maps.Keys(g.e.Teams)) {
		var all []id
		for _, c := range g.e.Teams[n].Channels {
			all = append(all, g.by[c])
		}
		g.teams = append(g.teams, team{n, all})
		if len(all) > 0 {
			g.edge(g.by[n], g.anyOf(people, g.by[n], all, 1))
		}
	}
	for _, n := range slices.Sorted(maps.Keys(g.e.Names)) {
		spec := g.e.Names[n]
		if spec.Service != "" {
			g.edge(g.by[string(n)], g.by[string(spec.Service)])
		}
		var all []id
		for _, h := range spec.Servers {
			all = append(all, g.by[string(h)])
		}
		if len(all) > 0 {
			g.edge(g.by[string(n)], g.anyOf(people, g.by[string(n)], all, 1))
		}
	}
}

// component makes the node of something that has a name, and ties it to its site.
func (g *graph) component(k kind, name string, at estate.SiteID) id {
	where := none
	if at != "" {
		where = g.by[string(at)]
	}
	n := g.node(k, name, where, none)
	g.by[name] = n
	return n
}

func (g *graph) node(k kind, name string, where, owner id) id {
	n := id(len(g.names))
	g.names, g.kinds, g.bears = append(g.names, name), append(g.kinds, k), append(g.bears, 0)
	g.children, g.parents = append(g.children, nil), append(g.parents, nil)
	g.sites, g.owner = append(g.sites, where), append(g.owner, owner)
	if where != none && k != instance {
		g.edge(n, where)
	}
	if k == site {
		g.sites[n] = n
	}
	return n
}

// edge has the parent lose something when the child is lost.
func (g *graph) edge(parent, child id) {
	g.children[parent] = append(g.children[parent], child)
	g.parents[child] = append(g.parents[child], parent)
}

// anyOf is a gate that holds while at least so many of some nodes do. One node needs no gate.
func (g *graph) anyOf(k kind, owner id, of []id, atleast int) id {
	if len(of) == 1 && atleast == 1 {
		return of[0]
	}
	n := g.node(k, "", none, owner)
	for _, c := range of {
		g.edge(n, c)
	}
	g.bears[n] = int32(len(of) - atleast)
	return n
}

func (g *graph) require(n id, needs []estate.Need) {
	for _, c := range g.needs(n, g.sites[n], needs) {
		g.edge(n, c)
	}
}

// aside is what a component wants or starts after. Alternatives in it are nobody's redundancy.
func (g *graph) aside(owner id, needs []estate.Need) []id {
	from := len(g.owner)
	out := g.needs(owner, none, needs)
	for n := from; n < len(g.owner); n++ {
		g.owner[n] = none
	}
	return out
}

func (g *graph) needs(owner, where id, needs []estate.Need) []id {
	var out []id
	for _, n := range needs {
		out = append(out, g.need(owner, where, n))
	}
	return out
}

// need is the node that stands for a requirement of owner, seen from a site.
func (g *graph) need(owner, where id, n estate.Need) id {
	if n.Of != nil {
		return g.anyOf(gate, owner, g.needs(owner, where, n.Of), n.AtLeast)
	}
	name, beside := strings.CutSuffix(n.Name, estate.SameSite)
	target := g.by[name]
	if !beside || where == none {
		return target
	}
	near, ok := g.beside[[2]id{target, where}]
	if !ok {
		return g.never(owner, name, where)
	}
	if g.kinds[target] != service {
		return near
	}
	// An instance of a service that is down as a whole is of no use to the one beside it.
	pair := g.node(both, "", none, owner)
	g.edge(pair, near)
	g.edge(pair, target)
	return pair
}

// never is a node that no estate has: what is wanted beside me and does not run here.
func (g *graph) never(owner id, name string, where id) id {
	n := g.node(gate, name+" in "+g.names[where], none, owner)
	g.bears[n] = -1
	return n
}

// besideMe says whether a need means an instance in the same site anywhere.
func besideMe(n estate.Need) bool {
	return strings.HasSuffix(n.Name, estate.SameSite) || slices.ContainsFunc(n.Of, besideMe)
}
