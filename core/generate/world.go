package generate

import (
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
)

const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// world is an estate under the pencil, with what the pencil has to remember.
type world struct {
	Chance
	e        estate.Estate
	order    Order
	sites    []estate.SiteID    // with load
	seats    []estate.SiteID    // those and the witness
	room     map[string]int     // servers of each pool that nobody was promised yet
	seated   []estate.ServiceID // in the order in which they were drawn: what one requires comes before it
	weight   map[estate.ServiceID]float64
	stores   []estate.StoreID
	bearing  map[estate.HostID]int // members on each host
	limits   map[string]float64    // domains: limit as a share of all that may fall on them
	narrow   map[string]float64    // links: capacity that a fault has set
	families []family
}

// family is one product: a front, what works behind it, its stores and its team.
type family struct {
	name   string
	team   string
	stores []estate.StoreID
}

func newWorld(o Order, luck Chance) *world {
	return &world{
		Chance: luck, order: o,
		e: estate.Estate{
			Name: "generated", Sites: map[estate.SiteID]estate.Site{}, Observers: map[estate.ObserverID]estate.Observer{"isp-a": {}, "isp-b": {}},
			Domains: map[string]estate.Domain{}, Links: map[string]estate.Link{}, Pools: map[string]estate.Pool{}, Hosts: map[estate.HostID]estate.Host{},
			Stores: map[estate.StoreID]estate.Store{}, Services: map[estate.ServiceID]estate.Service{}, Names: map[estate.NameID]estate.Name{},
			Channels: map[string]estate.Channel{}, Teams: map[string]estate.Team{}, External: map[string]estate.External{}, Towers: map[estate.TowerID]estate.Tower{},
			Policy: estate.Policy{Profile: "default", SiteLoss: estate.Auto, AcceptDataLoss: estate.TwoPeople, BackupEvery: day},
		},
		room: map[string]int{}, weight: map[estate.ServiceID]float64{}, bearing: map[estate.HostID]int{}, limits: map[string]float64{}, narrow: map[string]float64{},
	}
}

// role is a kind of server.
type role struct {
	name  string
	share float64 // of a site's servers
	watts float64
	boot  time.Duration
	floor string
}

var roles = []role{
	{"web", 0.30, 420, 150 * time.Second, "floor-1"},
	{"api", 0.25, 400, 150 * time.Second, "floor-2"},
	{"data", 0.17, 520, 4 * minute, "floor-2"},
	{"batch", 0.15, 380, 3 * minute, "floor-1"},
	{"cache", 0.08, 360, 2 * minute, "floor-2"},
	{"edge", 0.05, 350, 90 * time.Second, "floor-1"},
}

// places draws sites, what feeds and cools them, the lines between them, and pools.
func (w *world) places() {
	w.sites = slices.Clone(siteNames[:w.order.Sites])
	w.seats = slices.Clone(w.sites)
	for _, s := range w.sites {
		w.e.Sites[s] = estate.Site{Title: titles[s]}
	}
	if len(w.sites) == 2 {
		w.e.Sites[witness] = estate.Site{Title: titles[witness], Witness: true}
		w.seats = append(w.seats, witness)
	}
	weights := make([]float64, len(w.sites))
	for i := range weights {
		weights[i] = 0.7 + 0.6*w.Float64()
	}
	for i, servers := range split(w.order.Servers, serversPerSite, weights) {
		w.site(w.sites[i], servers)
	}
	w.lines()
}

