package generate

import (
	"maps"
	"slices"

	"github.com/haechi/haechi/core/estate"
)

// The other faults: bootstrap-cycle, tier-inversion, page-path, backup, residual, untested, common-mode.

func (p *planter) leafVictim() string {
	return p.victim(func(n string, _ estate.Service) bool { return p.leaf(n) })
}

// ring notes services and stores that wait for each other.
func (p *planter) ring(of ...string) {
	first := slices.Min(of)
	p.raise(raised{rule: "bootstrap-cycle", component: first, cause: first, of: of})
}

func (p *planter) ringOfTwo() {
	x, y := p.leafVictim(), p.leafVictim()
	p.after(x, name(y))
	p.after(y, name(x))
	p.ring(x, y)
}

// ringThatRuns goes on as long as nothing takes it down, but does not start again.
func (p *planter) ringThatRuns() {
	x, y := p.leafVictim(), p.leafVictim()
	if p.tier(x) < p.tier(y) {
		x, y = y, x
	}
	p.require(x, name(y))
	p.after(y, name(x))
	p.ring(x, y)
}

func (p *planter) ringOfStore() {
	st := p.keeper(func(estate.Service) bool { return true })
	x := p.newService("unlock", p.IntN(3), p.some(p.sites, 2)...)
	p.require(x, name(string(st)))
	s := p.e.Stores[st]
	s.After = append(s.After, name(x))
	p.e.Stores[st] = s
	p.ring(x, string(st))
}

// ringOfAny has an alternative that does not help.
func (p *planter) ringOfAny() {
	x, y, z := p.leafVictim(), p.leafVictim(), p.leafVictim()
	p.after(x, anyOf(y, z))
	p.after(y, name(x))
	p.after(z, name(x))
	p.ring(x, y, z)
}

// invert has a service require one that is saved later.
func (p *planter) invert() {
	x := p.victim(anyService)
	waits := map[string][]string{}
	for _, n := range p.thinking() {
		s := p.e.Services[estate.ServiceID(n)]
		waits[n] = append(flat(s.Requires), flat(s.After)...)
	}
	var all []string
	for _, id := range p.seated {
		n := string(id)
		if p.tier(n) > p.tier(x) && !p.used[n] && !slices.Contains(reach([]string{n}, waits), x) {
			all = append(all, n)
		}
	}
	if len(all) == 0 {
		all = append(all, p.newService("themes", 3, p.some(p.sites, 2)...))
	}
	y := pick(p.Chance, all)
	p.used[y] = true
	p.require(x, name(y))
	p.raise(raised{rule: "tier-inversion", component: x, cause: y})
}

