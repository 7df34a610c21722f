package generate

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// tools draws what the company works with itself.
func (w *world) tools() {
	team := w.team("platform-oncall")
	for _, t := range []struct {
		name     string
		tier     int
		requires []string
		after    []estate.Need
	}{
		{"names", 0, nil, nil},
		{"pager", 0, nil, nil},
		{"access", 0, []string{"access-db"}, nil},
		{"images", 1, []string{"image-objects"}, nil},
		{"registry", 1, []string{"images", "registry-db"}, []estate.Need{anyOf("deploy", "golden-images")}}, // it can be started without the other
		{"deploy", 1, []string{"access", "deploy-db"}, names("registry")},
		{"monitor", 1, []string{"metrics-db"}, nil},
	} {
		for _, r := range t.requires {
			switch r {
			case "access-db", "registry-db", "deploy-db":
				w.store(r, "postgres")
			case "metrics-db":
				w.store(r, "mysql")
			case "image-objects":
				w.store(r, "ceph")
			}
		}
		s := w.seat(t.name, t.tier, "api", min(5, len(w.sites)))
		s.Team, s.Requires, s.After = team, names(t.requires...), t.after
		w.promise(&s)
		w.put(t.name, s)
	}
}

// drawn is a service before it is placed.
type drawn struct {
	name  string
	of    *family
	front bool
	tier  int
}

// products draws families of services, the best tiers first, so that what one requires is there.
func (w *world) products() {
	n := w.order.Services - len(w.seated)
	w.families = make([]family, min(max(1, n/9), len(products)))
	for i := range w.families {
		f := &w.families[i]
		f.name = products[i]
		f.team = w.team(f.name + "-oncall")
		w.keep(f, n/len(w.families))
	}
	all := make([]drawn, n)
	for i := range all {
		f := &w.families[i%len(w.families)]
		part := i / len(w.families)
		all[i] = drawn{name: partName(f.name, part), of: f, front: part == 0}
	}
	w.rank(all)
	for _, d := range all {
		w.product(d)
	}
	w.share()
}

// rank gives tiers: few are critical, most can wait, and fronts rather than what works behind them.
func (w *world) rank(all []drawn) {
	order := make(map[string]float64, len(all))
	for i, d := range all {
		order[d.name] = w.Float64() + float64(i)/float64(len(all))
		if d.front {
			order[d.name] -= 1.2
		}
	}
	slices.SortStableFunc(all, func(a, b drawn) int { return cmp.Compare(order[a.name], order[b.name]) })
	for i := range all {
		switch at := (float64(i) + 0.5) / float64(len(all)); {
		case i == 0 || at < 0.04:
			all[i].tier = 0
		case at < 0.18:
			all[i].tier = 1
		case at < 0.58:
			all[i].tier = 2
		default:
			all[i].tier = 3
		}
	}
}

// keep draws the stores of a family of so many services.
func (w *world) keep(f *family, services int) {
	kinds := []struct{ suffix, engine string }{
		{"db", "postgres"}, {"cache", "redis"}, {"events", "kafka"}, {"orders", "mysql"}, {"objects", "ceph"}, {"search", "opensearch"}, {"documents", "mongodb"},
	}
	if w.IntN(3) == 0 {
		kinds[0].engine = "mysql"
	}
	w.Shuffle(len(kinds)-1, func(i, j int) { kinds[i+1], kinds[j+1] = kinds[j+1], kinds[i+1] })
	for i := range min(1+services/6, len(kinds)) {
		f.stores = append(f.stores, w.store(f.name+"-"+kinds[i].suffix, kinds[i].engine))
	}
}

// store draws a store with a member in each of three or more sites.
func (w *world) store(name, engine string) estate.StoreID {
	s := estate.Store{
		Engine: engine, Primary: "a", Any: 1, Alone: "refuse", Reads: "any", Members: map[estate.MemberID]estate.Member{},
		Gbps: float64(1+w.IntN(16)) / 20, Backup: []estate.Backup{{At: "vault", Offline: true, Every: pick(w.Chance, []time.Duration{6 * hour, 12 * hour, day})}},
	}
	members := 3
	switch {
	case engine == "redis":
		s.Any, s.Lag = 0, time.Duration(1+w.IntN(5))*time.Second
	case len(w.seats) >= 5 && w.IntN(5) == 0:
		members, s.Any = 5, 2
	}
	for i, at := range w.some(w.seats, members) {
		s.Members[memberNames[i]] = estate.Member{Site: at}
	}
	if s.Members["a"].Site == witness {
		s.Primary = "b"
	}
	w.e.Stores[estate.StoreID(name)] = s
	w.stores = append(w.stores, estate.StoreID(name))
	return estate.StoreID(name)
}

var memberNames = []estate.MemberID{"a", "b", "c", "d", "e"}

// some draws so many of the sites, in random order.
func (w *world) some(of []estate.SiteID, n int) []estate.SiteID {
	out := slices.Clone(of)
	w.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:n]
}

