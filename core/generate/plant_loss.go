package generate

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// Faults that take a service down with one site or one thing: site-loss and spof.

// inOneSite has a service run in one site, on two floors. What it needs beside it would tie it to one of them.
func (p *planter) inOneSite() {
	x := p.victim(func(n string, s estate.Service) bool { return !p.besideUsed(n) && !besideIt(s) })
	s := p.e.Services[estate.ServiceID(x)]
	at := string(pick(p.Chance, p.sitesOf(s)))
	half := int(math.Ceil(s.Load / 2))
	s.Runs = map[string]int{}
	p.runOn(&s, at+"/web", half)
	p.runOn(&s, at+"/api", half)
	p.e.Services[estate.ServiceID(x)] = s
}

func besideIt(s estate.Service) bool {
	return slices.ContainsFunc(s.Requires, func(n estate.Need) bool { return strings.HasSuffix(n.Name, estate.SameSite) })
}

// leansOnOneSite has a service require a small one that runs in one site.
func (p *planter) leansOnOneSite() {
	x := p.victim(anyService)
	helper := p.newService("settings", p.tier(x), pick(p.Chance, p.sites))
	p.require(x, name(helper))
}

// landslide is an accident that takes a site and what was to stand in for it.
func (p *planter) landslide() {
	x, at := p.victim(anyService), pick(p.Chance, p.sites)
	there, elsewhere := p.newDomain(at, "console", "office"), p.newExternal("leased-office")
	p.require(x, anyOf(there, elsewhere))
	p.scenario("landslide", string(at), elsewhere)
	p.falls([]string{string(at), elsewhere}, true, x, x)
}

func (p *planter) licence() {
	x, e := p.victim(anyService), p.newExternal("licences")
	p.require(x, name(e))
	p.falls([]string{e}, false, e, e)
}

// strongRoom is one thing in one site that a service cannot do without.
func (p *planter) strongRoom() {
	x, at := p.victim(anyService), pick(p.Chance, p.sites)
	d := p.newDomain(at, "strong-room", "rack-row")
	p.require(x, name(d))
	p.falls([]string{d}, false, d, d)
	p.falls([]string{string(at)}, true, d, d)
}

// bothTogether is an accident that takes both of two alternatives.
func (p *planter) bothTogether() {
	x := p.victim(anyService)
	one, other := p.newExternal("clock-gps"), p.newExternal("clock-glonass")
	p.require(x, anyOf(one, other))
	p.scenario("jamming", one, other)
	p.falls([]string{one, other}, false, x, x)
}

// ownLine is a line between two sites that a service cannot do without.
func (p *planter) ownLine() {
	x, ends := p.victim(anyService), p.some(p.sites, 2)
	l := p.fresh("dark-fibre")
	p.e.Links[l] = estate.Link{Between: [2]estate.SiteID{ends[0], ends[1]}, Latency: 20 * time.Millisecond}
	p.require(x, name(l))
	p.falls([]string{l}, false, l, l)
	p.falls([]string{string(ends[0])}, true, l, l)
	p.falls([]string{string(ends[1])}, true, l, l)
}

// oneMember is a store without a second copy.
func (p *planter) oneMember() {
	x, at := p.victim(anyService), pick(p.Chance, p.sites)
	st := p.fresh("legacy-files")
	p.e.Stores[estate.StoreID(st)] = estate.Store{
		Engine: "nfs", Tier: p.tier(x), Members: map[estate.MemberID]estate.Member{"a": {Site: at}}, Primary: "a", Alone: "refuse", Reads: "any",
		Backup: []estate.Backup{{At: "vault", Offline: true, Every: day}},
	}
	p.require(x, name(st))
	p.falls([]string{st + "/a"}, false, st, st)
	p.falls([]string{string(at)}, true, st, st)
	p.loses(estate.StoreID(st))
}