func (w *world) site(at estate.SiteID, servers int) {
	in := func(name string) string { return string(at) + "/" + name }
	put := func(name, kind string, requires ...estate.Need) {
		w.e.Domains[in(name)] = estate.Domain{Site: at, Kind: kind, Requires: requires}
	}
	for _, x := range []string{"a", "b"} {
		put("feed-"+x, "power-feed")
		put("battery-"+x, "battery-room")
		put("ups-"+x, "ups", name(in("battery-"+x)), name(in("feed-"+x)))
		put("core-"+x, "network-core")
		w.limits[in("feed-"+x)], w.limits[in("ups-"+x)] = 1.2, 1.15
	}
	cooling := anyOf(in("cooling-1"), in("cooling-2"))
	put("cooling-1", "cooling-loop")
	put("cooling-2", "cooling-loop")
	if servers > 5000 {
		put("cooling-3", "cooling-loop")
		cooling = estate.Need{AtLeast: 2, Of: []estate.Need{name(in("cooling-1")), name(in("cooling-2")), name(in("cooling-3"))}}
	}
	for _, f := range []string{"floor-1", "floor-2"} {
		put(f, "floor", anyOf(in("ups-a"), in("ups-b")), cooling, anyOf(in("core-a"), in("core-b")))
	}
	shares := make([]float64, len(roles))
	for i, r := range roles {
		shares[i] = r.share
	}
	for i, n := range split(servers, 2, shares) {
		r := roles[i]
		w.e.Pools[in(r.name)] = estate.Pool{Site: at, Servers: n, Watts: r.watts, Boot: r.boot, Requires: []estate.Need{name(in(r.floor))}}
		w.room[in(r.name)] = n * 85 / 100 // the rest is spare
	}
	w.e.Hosts[estate.HostID(in("ns"))] = estate.Host{Site: at, Requires: []estate.Need{name(in("floor-1"))}}
}

// lines joins the sites: all with all while they are few, else in a ring with lines across.
func (w *world) lines() {
	n := len(w.seats)
	for i := range n {
		for j := i + 1; j < n; j++ {
			if n <= 4 || j == i+1 || i == 0 && j == n-1 || j == i+n/2 {
				w.line(w.seats[i], w.seats[j])
			}
		}
	}
}

func (w *world) line(a, b estate.SiteID) {
	l := estate.Link{Between: [2]estate.SiteID{a, b}, Latency: time.Duration(5+w.IntN(30)) * 100 * time.Microsecond}
	for _, s := range l.Between {
		if s != witness {
			l.Requires = append(l.Requires, anyOf(string(s)+"/core-a", string(s)+"/core-b"))
		}
	}
	w.e.Links[string(a)+"-"+string(b)] = l
}

// people draws what is outside, how people are reached, haechi's towers, and policy.
func (w *world) people() {
	for _, x := range []string{"carrier-k", "carrier-s", "mail-exchange", "push-gateway", "vault", "cdn", "card-network-a", "card-network-b", "golden-images"} {
		w.e.External[x] = estate.External{}
	}
	w.e.Channels["sms"] = estate.Channel{Kind: "sms", Requires: []estate.Need{name("carrier-k")}}
	w.e.Channels["phone"] = estate.Channel{Kind: "call", Requires: []estate.Need{name("carrier-s")}}
	w.e.Channels["email"] = estate.Channel{Kind: "email", Requires: []estate.Need{name("mail-exchange")}}
	w.e.Channels["push"] = estate.Channel{Kind: "push", Requires: []estate.Need{name("pager"), name("push-gateway")}}
	towers := 3
	if len(w.seats) >= 5 {
		towers = 5
	}
	for i := range towers {
		w.e.Towers[estate.TowerID(fmt.Sprintf("tower-%d", i+1))] = estate.Tower{Site: w.seats[i]}
	}
}

// team makes people who answer for something, to be reached in two independent ways or more.
func (w *world) team(t string) string {
	ways := [][]string{{"sms", "phone"}, {"push", "sms"}, {"push", "phone"}, {"phone", "email", "sms"}}
	w.e.Teams[t] = estate.Team{Channels: pick(w.Chance, ways)}
	return t
}

// split shares out a total by weights, each part at least so much.
func split(total, least int, weights []float64) []int {
	sum := 0.0
	for _, x := range weights {
		sum += x
	}
	out := make([]int, len(weights))
	rest := total - least*len(weights)
	left := rest
	for i, x := range weights {
		n := int(float64(rest) * x / sum)
		out[i], left = least+n, left-n
	}
	out[0] += left
	return out
}

func name(n string) estate.Need { return estate.Need{Name: n} }

func names(ns ...string) []estate.Need {
	var out []estate.Need
	for _, n := range ns {
		out = append(out, name(n))
	}
	return out
}

func anyOf(ns ...string) estate.Need { return estate.Need{AtLeast: 1, Of: names(ns...)} }
