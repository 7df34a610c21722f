package estate

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// finding is something wrong with a value, wherever it came from.
type finding struct {
	at  path
	say string
	see path // the other end of it, if it has one
	// missing: a name is not declared under one of these sections (nil: any). Where
	// such a section could not be read, nobody can say that.
	missing   bool
	mayBeFrom []kind
}

// check finds everything that the types alone do not forbid. It looks at values
// only, so that an estate out of the state store is held to the same rules.
func check(e Estate) []finding {
	names, out := declared(e)
	out = append(out, mentions(e, names)...)
	out = append(out, checkSections(e)...)
	for _, id := range sorted(e.Stores) {
		out = append(out, checkStore(e, e.Stores[id], path("").to("stores", string(id)))...)
	}
	for _, id := range sorted(e.Services) {
		out = append(out, checkProbes(e.Services[id].Probes, e.Policy.Profile, path("").to("services", string(id), "probes"))...)
	}
	for _, id := range sorted(e.Names) {
		out = append(out, checkName(e.Names[id], id)...)
	}
	for _, id := range sorted(e.Links) {
		if b := e.Links[id].Between; b[0] == b[1] && b[0] != "" {
			out = append(out, finding{at: path("").to("links", id, "between"), say: fmt.Sprintf("it joins %s with itself; name two sites", b[0])})
		}
	}
	out = append(out, checkRisks(e)...)
	out = append(out, rings(e)...)
	return append(out, units(e)...)
}

// kind is the section that declares a name.
type kind string

// declared lists every name with its section, and names that two sections claim.
func declared(e Estate) (map[string]kind, []finding) {
	all, out := map[string]kind{}, []finding(nil)
	add := func(k kind, names []string) {
		for _, n := range names {
			if other, twice := all[n]; twice {
				out = append(out, finding{
					at:  path("").to(string(k), n).key(),
					say: fmt.Sprintf("the name is taken by one of the %s; names are unique over the estate, so rename one of them", other),
					see: path("").to(string(other), n).key(),
				})
				continue
			}
			all[n] = k
		}
	}
	add("sites", namesOf(e.Sites))
	add("observers", namesOf(e.Observers))
	add("domains", namesOf(e.Domains))
	add("links", namesOf(e.Links))
	add("pools", namesOf(e.Pools))
	add("hosts", namesOf(e.Hosts))
	add("stores", namesOf(e.Stores))
	add("services", namesOf(e.Services))
	add("names", namesOf(e.Names))
	add("channels", namesOf(e.Channels))
	add("teams", namesOf(e.Teams))
	add("external", namesOf(e.External))
	add("towers", namesOf(e.Towers))
	return all, out
}

func namesOf[K ~string, V any](m map[K]V) []string {
	out := make([]string, 0, len(m))
	for _, k := range sorted(m) {
		out = append(out, string(k))
	}
	return out
}

func checkSections(e Estate) []finding {
	var out []finding
	if e.Name == "" {
		out = append(out, finding{at: path("").to("estate"), say: "the estate has no name; write at the top of one file, for example, estate: example"})
	}
	if len(e.Sites) == 0 {
		out = append(out, finding{at: path("").to("sites"), say: "no site is declared; an estate has at least one"})
	}
	return out
}

func checkStore(e Estate, s Store, at path) []finding {
	var out []finding
	if _, ok := s.Members[s.Primary]; !ok && s.Primary != "" && len(s.Members) > 0 {
		out = append(out, finding{at: at.to("primary"), say: fmt.Sprintf("%q is not among the members; %s", s.Primary, DidYouMean(string(s.Primary), namesOf(s.Members)))})
	}
	if others := len(s.Members) - 1; s.Any > others && len(s.Members) > 0 {
		out = append(out, finding{at: at.to("acknowledge", "any"), say: fmt.Sprintf("%d members besides the primary are to hold each write, the store has %d; lower it or declare more members", s.Any, others)})
	}
	if len(s.Members) == 0 {
		out = append(out, finding{at: at.to("members"), say: "a store has at least one member"})
	}
	for _, id := range sorted(s.Members) {
		m := s.Members[id]
		h, known := e.Hosts[m.Host]
		if known && h.Site != "" && m.Site != "" && h.Site != m.Site {
			out = append(out, finding{at: at.to("members", string(id), "host"), say: fmt.Sprintf("the member is in %s, but the host %s is in %s", m.Site, m.Host, h.Site), see: path("").to("hosts", string(m.Host), "site")})
		}
	}
	return out
}

// ProbeEvery is how short and how long the time between two looks of a probe may be in a
// profile. Were it longer, an instance that lives could pass for silent; package situation,
// which knows the profiles' times, has the test that says so.
func ProbeEvery(profile string) (least, most time.Duration) {
	if profile == "fast" {
		return 100 * time.Millisecond, 200 * time.Millisecond
	}
	return 100 * time.Millisecond, 850 * time.Millisecond
}

func checkProbes(probes []Probe, profile string, at path) []finding {
	var out []finding
	least, most := ProbeEvery(profile)
	for i, p := range probes {
		if p.Every != 0 && (p.Every < least || p.Every > most) {
			out = append(out, finding{at: at.item(i).to("every"), say: fmt.Sprintf("%v is not from %v to %v: more often is a burden, and more seldom lets an instance that lives pass for silent under the profile %q; leave it away to look as often as the profile says", p.Every, least, most, profile)})
		}
	}
	return out
}