// loses notes each service that may lose more of a store than it says it may, with the site of the primary.
func (p *planter) loses(st estate.StoreID) {
	s := p.e.Stores[st]
	for _, id := range p.seated {
		v := p.e.Services[id]
		if v.RPO == nil || !mentions(v.Requires, string(st)) || s.Lag > 0 && s.Lag <= *v.RPO {
			continue
		}
		p.raise(raised{rule: "rpo", component: string(id), cause: string(st), takes: []string{string(s.Members[s.Primary].Site)}})
	}
}

// lazy has a store acknowledge before another member holds the write, further behind than one of its users
// allows.
func (p *planter) lazy() {
	st := p.keeper(hasRPO)
	s := p.e.Stores[st]
	s.Any = 0
	for _, id := range p.seated {
		if v := p.e.Services[id]; v.RPO != nil && v.Tier <= 2 && mentions(v.Requires, string(st)) {
			s.Lag = max(s.Lag, *v.RPO+30*time.Second)
		}
	}
	p.e.Stores[st] = s
	p.loses(st)
}

// lazyUnknown is the same where nobody knows how far behind the members are.
func (p *planter) lazyUnknown() {
	st := p.keeper(hasRPO)
	s := p.e.Stores[st]
	s.Any = 0
	p.e.Stores[st] = s
	p.loses(st)
}

// aloneAllowed lets a primary go on without the others.
func (p *planter) aloneAllowed() {
	st := p.keeper(hasRPO)
	s := p.e.Stores[st]
	s.Alone = "allow"
	p.e.Stores[st] = s
	p.loses(st)
}

func hasRPO(s estate.Service) bool { return s.RPO != nil }

// towersTogether puts all towers but one into one site.
func (p *planter) towersTogether() {
	if p.used["towers"] {
		p.huddle()
		return
	}
	p.used["towers"] = true
	at := p.e.Towers["tower-1"].Site
	if len(p.e.Towers) == 3 && p.IntN(2) == 0 {
		p.e.Towers["tower-4"] = estate.Tower{}
	}
	for _, t := range sortedNames(p.e.Towers) {
		if t != "tower-2" {
			p.e.Towers[estate.TowerID(t)] = estate.Tower{Site: at}
		}
	}
	p.found("quorum", string(at))
}

// huddle puts a store's primary and the only other member that may hold a write into one site, each on a
// floor of its own.
func (p *planter) huddle() { p.huddled = append(p.huddled, p.together("floor-1")) }

// huddleOnFloor puts both on one floor.
func (p *planter) huddleOnFloor() {
	l := p.together("floor-2")
	p.huddled = append(p.huddled, l)
	floor := string(l.at) + "/floor-2"
	p.falls([]string{floor}, false, l.what, l.what)
	p.betrays(floor, l.what)
}

func (p *planter) together(floor string) lone {
	st := p.keeper(func(estate.Service) bool { return true })
	s := p.e.Stores[st]
	at := s.Members[s.Primary].Site
	other := s.MemberIDs()[1]
	if other == s.Primary {
		other = s.MemberIDs()[0]
	}
	s.Members[s.Primary] = estate.Member{Site: at, Host: p.newHost(at, string(at)+"/floor-2")}
	s.Members[other] = estate.Member{Site: at, Host: p.newHost(at, string(at)+"/"+floor)}
	p.found("quorum", string(st))
	p.loses(st)
	return lone{string(st), at}
}

func (p *planter) newHost(at estate.SiteID, requires ...string) estate.HostID {
	h := estate.HostID(p.fresh(string(at) + "/old-db"))
	p.e.Hosts[h] = estate.Host{Site: at, Requires: names(requires...)}
	return h
}

// impatient is a service that promises to be back sooner than haechi is even sure of a loss.
func (p *planter) impatient() {
	st := p.newStore(anyone)
	for _, id := range p.seated {
		if v := p.e.Services[id]; mentions(v.Requires, string(st)) {
			rto := time.Second
			v.RTO = &rto
			p.e.Services[id] = v
			p.raise(raised{rule: "rto", component: string(id), cause: string(st), takes: []string{string(st) + "/" + string(p.e.Stores[st].Primary)}})
		}
	}
}

func anyone(estate.Service) bool { return true }