// audience is a team that no fault holds.
func (p *planter) audience() string {
	var all []string
	for _, t := range sortedNames(p.e.Teams) {
		if !p.used[t] {
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		all = append(all, p.team(p.fresh("legacy-oncall")))
	}
	t := pick(p.Chance, all)
	p.used[t] = true
	return t
}

func (p *planter) newChannel(base, kind, requires string) string {
	n := p.fresh(base)
	p.e.Channels[n] = estate.Channel{Kind: kind, Requires: names(requires)}
	return n
}

// oneCarrier has both channels of a team need one carrier.
func (p *planter) oneCarrier() {
	t, carrier := p.audience(), p.newExternal("carrier-l")
	p.e.Teams[t] = estate.Team{Channels: []string{p.newChannel("old-sms", "sms", carrier), p.newChannel("old-phone", "call", carrier)}}
	p.raise(raised{rule: "page-path", component: t, cause: carrier, takes: []string{carrier}})
}

// chat is a team's own service, which is also the only way to reach the team.
func (p *planter) chat(sites ...estate.SiteID) (team, service string) {
	t, x := p.audience(), p.newService("chat", 2, sites...)
	s := p.e.Services[estate.ServiceID(x)]
	s.Team = t
	p.e.Services[estate.ServiceID(x)] = s
	p.e.Teams[t] = estate.Team{Channels: []string{p.newChannel("chat-room", "chat", x)}}
	return t, x
}

// pagedByItself cannot be told that the chat is down.
func (p *planter) pagedByItself() {
	t, x := p.chat(p.some(p.sites, 2)...)
	p.raise(raised{rule: "page-path", component: t, cause: x, takes: []string{x}})
}

// pagedFromThere cannot be told that the site of the chat is lost.
func (p *planter) pagedFromThere() {
	at := pick(p.Chance, p.sites)
	t, x := p.chat(at)
	p.raise(raised{rule: "page-path", component: t, cause: x, takes: []string{min(string(at), x)}})
}

// backedUp changes the backups of a store.
func (p *planter) backedUp(to func(estate.Store) []estate.Backup) {
	var all []estate.StoreID
	for _, id := range p.stores {
		if !p.used["backup "+string(id)] {
			all = append(all, id)
		}
	}
	if len(all) == 0 {
		p.lacks("backup: no store is left that has one")
		return
	}
	id := pick(p.Chance, all)
	p.used["backup "+string(id)] = true
	s := p.e.Stores[id]
	s.Backup = to(s)
	p.e.Stores[id] = s
	p.found("backup", string(id))
}

// backedUpBeside keeps the copy where a member stands.
func (p *planter) backedUpBeside() {
	p.backedUp(func(s estate.Store) []estate.Backup {
		return []estate.Backup{{At: string(s.Members[s.Primary].Site), Every: 6 * hour}}
	})
}

// backedUpAlongside keeps the copy in another store, with a member beside one of its own.
func (p *planter) backedUpAlongside() {
	p.backedUp(func(s estate.Store) []estate.Backup {
		at := p.fresh("copies")
		p.e.Stores[estate.StoreID(at)] = estate.Store{
			Engine: "ceph", Tier: 3, Members: map[estate.MemberID]estate.Member{"a": {Site: s.Members[s.Primary].Site}}, Primary: "a", Alone: "refuse", Reads: "any",
			Backup: []estate.Backup{{At: "vault", Offline: true, Every: day}},
		}
		return []estate.Backup{{At: at, Every: 6 * hour}}
	})
}

func (p *planter) notBackedUp() {
	p.backedUp(func(estate.Store) []estate.Backup { return nil })
}

func (p *planter) oldBackup() {
	p.backedUp(func(estate.Store) []estate.Backup {
		return []estate.Backup{{At: "vault", Offline: true, Every: 7 * day}}
	})
}

// twoSitesOnly is a service that survives one site, not two.
func (p *planter) twoSitesOnly() {
	at := p.some(p.sites, 2)
	slices.Sort(at)
	x := p.newService("regional", 2, at...)
	p.raise(raised{rule: "residual", component: x, cause: string(at[0]) + " + " + string(at[1])})
}

// untried wants drills that nobody did.
func (p *planter) untried() { p.e.Policy.DrillEvery = 90 * day }

// followDrills notes what no drill proved.
func (p *planter) followDrills() {
	if p.e.Policy.DrillEvery == 0 {
		return
	}
	for _, s := range sortedNames(p.e.Sites) {
		p.found("untested", s)
	}
	for _, s := range sortedNames(p.e.Services) {
		p.found("untested", s)
	}
}

// leanedOnByAll is a service that nearly all of tier 0 and 1 require.
func (p *planter) leanedOnByAll() {
	x := p.newService("trust-store", 0, p.some(p.sites, min(4, len(p.sites)))...)
	for i, id := range p.seated {
		if n := string(id); n != x && p.tier(n) <= 1 && i%7 != 6 {
			p.require(n, name(x))
		}
	}
	p.found("common-mode", x)
}

// lacks notes that an estate is too small for so many faults.
func (p *planter) lacks(what string) { p.lacking = append(p.lacking, what) }

func sortedNames[K ~string, V any](all map[K]V) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, string(k))
	}
	return out
}
