package generate

import (
	"math"

	"github.com/haechi/haechi/core/estate"
)

// Faults of too little: capacity, power, link-capacity.

// grown is a service whose load has grown past what its pools have left after the loss of one site.
func (p *planter) grown() {
	x := p.victim(func(_ string, s estate.Service) bool { return s.Tier == 2 })
	s := p.e.Services[estate.ServiceID(x)]
	free := p.free()
	total, worst := 0, 0
	at := map[estate.SiteID]int{}
	for pool, n := range s.Runs {
		total += n + free[pool]
		site := p.e.Pools[pool].Site
		at[site] += n + free[pool]
		worst = max(worst, at[site])
	}
	s.Tier, s.Load, s.AtLeast = 2, float64(total)-math.Floor(float64(worst)/2), 0
	p.e.Services[estate.ServiceID(x)] = s
	p.found("capacity", x)
}

// free is what each pool has that is given to nobody.
func (p *planter) free() map[string]int {
	out := map[string]int{}
	for n, pool := range p.e.Pools {
		out[n] = pool.Servers
	}
	for _, s := range p.e.Services {
		for pool, n := range s.Runs {
			out[pool] -= n
		}
	}
	return out
}

const inCluster = 20 // servers in each site of a cluster that a fault makes

// noSpare is a service that needs more of its own cluster than is left after the loss of one site.
func (p *planter) noSpare() {
	sites := p.some(p.sites, min(3, len(p.sites)))
	x := p.newService("ml-serving", p.IntN(3))
	s := p.e.Services[estate.ServiceID(x)]
	for _, at := range sites {
		s.Runs[p.newPool("gpu", at, inCluster)] = inCluster
	}
	s.Load = float64(inCluster*(len(sites)-1) + 5)
	p.e.Services[estate.ServiceID(x)] = s
	p.found("capacity", x)
}

// givenUp is a service whose servers a better one takes when a site is lost, so that it is short itself.
func (p *planter) givenUp() {
	sites := p.some(p.sites, min(3, len(p.sites)))
	x, victim := p.newService("ml-serving", p.IntN(2)), p.newService("ml-training", 2)
	s, v := p.e.Services[estate.ServiceID(x)], p.e.Services[estate.ServiceID(victim)]
	const mine = 12
	for _, at := range sites {
		pool := p.newPool("gpu", at, inCluster)
		s.Runs[pool], v.Runs[pool] = mine, inCluster-mine
	}
	left := len(sites) - 1
	s.Load, v.Load = float64(mine*left+5), float64((inCluster-mine)*left-2)
	p.e.Services[estate.ServiceID(x)], p.e.Services[estate.ServiceID(victim)] = s, v
	p.e.Policy.Shed = []int{2}
	p.found("capacity", victim)
}

// weak gives one of the things in all sites a limit that is a share of what may fall on it.
func (p *planter) weak(share float64, kinds ...string) {
	var all []string
	for _, s := range p.sites {
		for _, k := range kinds {
			if n := string(s) + "/" + k; !p.used[n] {
				all = append(all, n)
			}
		}
	}
	if len(all) == 0 {
		p.lacks("power: all feeds are too weak already")
		return
	}
	n := pick(p.Chance, all)
	p.used[n] = true
	p.limits[n] = share
	p.found("power", n)
}

// weakTwin carries its half, but not all when its twin is lost.
func (p *planter) weakTwin() { p.weak(0.55+0.35*p.Float64(), "ups-a", "ups-b", "feed-a", "feed-b") }

// weakFeed does not carry what falls on it today.
func (p *planter) weakFeed() { p.weak(0.3+0.15*p.Float64(), "feed-a", "feed-b") }

// weakRoom is a battery room that has a limit, too.
func (p *planter) weakRoom() { p.weak(0.3+0.6*p.Float64(), "battery-a") }

// mirrored is what a mirror sends to each of its members, in Gbit/s.
const mirrored = 20

// mirror makes a store that replicates much, its primary first.
func (p *planter) mirror(sites ...estate.SiteID) {
	s := estate.Store{
		Engine: "ceph", Tier: 2, Members: map[estate.MemberID]estate.Member{}, Primary: "a", Any: 1, Alone: "refuse", Reads: "any", Gbps: mirrored,
		Backup: []estate.Backup{{At: "vault", Offline: true, Every: day}},
	}
	for i, at := range sites {
		s.Members[memberNames[i]] = estate.Member{Site: at}
	}
	p.e.Stores[estate.StoreID(p.fresh("video-mirror"))] = s
}

// narrowed draws a link that no fault holds, its ends and a site besides, and gives it a capacity.
func (p *planter) narrowed(share float64, fits func(estate.Link) bool) (a, b, c estate.SiteID, ok bool) {
	n, ok := p.link(fits)
	if !ok {
		p.lacks("link-capacity: no link is left that no other fault holds")
		return "", "", "", false
	}
	p.narrow[n] = share * mirrored
	p.found("link-capacity", n)
	ends := p.e.Links[n].Between
	for _, s := range p.some(p.seats, len(p.seats)) {
		if s != ends[0] && s != ends[1] {
			c = s
		}
	}
	return ends[0], ends[1], c, true
}

func anyLink(estate.Link) bool { return true }

// thinToday does not carry what crosses it with nothing lost.
func (p *planter) thinToday() {
	if a, b, c, ok := p.narrowed(0.6, anyLink); ok {
		p.mirror(a, b, c)
	}
}

// thinAfterSite has to carry what a new primary sends once the old one's site is lost.
func (p *planter) thinAfterSite() {
	if a, b, c, ok := p.narrowed(0.8, anyLink); ok {
		p.mirror(c, a, b)
	}
}

// thinAfterLink has to carry what crossed another link. In three sites there is one way round only.
func (p *planter) thinAfterLink() {
	single := func(a, b estate.SiteID) bool {
		n := 0
		for _, l := range p.e.Links {
			if l.Between == [2]estate.SiteID{a, b} || l.Between == [2]estate.SiteID{b, a} {
				n++
			}
		}
		return n == 1
	}
	if len(p.seats) != 3 || !single(p.seats[0], p.seats[2]) || !single(p.seats[1], p.seats[2]) || !single(p.seats[0], p.seats[1]) {
		p.thinToday()
		return
	}
	if a, b, c, ok := p.narrowed(1.5, anyLink); ok {
		p.mirror(a, b, c)
	}
}