func checkName(n Name, id NameID) []finding {
	at := path("").to("names", string(id))
	var out []finding
	if n.Zone != "" && !strings.EqualFold(string(id), n.Zone) && !strings.HasSuffix(strings.ToLower(string(id)), "."+strings.ToLower(n.Zone)) {
		out = append(out, finding{at: at.to("zone"), say: fmt.Sprintf("%s is not in the zone %s", id, n.Zone)})
	}
	if n.TTL%1e9 != 0 || n.TTL/1e9 > 1<<31-1 {
		out = append(out, finding{at: at.to("ttl"), say: "DNS counts whole seconds"})
	}
	if has := n.Key.Secret; n.Key.Name != "" && (has.File == "") == (len(has.Command) == 0) {
		out = append(out, finding{at: at.to("key", "secret"), say: "say where the secret stands, either {file: /path} or {command: [program, argument]}"})
	}
	for _, site := range sorted(n.Answers) {
		seen := map[string]bool{}
		for i, a := range n.Answers[site] {
			if seen[a] {
				out = append(out, finding{at: at.to("answers", string(site)).item(i), say: fmt.Sprintf("%s stands here twice", a)})
			}
			seen[a] = true
		}
		if len(n.Answers[site]) == 0 {
			out = append(out, finding{at: at.to("answers", string(site)), say: "no address is given; name one or leave the site away"})
		}
	}
	seen := map[HostID]bool{}
	for i, h := range n.Servers {
		if seen[h] {
			out = append(out, finding{at: at.to("servers").item(i), say: fmt.Sprintf("%s stands here twice", h)})
		}
		seen[h] = true
	}
	return out
}

// checkRisks looks at scenarios that say nothing, and at one name for a component and a scenario.
func checkRisks(e Estate) []finding {
	var out []finding
	names, _ := declared(e)
	for _, id := range sorted(e.Scenarios) {
		at := path("").to("scenarios", id)
		if k, taken := names[id]; taken {
			out = append(out, finding{at: at.key(), say: fmt.Sprintf("the name is taken by one of the %s; give the scenario a name of its own", k), see: path("").to(string(k), id).key()})
		}
		if len(e.Scenarios[id]) == 0 {
			out = append(out, finding{at: at, say: "it names nothing that is lost; name at least one component, or leave it away"})
		}
		for i, c := range e.Scenarios[id] {
			if slices.Contains(e.Scenarios[id][:i], c) {
				out = append(out, finding{at: at.item(i), say: fmt.Sprintf("%s stands here twice", c)})
			}
		}
	}
	return out
}

// units finds two things that claim the same unit of the same agent, or the
// same address: an order for one of them would hit the other.
func units(e Estate) []finding {
	var out []finding
	byUnit, byAddress := map[string]path{}, map[string]path{}
	claim := func(seen map[string]path, what string, at path, say string) {
		if first, twice := seen[what]; twice {
			out = append(out, finding{at: at, say: say, see: first})
			return
		}
		seen[what] = at
	}
	for _, id := range sorted(e.Hosts) {
		h, at := e.Hosts[id], path("").to("hosts", string(id))
		if h.Agent != "" && h.Unit != "" {
			claim(byUnit, h.Agent+sep+h.Unit, at.to("unit"), fmt.Sprintf("another part of the estate claims the unit %s of the agent %s", h.Unit, h.Agent))
		}
	}
	for _, id := range sorted(e.Stores) {
		for _, m := range sorted(e.Stores[id].Members) {
			v, at := e.Stores[id].Members[m], path("").to("stores", string(id), "members", string(m))
			if agent := e.Hosts[v.Host].Agent; agent != "" && v.Unit != "" {
				claim(byUnit, agent+sep+v.Unit, at.to("unit"), fmt.Sprintf("another part of the estate claims the unit %s of the agent %s", v.Unit, agent))
			}
			if v.Address != "" {
				claim(byAddress, v.Address, at.to("address"), "another member has this address")
			}
		}
	}
	return out
}

// rings finds domains that need themselves in the end, and shows the chain.
func rings(e Estate) []finding {
	next := map[string][]string{}
	for id, d := range e.Domains {
		for _, n := range flat(d.Requires) {
			if _, is := e.Domains[n]; is {
				next[id] = append(next[id], n)
			}
		}
	}
	var out []finding
	for _, ring := range ringsOf(next) {
		out = append(out, finding{at: path("").to("domains", ring[len(ring)-2], "requires"), say: "domains need each other in a ring: " + strings.Join(ring, " -> ") + "; take one of these requirements away"})
	}
	return out
}

// ringsOf finds rings, each spelt from a name to the same name again: where there are any, at
// least one.
func ringsOf(next map[string][]string) [][]string {
	const open, done = 1, 2
	state := map[string]int{}
	var out [][]string
	var chain []string
	var walk func(id string)
	walk = func(id string) {
		chain = append(chain, id)
		state[id] = open
		for _, n := range next[id] {
			switch state[n] {
			case open:
				out = append(out, append(slices.Clone(chain[slices.Index(chain, n):]), n))
			case 0:
				walk(n)
			}
		}
		state[id] = done
		chain = chain[:len(chain)-1]
	}
	for _, id := range sorted(next) {
		if state[id] == 0 {
			walk(id)
		}
	}
	return out
}

// flat lists the names in needs, however deep.
func flat(ns []Need) []string {
	var out []string
	for _, n := range ns {
		if n.Of == nil {
			out = append(out, strings.TrimSuffix(n.Name, SameSite))
			continue
		}
		out = append(out, flat(n.Of)...)
	}
	return out
}
