package plan

import (
	"maps"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// DNS is the driver of steps about names and name servers.
const DNS = "dns"

// withdrawSite takes a site's answers out of every name that has some. after, where it is
// not nil, says what the steps of a name wait for.
func (m *maker) withdrawSite(from estate.SiteID, r Reason, after func(estate.Name) []int) {
	for _, id := range slices.Sorted(maps.Keys(m.in.Estate.Names)) {
		n := m.in.Estate.Names[id]
		if len(n.Answers[from]) == 0 || m.answersOut(id, from) {
			continue
		}
		s, stuck := m.nameStep(Withdraw, id, n, from, r)
		if stuck == nil {
			stuck = m.keepsAnswer(id, n, from)
		}
		if stuck != nil {
			m.block(stuck)
			continue
		}
		// Answers of a lost site must not come back because a run was given up.
		if r == Asked || r == UsersCutOff {
			s.Undo = Announce
		}
		var wait []int
		if after != nil {
			wait = after(n)
		}
		m.add(s, wait...)
	}
}

// nameStep is a step on the name servers that can be reached.
func (m *maker) nameStep(v Verb, id estate.NameID, n estate.Name, at estate.SiteID, r Reason) (Step, *Stuck) {
	s := step(v, DNS, string(id), r)
	s.Site = at
	for _, host := range n.Servers {
		if !m.gone[m.in.Estate.Hosts[host].Site] {
			s.Members = append(s.Members, string(host))
		}
	}
	if len(s.Members) == 0 {
		return s, &Stuck{string(id), NoServer, "none of its name servers " + list(n.Servers) + " stands in a living site",
			"bring one of their sites back, or change the zone's delegation by hand"}
	}
	slices.Sort(s.Members)
	return s, nil
}

// keepsAnswer refuses to take the last answer of a name: an answer that may be dead is
// still better than none, which resolvers remember.
func (m *maker) keepsAnswer(id estate.NameID, n estate.Name, from estate.SiteID) *Stuck {
	out := m.leaving(from)
	for site, answers := range n.Answers {
		if len(answers) > 0 && !out[site] && !slices.Contains(m.in.Withdrawn[id], site) {
			return nil
		}
	}
	return &Stuck{string(id), LastAnswer, "no other site answers for it: the answer of " + string(from) + " is the last that would be left",
		"bring another of its sites back; the answer stays until then"}
}

// leaving are the sites whose answers do not count as remaining.
func (m *maker) leaving(from estate.SiteID) map[estate.SiteID]bool {
	out := maps.Clone(m.gone)
	out[from] = true
	if m.in.Kind == LoseSite {
		return out
	}
	// Moving users on purpose to where they cannot get is no help.
	for _, site := range m.in.Now.In(situation.CutOff) {
		out[site] = true
	}
	return out
}

// promotesUnder are the steps that bring up the stores that a name's service stands on.
func (m *maker) promotesUnder(n estate.Name) []int {
	var out []int
	below := under(edges(m.in.Estate), string(n.Service))
	for id, promoted := range m.promote {
		if below[string(id)] {
			out = append(out, promoted)
		}
	}
	return out
}

// levelDNS brings a name server that came back level with the others.
func (m *maker) levelDNS() *Stuck {
	host := estate.HostID(m.in.Subject)
	h, ok := m.in.Estate.Hosts[host]
	if !ok {
		return &Stuck{string(host), NotDeclared, "the estate has no host of this name", "use the name that the estate file gives it"}
	}
	if m.gone[h.Site] {
		return &Stuck{string(host), NotReachable, "its site " + string(h.Site) + " is out of reach", "wait until it is seen again"}
	}
	s := step(Level, DNS, string(host), Returned)
	s.Site = h.Site
	s.Members = m.serversBeside(host)
	if out, ok := m.sameOut(host); ok && len(s.Members) == 1 {
		s.Args = map[string]string{ArgWithdrawn: strings.Join(out, ",")}
	}
	m.add(s)
	return nil
}

// serversBeside are the host and the other name servers of its zones in living sites, from
// which it can be brought level; sorted.
func (m *maker) serversBeside(host estate.HostID) []string {
	out := []string{string(host)}
	for _, n := range m.in.Estate.Names {
		if !slices.Contains(n.Servers, host) {
			continue
		}
		for _, other := range n.Servers {
			if !m.gone[m.in.Estate.Hosts[other].Site] {
				out = append(out, string(other))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// sameOut are the sites whose answers are out of a server's names, by the towers' records,
// sorted; where the names differ there is no one answer.
func (m *maker) sameOut(host estate.HostID) ([]string, bool) {
	var out []string
	first := true
	for id, n := range m.in.Estate.Names {
		if !slices.Contains(n.Servers, host) {
			continue
		}
		var sites []string
		for _, s := range m.in.Withdrawn[id] {
			sites = append(sites, string(s))
		}
		slices.Sort(sites)
		if !first && !slices.Equal(sites, out) {
			return nil, false
		}
		out, first = sites, false
	}
	return out, !first
}
