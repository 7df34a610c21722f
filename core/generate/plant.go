package generate

import (
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// fault is a rule of the audit and the ways in which it can be broken here.
type fault struct {
	rule string
	ways []func(*planter)
}

// faults are in the order in which they are planted: what leans on all that is critical comes late.
var faults = []fault{
	{"site-loss", []func(*planter){(*planter).inOneSite, (*planter).leansOnOneSite, (*planter).landslide}},
	{"spof", []func(*planter){(*planter).licence, (*planter).strongRoom, (*planter).bothTogether, (*planter).ownLine, (*planter).oneMember}},
	{"shared-fate", []func(*planter){(*planter).oneBattery, (*planter).oneChiller, (*planter).oneDuct, (*planter).oneOwner, (*planter).oneKey, (*planter).oneLandlord}},
	{"capacity", []func(*planter){(*planter).grown, (*planter).noSpare, (*planter).givenUp}},
	{"power", []func(*planter){(*planter).weakTwin, (*planter).weakFeed, (*planter).weakRoom}},
	{"link-capacity", []func(*planter){(*planter).thinToday, (*planter).thinAfterSite, (*planter).thinAfterLink}},
	{"rpo", []func(*planter){(*planter).lazy, (*planter).lazyUnknown, (*planter).aloneAllowed}},
	{"rto", []func(*planter){(*planter).impatient}},
	{"quorum", []func(*planter){(*planter).towersTogether, (*planter).huddle, (*planter).huddleOnFloor}},
	{"bootstrap-cycle", []func(*planter){(*planter).ringOfTwo, (*planter).ringThatRuns, (*planter).ringOfStore, (*planter).ringOfAny}},
	{"tier-inversion", []func(*planter){(*planter).invert}},
	{"page-path", []func(*planter){(*planter).oneCarrier, (*planter).pagedByItself, (*planter).pagedFromThere}},
	{"backup", []func(*planter){(*planter).backedUpBeside, (*planter).backedUpAlongside, (*planter).notBackedUp, (*planter).oldBackup}},
	{"residual", []func(*planter){(*planter).twoSitesOnly}},
	{"untested", []func(*planter){(*planter).untried}},
	{"common-mode", []func(*planter){(*planter).leanedOnByAll}},
}

// planter breaks an estate and knows what it broke.
type planter struct {
	*world
	used    map[string]bool // services, stores, teams and links that a fault holds: one each
	raised  map[string]raised
	fallen  []fall
	huddled []lone                     // stores whose writes need one site
	dark    map[estate.SiteID][]string // what takes all of a site's floors at once
	lacking []string                   // faults for which the estate has no place left
}

func newPlanter(w *world) *planter {
	return &planter{world: w, used: map[string]bool{}, raised: map[string]raised{}, dark: map[estate.SiteID][]string{}}
}

// falls notes that something falls with a scenario, and why.
func (p *planter) falls(takes []string, holdsSite bool, at, cause string) {
	slices.Sort(takes)
	p.fallen = append(p.fallen, fall{takes, holdsSite, at, cause})
}

// betrays notes alternatives that fall to one thing.
func (p *planter) betrays(culprit string, declarers ...string) {
	p.raise(raised{rule: "shared-fate", component: slices.Min(declarers), cause: culprit, takes: []string{culprit}, of: declarers})
}

// found notes a finding of one thing, which is its own cause.
func (p *planter) found(rule, component string) {
	p.raise(raised{rule: rule, component: component, cause: component})
}

// victim is a service of tier 0 to 2 that no fault holds and that fits; a new one where there is none.
func (p *planter) victim(fits func(string, estate.Service) bool) string {
	var all []string
	for _, id := range p.seated {
		if s := p.e.Services[id]; s.Tier <= 2 && !p.used[string(id)] && fits(string(id), s) {
			all = append(all, string(id))
		}
	}
	if len(all) == 0 {
		return p.newService("legacy", p.IntN(3), p.some(p.sites, 2)...)
	}
	n := pick(p.Chance, all)
	p.used[n] = true
	return n
}

func anyService(string, estate.Service) bool { return true }

// newService draws one that needs nothing and brings its servers along. A fault holds it.
func (p *planter) newService(base string, tier int, sites ...estate.SiteID) string {
	n := p.fresh(base)
	s := estate.Service{Tier: tier, Load: 2, Runs: map[string]int{}, Team: pick(p.Chance, p.families).team}
	for _, at := range sites {
		p.runOn(&s, string(at)+"/"+pick(p.Chance, roles).name, 2)
	}
	p.promise(&s)
	s.RPO, s.AtLeast = nil, 0
	p.put(n, s)
	p.used[n] = true
	return n
}

// runOn gives a service so many new servers in a pool.
func (p *planter) runOn(s *estate.Service, pool string, servers int) {
	spec := p.e.Pools[pool]
	spec.Servers += servers
	p.e.Pools[pool] = spec
	s.Runs[pool] += servers
}

// newPool makes a pool of its own for a fault.
func (p *planter) newPool(base string, at estate.SiteID, servers int, requires ...string) string {
	n := p.fresh(string(at) + "/" + base)
	p.e.Pools[n] = estate.Pool{Site: at, Servers: servers, Watts: 450, Boot: 3 * minute, Requires: names(append([]string{string(at) + "/floor-1"}, requires...)...)}
	return n
}

func (p *planter) newExternal(base string) string {
	n := p.fresh(base)
	p.e.External[n] = estate.External{}
	return n
}

func (p *planter) newDomain(at estate.SiteID, base, kind string, requires ...string) string {
	n := p.fresh(string(at) + "/" + base)
	p.e.Domains[n] = estate.Domain{Site: at, Kind: kind, Requires: names(requires...)}
	return n
}

func (p *planter) require(service string, needs ...estate.Need) {
	s := p.e.Services[estate.ServiceID(service)]
	s.Requires = append(slices.Clone(s.Requires), needs...)
	p.e.Services[estate.ServiceID(service)] = s
}

func (p *planter) after(service string, needs ...estate.Need) {
	s := p.e.Services[estate.ServiceID(service)]
	s.After = append(slices.Clone(s.After), needs...)
	p.e.Services[estate.ServiceID(service)] = s
}

func (p *planter) scenario(base string, takes ...string) {
	if p.e.Scenarios == nil {
		p.e.Scenarios = map[string][]string{}
	}
	slices.Sort(takes)
	p.e.Scenarios[p.fresh(base)] = takes
}

// keeper is a store with three members that no fault holds, on which a service of tier 0 to 2 stands that
// fits, and nothing that needs the member beside it; a new one where there is none.
func (p *planter) keeper(fits func(estate.Service) bool) estate.StoreID {
	var all []estate.StoreID
	for _, id := range p.stores {
		s := p.e.Stores[id]
		if p.used[string(id)] || len(s.Members) != 3 || s.Any != 1 || p.besideUsed(string(id)) {
			continue
		}
		for _, sv := range p.seated {
			if v := p.e.Services[sv]; v.Tier <= 2 && slices.Contains(p.plain(string(sv)), string(id)) && fits(v) {
				all = append(all, id)
				break
			}
		}
	}
	if len(all) == 0 {
		return p.newStore(fits)
	}
	st := pick(p.Chance, all)
	p.used[string(st)] = true
	return st
}

func (p *planter) newStore(fits func(estate.Service) bool) estate.StoreID {
	st := p.store(p.fresh("legacy-db"), "postgres")
	s := p.e.Stores[st]
	if len(s.Members) > 3 {
		delete(s.Members, "d")
		delete(s.Members, "e")
		s.Any = 1
	}
	s.Tier = 1
	p.e.Stores[st] = s
	user := p.newService("legacy", 1, p.some(p.sites, 2)...)
	p.require(user, name(string(st)))
	if v := p.e.Services[estate.ServiceID(user)]; !fits(v) {
		rpo := 0 * minute
		v.RPO = &rpo
		p.e.Services[estate.ServiceID(user)] = v
	}
	p.used[string(st)] = true
	return st
}

// besideUsed says whether anything means the instance or member beside it.
func (p *planter) besideUsed(n string) bool {
	for _, id := range p.seated {
		for _, r := range p.e.Services[id].Requires {
			if r.Name == n+estate.SameSite {
				return true
			}
		}
	}
	return false
}

// leaf says whether nothing requires a service or starts after it.
func (p *planter) leaf(n string) bool {
	for _, id := range p.seated {
		if s := p.e.Services[id]; mentions(s.Requires, n) || mentions(s.After, n) {
			return false
		}
	}
	for _, id := range p.stores {
		if s := p.e.Stores[id]; mentions(s.Requires, n) || mentions(s.After, n) {
			return false
		}
	}
	for _, c := range p.e.Channels {
		if mentions(c.Requires, n) {
			return false
		}
	}
	return true
}

// link draws a link that fits and that no fault holds; false where there is none.
func (p *planter) link(fits func(estate.Link) bool) (string, bool) {
	var all []string
	for _, n := range sortedNames(p.e.Links) {
		if !p.used[n] && !strings.Contains(n, "dark-fibre") && fits(p.e.Links[n]) {
			all = append(all, n)
		}
	}
	if len(all) == 0 {
		return "", false
	}
	n := pick(p.Chance, all)
	p.used[n] = true
	return n, true
}
