package generate

import (
	"math"

	"github.com/haechi/haechi/core/estate"
)

// Faults of redundancy on paper: shared-fate.

// unlit is a site whose floors do not yet fall to one thing of a kind.
func (p *planter) unlit(what string) (estate.SiteID, bool) {
	var all []estate.SiteID
	for _, s := range p.sites {
		if !p.used[what+" "+string(s)] {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return "", false
	}
	at := pick(p.Chance, all)
	p.used[what+" "+string(at)] = true
	return at, true
}

// darkens notes what takes both floors of a site, whose feeds and loops were to stand in for each other.
func (p *planter) darkens(culprit string, at estate.SiteID) {
	p.dark[at] = append(p.dark[at], culprit)
	p.betrays(culprit, string(at)+"/floor-1", string(at)+"/floor-2")
}

// oneBattery has both UPSs of a site stand on one battery room.
func (p *planter) oneBattery() {
	at, ok := p.unlit("battery")
	if !ok {
		p.oneDuct()
		return
	}
	in := string(at) + "/"
	ups := p.e.Domains[in+"ups-b"]
	ups.Requires = names(in+"battery-a", in+"feed-b")
	p.e.Domains[in+"ups-b"] = ups
	delete(p.e.Domains, in+"battery-b")
	p.darkens(in+"battery-a", at)
}

// oneChiller has all cooling loops of a site fed by one plant.
func (p *planter) oneChiller() {
	at, ok := p.unlit("chiller")
	if !ok {
		p.oneDuct()
		return
	}
	plant := p.newDomain(at, "chiller", "cooling-plant")
	for _, n := range []string{"cooling-1", "cooling-2", "cooling-3"} {
		if d, is := p.e.Domains[string(at)+"/"+n]; is {
			d.Requires = names(plant)
			p.e.Domains[string(at)+"/"+n] = d
		}
	}
	p.darkens(plant, at)
}

// oneDuct has two lines into a site lie in one duct.
func (p *planter) oneDuct() {
	x, at := p.victim(anyService), pick(p.Chance, p.sites)
	duct := p.newDomain(at, "duct", "cable-duct")
	p.require(x, anyOf(p.newDomain(at, "line-1", "line", duct), p.newDomain(at, "line-2", "line", duct)))
	p.falls([]string{duct}, false, x, x)
	p.falls([]string{string(at)}, true, x, x)
	p.betrays(duct, x)
}

// oneOwner has lines in two sites belong to one company.
func (p *planter) oneOwner() {
	x, at := p.victim(anyService), p.some(p.sites, 2)
	owner := p.newExternal("fibre-owner")
	p.require(x, anyOf(p.newDomain(at[0], "uplink", "line", owner), p.newDomain(at[1], "uplink", "line", owner)))
	p.falls([]string{owner}, false, x, owner)
	p.betrays(owner, x)
}

// oneKey has the machines of two of a store's three members ask one service for their keys.
func (p *planter) oneKey() {
	st := p.keeper(func(estate.Service) bool { return true })
	keys := p.newExternal("key-service")
	s := p.e.Stores[st]
	ids := s.MemberIDs()
	spared := p.IntN(len(ids))
	for i, m := range ids {
		if i == spared {
			continue
		}
		at := s.Members[m].Site
		requires := []string{keys}
		if at != witness {
			requires = append(requires, string(at)+"/floor-2")
		}
		s.Members[m] = estate.Member{Site: at, Host: p.newHost(at, requires...)}
	}
	p.falls([]string{keys}, false, string(st), keys)
	p.betrays(keys, string(st))
}

// oneLandlord has a service run in two sites in cages of one landlord.
func (p *planter) oneLandlord() {
	x := p.victim(func(n string, s estate.Service) bool { return !p.besideUsed(n) && len(p.sitesOf(s)) > 1 })
	landlord := p.newExternal("cage-landlord")
	s := p.e.Services[estate.ServiceID(x)]
	servers := int(math.Ceil(s.Load))
	at := p.some(p.sitesOf(s), 2)
	s.Runs = map[string]int{}
	for _, site := range at {
		s.Runs[p.newPool("cage", site, servers, landlord)] = servers
	}
	p.e.Services[estate.ServiceID(x)] = s
	p.falls([]string{landlord}, false, x, landlord)
	p.betrays(landlord, x)
}
