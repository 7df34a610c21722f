package plan

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// Eyes is the driver of steps that a tower does by looking alone.
const Eyes = "eyes"

// home brings the answers of a site back into every name that they are out of, and returns
// the last step of each. Users come back in stages: those whose resolvers ask one name server,
// then those of half of them, then all. Each stage is watched before the next begins; where one
// goes wrong, all of the name's are taken back at once. Where nothing looks at what stands behind a
// name there is nothing to watch, and the answers come back in one step.
//
// What people emptied is theirs to bring back: there, only a serve does.
func (m *maker) home(site estate.SiteID, after ...int) (last []int) {
	r := Returned
	if m.in.Kind == Serve {
		r = Asked
	} else if want := m.in.Intents[site]; want == situation.Draining || want == situation.Drained {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(m.in.Estate.Names)) {
		n := m.in.Estate.Names[id]
		if len(n.Answers[site]) == 0 || !slices.Contains(m.in.Withdrawn[id], site) {
			continue
		}
		all, stuck := m.nameStep(Announce, id, n, site, r)
		if stuck != nil {
			m.block(stuck)
			continue
		}
		all.Undo = Withdraw
		also := strings.Join(m.serversAway(n), ",")
		if len(situation.Gateways(m.in.Estate, n.Service, site)) == 0 {
			all.arg(ArgAlso, also)
			last = append(last, m.add(all, after...))
			continue
		}
		wait := after
		for _, servers := range stages(m.in.Estate, all.Members, site) {
			part := all
			part.Members = servers
			if len(servers) == len(all.Members) {
				part.arg(ArgAlso, also)
			}
			wait = []int{m.add(m.watch(id, n, site, r), m.add(part, wait...))}
		}
		last = append(last, wait...)
	}
	return last
}

// serversAway are the name servers of a name that stand in sites out of reach. One of them may come back while users
// come home, and be brought level with others that do not send them there yet; the last stage has to reach it, too.
func (m *maker) serversAway(n estate.Name) (out []string) {
	for _, host := range n.Servers {
		if m.gone[m.in.Estate.Hosts[host].Site] {
			out = append(out, string(host))
		}
	}
	slices.Sort(out)
	return out
}

// stages are the name servers of each stage, each with those of the one before, so that the last
// one makes all of them alike. The site's own come last: users who ask them have been away longest.
func stages(e estate.Estate, servers []string, site estate.SiteID) (out [][]string) {
	order := slices.Clone(servers)
	own := func(host string) int {
		if e.Hosts[estate.HostID(host)].Site == site {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(order, func(a, b string) int { return own(a) - own(b) })
	for _, n := range []int{1, (len(order) + 1) / 2, len(order)} {
		if len(out) == 0 || n > len(out[len(out)-1]) {
			out = append(out, slices.Sorted(slices.Values(order[:n])))
		}
	}
	return out
}

// watch is the look at users after a stage. It counts from when the last resolver has forgotten
// what it was told before.
func (m *maker) watch(id estate.NameID, n estate.Name, site estate.SiteID, r Reason) Step {
	s := step(Watch, Eyes, string(id), r)
	s.Site = site
	long := watchFor(m.in.Estate)
	s.arg(ArgTTL, n.TTL.String())
	s.arg(ArgFor, long.String())
	s.Limit += estate.Duration(n.TTL + long)
	return s
}

// watchFor is how long users have to fare well in a stage: long enough that what is silent or
// refuses would have been believed dead twice over.
func watchFor(e estate.Estate) time.Duration {
	const least = 2 * time.Second
	p, err := situation.Named(e.Policy.Profile)
	if err != nil {
		return 2 * least // the estate was checked when it was applied
	}
	return max(least, 2*p.Silence)
}

// Watching is what a watch step says of itself: how long resolvers may go by what they were told
// before, and how long users have to fare well after that.
func (s Step) Watching() (ttl, long time.Duration, err error) {
	if ttl, err = time.ParseDuration(s.Args[ArgTTL]); err != nil {
		return 0, 0, err
	}
	long, err = time.ParseDuration(s.Args[ArgFor])
	return ttl, long, err
}

// serve brings back the answers of a site that a person lets serve again.
func (m *maker) serve() *Stuck {
	at := estate.SiteID(m.in.Subject)
	if stuck := m.site(at); stuck != nil {
		return stuck
	}
	if m.gone[at] {
		return &Stuck{string(at), NotReachable, "the site is lost or isolated", "wait until it is seen again"}
	}
	m.home(at)
	return nil
}

// answersOut says that a site's answers are known to be out of a name everywhere: no run was bringing
// them back when it ended.
func (m *maker) answersOut(id estate.NameID, site estate.SiteID) bool {
	return slices.Contains(m.in.Withdrawn[id], site) && !slices.Contains(m.in.Returning[id], site)
}
