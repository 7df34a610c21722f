// Package simulate carries the runs that haechi would carry after a loss, and what people would do
// by hand, in virtual time: once, or ten thousand times with other luck. Plans come from core/plan, what
// is decided from core/response, and every step goes through the machine of core/run, as in the world;
// only the drivers are drawn times and outcomes. It is pure: luck is an argument, and equal luck gives
// equal outcomes.
package simulate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// Simulation is a loss that can be simulated again and again. Nothing changes it, so many may
// use it at once.
type Simulation struct {
	e        estate.Estate
	manned   estate.Estate // the same, with an agent on each host
	model    Model
	lose     []string
	after    audit.Aftermath
	names    []string // of components: all that anything may need
	by       map[string]int
	gone     []bool    // by component: lost or down after haechi has done its work
	services []service // by tier, then by name
	stores   []store   // by the best tier that stands on them, then by name
	openings []opening
	resolve  []resolved
	pools    []lostPool // in the order in which they are booted
	stands   [][]int    // by component: the lost pools that it stands on, itself or by its host
	users    [][]int    // by component: the services that require it, or run on it
}

// service is one service with what it waits for.
type service struct {
	at       int // component
	id       string
	tier     int
	requires []need
	after    []need
	runs     []supply // pools and the servers given to it there
	grows    float64  // servers that it takes besides, once they were started for it
	least    float64  // servers that are enough
	names    []int    // of resolve
}

type supply struct {
	pool    int
	servers float64
}

// store is one store with what it waits for.
type store struct {
	at       int
	id       estate.StoreID
	moves    bool // its primary has to be another one
	loses    time.Duration
	requires []need
	after    []need
	members  []int
	primary  int // of members' components
}

// resolved is a name of which a lost site's answers have to leave.
type resolved struct {
	id  estate.NameID
	ttl time.Duration
}

// opening is a run that the loss calls for.
type opening struct {
	plan   plan.Plan
	people int // that have to agree first
	why    string
}

// lostPool is a pool without power.
type lostPool struct {
	at      int
	servers int
	boot    Dist
	first   time.Duration // when its first server is switched on, and its last; Never
	last    time.Duration
}

// need is an estate.Need with its component.
type need struct {
	at      int
	atleast int
	of      []need
}

// New prepares the loss of some components. Errors: a component that does not exist, a model that
// cannot be, an estate in which services are down with nothing lost.
func New(e estate.Estate, lose []string, m Model) (*Simulation, error) {
	return onGround(e, m).lose(lose)
}

// ground is what all losses of an estate have in common.
type ground struct {
	Simulation // with nothing lost: only what does not depend on the loss
	prepared   *audit.Prepared
	tier       map[string]int // of pools: the best of what runs there
}

// onGround numbers all that can be needed, and says what stands on what.
func onGround(e estate.Estate, m Model) *ground {
	g := &ground{prepared: audit.Prepare(e), tier: map[string]int{}}
	g.e, g.model, g.by, g.names = e, m, map[string]int{}, g.prepared.Components()
	for i, n := range g.names {
		g.by[n] = i
	}
	g.declareStores()
	g.declareServices()
	g.declareUsers()
	g.manned = e
	g.manned.Hosts = withAgents(e.Hosts)
	for _, svc := range e.Services {
		for p := range svc.Runs {
			if t, ok := g.tier[p]; !ok || svc.Tier < t {
				g.tier[p] = svc.Tier
			}
		}
	}
	return g
}