// product places a service and says what it needs.
func (w *world) product(d drawn) {
	sites := []int{4, 3, 2 + w.IntN(2), 2}[d.tier]
	if d.tier == 3 && w.IntN(5) == 0 {
		sites = 1 // nobody minds
	}
	role := pick(w.Chance, []string{"web", "web", "web", "api", "api", "api", "data", "batch", "cache", "edge"})
	if d.tier == 3 && w.IntN(2) == 0 {
		role = "batch"
	}
	s := w.seat(d.name, d.tier, role, min(sites, len(w.sites)))
	s.Team = d.of.team
	w.promise(&s)
	w.lean(&s, d)
	w.put(d.name, s)
	if d.front && d.tier == 0 {
		w.resolve(d.name, s)
	}
}

// seat gives a service a place in pools of a role, or of others where that is full.
func (w *world) seat(of string, tier int, role string, sites int) estate.Service {
	s := estate.Service{Tier: tier, Runs: map[string]int{}}
	order := w.some(w.sites, len(w.sites))
	slices.SortStableFunc(order, func(a, b estate.SiteID) int { return cmp.Compare(w.full(a), w.full(b)) })
	for _, at := range order[:sites] {
		pool := string(at) + "/" + role
		for _, r := range roles {
			if other := string(at) + "/" + r.name; w.room[pool] == 0 && w.room[other] > 0 {
				pool = other
			}
		}
		s.Runs[pool] = 1
		w.room[pool]--
	}
	w.weight[estate.ServiceID(of)] = math.Exp(w.NormFloat64()) * []float64{6, 3, 1, 0.6}[tier]
	return s
}

// full is 1 for a site without room, else 0.
func (w *world) full(at estate.SiteID) int {
	for _, r := range roles {
		if w.room[string(at)+"/"+r.name] > 0 {
			return 0
		}
	}
	return 1
}

// promise says how long a service may be gone and what it may lose.
func (w *world) promise(s *estate.Service) {
	rto := []time.Duration{minute, 5 * minute, hour, day}[s.Tier]
	s.RTO = &rto
	rpo := []time.Duration{0, time.Duration(w.IntN(2)) * 30 * time.Second, 5 * minute, day}[s.Tier]
	if s.Tier < 2 || w.IntN(3) > 0 {
		s.RPO = &rpo
	}
	if s.Tier > 1 && w.IntN(4) == 0 {
		s.AtLeast = 0.8
	}
}

// lean says what a service requires, wants and starts after.
func (w *world) lean(s *estate.Service, d drawn) {
	if w.IntN(10) < 7 {
		st := pick(w.Chance, d.of.stores)
		if spec := w.e.Stores[st]; spec.Any > 0 || s.RPO == nil || *s.RPO >= spec.Lag {
			s.Requires = append(s.Requires, name(string(st)))
		} else {
			s.Wants = append(s.Wants, name(string(st)))
		}
	}
	for range w.IntN(3) {
		w.leanOn(s, pick(w.Chance, w.seated), d)
	}
	switch w.IntN(12) {
	case 0:
		s.Requires = append(s.Requires, anyOf("card-network-a", "card-network-b"))
	case 1:
		s.Wants = append(s.Wants, name("cdn"))
	case 2:
		s.Wants = append(s.Wants, name(string(pick(w.Chance, w.seated))))
	}
	if s.Tier > 0 && w.IntN(3) == 0 {
		s.After = names(pick(w.Chance, []string{"registry", "deploy"}))
	}
}

// leanOn requires another service, sometimes beside it. Products mostly lean on their own family, and on no
// tools while they run.
func (w *world) leanOn(s *estate.Service, other estate.ServiceID, d drawn) {
	o := w.e.Services[other]
	if o.Tier > s.Tier || o.Team == "platform-oncall" && other != "names" || o.Team != d.of.team && w.IntN(3) > 0 || mentions(s.Requires, string(other)) {
		return
	}
	n := string(other)
	if w.IntN(4) == 0 && w.besideAll(*s, o) {
		n += estate.SameSite
	}
	s.Requires = append(s.Requires, name(n))
}

// besideAll says whether one service runs in all sites of another that runs in several.
func (w *world) besideAll(s, o estate.Service) bool {
	there := w.sitesOf(o)
	here := w.sitesOf(s)
	return len(here) > 1 && !slices.ContainsFunc(here, func(at estate.SiteID) bool { return !slices.Contains(there, at) })
}

// sitesOf lists the sites in which a service has pools, by name.
func (w *world) sitesOf(s estate.Service) []estate.SiteID {
	var out []estate.SiteID
	for p := range s.Runs {
		out = append(out, w.e.Pools[p].Site)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (w *world) put(n string, s estate.Service) {
	w.e.Services[estate.ServiceID(n)] = s
	w.seated = append(w.seated, estate.ServiceID(n))
}

// resolve gives users a name for a front.
func (w *world) resolve(n string, s estate.Service) {
	spec := estate.Name{Service: estate.ServiceID(n), Zone: "example.", TTL: 5 * time.Second, Answers: map[estate.SiteID][]string{}}
	for _, at := range w.sitesOf(s) {
		spec.Servers = append(spec.Servers, estate.HostID(string(at)+"/ns"))
		spec.Answers[at] = []string{addressOf(slices.Index(w.sites, at), len(w.e.Names))}
	}
	w.e.Names[estate.NameID(n+".example.")] = spec
}