// lose prepares one loss.
func (g *ground) lose(lose []string) (*Simulation, error) {
	var names []string // each once
	for _, n := range lose {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	lose = names
	if len(lose) == 0 {
		return nil, errors.New("nothing is lost; name a site or another component")
	}
	if err := g.model.Validate(); err != nil {
		return nil, err
	}
	after, err := g.prepared.After(lose...)
	if err != nil {
		return nil, err
	}
	s := g.Simulation
	s.lose, s.after, s.gone = slices.Clone(lose), after, make([]bool, len(g.names))
	for i, n := range s.names {
		s.gone[i] = after.Gone[n]
	}
	s.stores, s.services = slices.Clone(g.stores), slices.Clone(g.services)
	for i := range s.stores {
		s.stores[i].moves = after.Moves[s.stores[i].id]
	}
	named := s.leaving()
	for i := range s.services {
		svc := &s.services[i]
		svc.grows, svc.names = after.Grown[svc.id], named[estate.ServiceID(svc.id)]
	}
	s.decide()
	s.declarePools(g.tier)
	s.declareStands()
	return &s, nil
}

func (s *Simulation) needs(in []estate.Need) []need {
	var out []need
	for _, n := range in {
		if n.Of != nil {
			out = append(out, need{at: -1, atleast: n.AtLeast, of: s.needs(n.Of)})
			continue
		}
		out = append(out, need{at: s.by[strings.TrimSuffix(n.Name, estate.SameSite)]})
	}
	return out
}

func (s *Simulation) declareStores() {
	for _, id := range s.e.StoreIDs() {
		spec := s.e.Stores[id]
		st := store{at: s.by[string(id)], id: id, requires: s.needs(spec.Requires), after: s.needs(spec.After), primary: s.by[string(id)+"/"+string(spec.Primary)]}
		if spec.Any == 0 || spec.Alone == "allow" {
			st.loses = spec.Lag
		}
		for _, m := range spec.MemberIDs() {
			st.members = append(st.members, s.by[string(id)+"/"+string(m)])
		}
		s.stores = append(s.stores, st)
	}
	best := s.bestTiers()
	slices.SortStableFunc(s.stores, func(a, b store) int { return best[a.id] - best[b.id] })
}

// bestTiers is for each store the best tier of what names it among what it requires, and its own.
func (s *Simulation) bestTiers() map[estate.StoreID]int {
	out := map[estate.StoreID]int{}
	for id, spec := range s.e.Stores {
		out[id] = spec.Tier
	}
	for _, svc := range s.e.Services {
		each(svc.Requires, func(name string) {
			if t, ok := out[estate.StoreID(name)]; ok {
				out[estate.StoreID(name)] = min(t, svc.Tier)
			}
		})
	}
	return out
}

// each calls f with every name that needs mention.
func each(needs []estate.Need, f func(name string)) {
	for _, n := range needs {
		f(strings.TrimSuffix(n.Name, estate.SameSite))
		each(n.Of, f)
	}
}

func (s *Simulation) declareServices() {
	for _, id := range slices.Sorted(maps.Keys(s.e.Services)) {
		spec := s.e.Services[id]
		svc := service{at: s.by[string(id)], id: string(id), tier: spec.Tier, requires: s.needs(spec.Requires), after: s.needs(spec.After)}
		for _, p := range slices.Sorted(maps.Keys(spec.Runs)) {
			svc.runs = append(svc.runs, supply{s.by[p], float64(spec.Runs[p])})
			svc.least += float64(spec.Runs[p])
		}
		if spec.Load > 0 {
			share := spec.AtLeast
			if share == 0 {
				share = 1
			}
			svc.least = min(svc.least, spec.Load*share)
		}
		s.services = append(s.services, svc)
	}
	slices.SortStableFunc(s.services, func(a, b service) int { return a.tier - b.tier })
}

// declareUsers says of each component whom it may bring back.
func (s *Simulation) declareUsers() {
	s.users = make([][]int, len(s.names))
	for i := range s.services {
		var add func(needs []need)
		add = func(needs []need) {
			for _, n := range needs {
				if n.of == nil {
					s.users[n.at] = append(s.users[n.at], i)
				}
				add(n.of)
			}
		}
		add(s.services[i].requires)
		for _, r := range s.services[i].runs {
			s.users[r.pool] = append(s.users[r.pool], i)
		}
	}
}

// leaving lists the names of each service that lose an answer.
func (s *Simulation) leaving() map[estate.ServiceID][]int {
	out := map[estate.ServiceID][]int{}
	for _, id := range slices.Sorted(maps.Keys(s.e.Names)) {
		n := s.e.Names[id]
		if slices.ContainsFunc(slices.Collect(maps.Keys(n.Answers)), func(at estate.SiteID) bool { return s.after.Gone[string(at)] }) {
			out[n.Service] = append(out[n.Service], len(s.resolve))
			s.resolve = append(s.resolve, resolved{id, n.TTL})
		}
	}
	return out
}

// decide asks core/response what to do about the loss, and core/plan how.
func (s *Simulation) decide() {
	if len(s.e.Towers) == 0 {
		return // nothing moves anything but people
	}
	now := situation.Situation{Sites: map[estate.SiteID]situation.Verdict{}, Things: map[string]situation.Verdict{}}
	for id := range s.e.Sites {
		v := situation.Verdict{Subject: string(id), Site: id, State: situation.Up}
		if s.after.Gone[string(id)] {
			v.State = situation.Lost
		}
		now.Sites[id] = v
	}
	stores := map[estate.StoreID]situation.Store{}
	for id, spec := range s.e.Stores {
		rec := situation.Store{Epoch: 1, Next: 1, Primary: spec.Primary, Any: spec.Any, LeastAny: spec.Any}
		for _, m := range spec.MemberIDs() {
			if m != spec.Primary {
				rec.Sync = append(rec.Sync, m)
			}
			if s.after.Gone[string(id)+"/"+string(m)] {
				s.dead(&now, id, m)
			}
		}
		stores[id] = rec
	}
	s.open(now, stores)
}

// withAgents gives hosts that are only described an agent: a plan does not count on a member whose host's
// agent is silent, and one without would never be.
func withAgents(hosts map[estate.HostID]estate.Host) map[estate.HostID]estate.Host {
	out := maps.Clone(hosts)
	for id, h := range out {
		if h.Agent == "" {
			h.Agent = string(id)
			out[id] = h
		}
	}
	return out
}

// open makes the plans of what is decided.
func (s *Simulation) open(now situation.Situation, stores map[estate.StoreID]situation.Store) {
	for _, d := range response.Decide(response.Input{Now: now, Estate: s.manned, Stores: stores, Armed: map[string]bool{"*": true}, Quorum: true}) {
		if d.Kind != plan.LoseSite && d.Kind != plan.LoseStore || d.Act != response.Start && d.Act != response.Ask {
			continue
		}
		p, err := plan.Make(plan.Input{Estate: s.manned, Now: now, Stores: stores, Kind: d.Kind, Subject: d.Subject, Lost: d.Lost, StoresOnly: d.StoresOnly(), Because: d.Because})
		if err != nil {
			continue // what cannot be planned is left to people; see hand
		}
		o := opening{plan: p, why: strings.Join(d.Because, "; ")}
		if d.Act == response.Ask {
			o.people = d.People
		}
		s.openings = append(s.openings, o)
	}
	for _, st := range s.stores { // of an estate that only describes nobody sees a single store die
		if !st.moves || s.planned(st.id) {
			continue
		}
		p, err := plan.Make(plan.Input{Estate: s.manned, Now: now, Stores: stores, Kind: plan.LoseStore, Subject: string(st.id)})
		if err == nil {
			s.openings = append(s.openings, opening{plan: p, people: response.People(s.e.Policy, s.e.Stores[st.id].Tier)})
		}
	}
}

// dead marks a member of a store that is out of reach while its site lives.
func (s *Simulation) dead(now *situation.Situation, id estate.StoreID, m estate.MemberID) {
	at := s.e.Stores[id].Members[m]
	if s.after.Gone[string(at.Site)] {
		return
	}
	for _, t := range []string{situation.DatabaseTarget(s.manned, id, m), situation.AgentTarget(s.manned, at.Host)} {
		if t != "" {
			now.Things[t] = situation.Verdict{Subject: t, Site: at.Site, State: situation.Dead}
		}
	}
}

// declarePools lists what is booted once power comes back: what the best tier runs on first.
func (s *Simulation) declarePools(tier map[string]int) {
	for _, n := range slices.Sorted(maps.Keys(s.e.Pools)) {
		if !s.after.Gone[n] {
			continue
		}
		p := lostPool{at: s.by[n], servers: s.e.Pools[n].Servers, boot: s.model.Boot}
		if b := s.e.Pools[n].Boot; b > 0 {
			p.boot = about(b, 2*b)
		}
		s.pools = append(s.pools, p)
	}
	rank := func(p lostPool) int {
		if t, used := tier[s.names[p.at]]; used {
			return t
		}
		return 100
	}
	slices.SortStableFunc(s.pools, func(a, b lostPool) int { return rank(a) - rank(b) })
	total, booted := s.lostServers(), 0
	for i := range s.pools {
		p := &s.pools[i]
		p.first = s.bootedAt(booted+1, total)
		booted += p.servers
		p.last = s.bootedAt(booted, total)
	}
}

// declareStands lists the lost pools that hosts stand on, and members by their hosts: those are there
// again when their servers are, not when power is.
func (s *Simulation) declareStands() {
	lost := map[int]bool{}
	for _, p := range s.pools {
		lost[p.at] = true
	}
	s.stands = make([][]int, len(s.names))
	for id, h := range s.e.Hosts {
		at := s.by[string(id)]
		for _, n := range h.Requires {
			if p, ok := s.by[strings.TrimSuffix(n.Name, estate.SameSite)]; ok && lost[p] {
				s.stands[at] = append(s.stands[at], p)
			}
		}
	}
	for id, spec := range s.e.Stores {
		for m, member := range spec.Members {
			if member.Host != "" {
				s.stands[s.by[string(id)+"/"+string(m)]] = s.stands[s.by[string(member.Host)]]
			}
		}
	}
}

// planned says whether a run promotes a store.
func (s *Simulation) planned(id estate.StoreID) bool {
	return slices.ContainsFunc(s.openings, func(o opening) bool {
		return slices.ContainsFunc(o.plan.Steps, func(p plan.Step) bool { return p.Verb == plan.Promote && p.Component == string(id) })
	})
}

// withdrawn says whether a run takes answers of a name away.
func (s *Simulation) withdrawn(id estate.NameID) bool {
	return slices.ContainsFunc(s.openings, func(o opening) bool {
		return slices.ContainsFunc(o.plan.Steps, func(p plan.Step) bool { return p.Verb == plan.Withdraw && p.Component == string(id) })
	})
}

// Plans are those that the loss calls for, in the order in which they are opened.
func (s *Simulation) Plans() []plan.Plan {
	var out []plan.Plan
	for _, o := range s.openings {
		out = append(out, o.plan)
	}
	return out
}

// runID names the run of an opening.
func runID(i int) run.ID { return run.ID(fmt.Sprintf("r-%06d", i+1)) }
