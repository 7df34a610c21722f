package estate

import (
	"fmt"
	"strings"
)

// NotActionable says what an estate still lacks before haechi can act on it.
type NotActionable struct{ Missing []string }

// Error lists what is missing, one a line.
func (e *NotActionable) Error() string {
	return "the estate is valid, but haechi cannot act on it yet:\n  " + strings.Join(e.Missing, "\n  ")
}

// Actionable returns nil, or a [*NotActionable] that lists every address,
// host, agent or key that the stores, names and towers lack. A file that only
// describes is valid all the same: it can be audited and simulated.
// Engines are those that drivers speak.
func Actionable(e Estate, engines map[string]SettingsCheck) error {
	var missing []string
	said := map[string]bool{} // members share hosts, names share servers
	say := func(format string, args ...any) {
		if line := fmt.Sprintf(format, args...); !said[line] {
			said[line] = true
			missing = append(missing, line)
		}
	}
	if len(e.Stores) == 0 && len(e.Names) == 0 {
		say("no store and no name is declared, so there is nothing to move")
	}
	seats(e, say)
	for _, id := range sorted(e.Stores) {
		s := e.Stores[id]
		if _, known := engines[s.Engine]; !known {
			say("stores: %s: no driver speaks %q; %s", id, s.Engine, DidYouMean(s.Engine, sorted(engines)))
			continue
		}
		for _, m := range sorted(s.Members) {
			actionableMember(e, fmt.Sprintf("stores: %s: members: %s", id, m), s.Members[m], say)
		}
	}
	for _, id := range sorted(e.Names) {
		actionableName(e, id, say)
	}
	if len(missing) > 0 {
		return &NotActionable{Missing: missing}
	}
	return nil
}

// seats looks at the towers: they have to outlive any one site. Where they stand in three, as many of them
// vote as lets them: core/seats.
func seats(e Estate, say func(string, ...any)) {
	at := map[SiteID]int{}
	for _, id := range sorted(e.Towers) {
		t := e.Towers[id]
		at[t.Site]++
		if t.Address == "" {
			say("towers: %s: address is missing: host:port where other towers reach it", id)
		}
	}
	if len(at) < 3 {
		say("towers: they stand in %d sites; at least three are needed (one may be a witness), so that the loss of one leaves a majority", len(at))
	}
}

func actionableMember(e Estate, at string, m Member, say func(string, ...any)) {
	if m.Address == "" {
		say("%s: address is missing: host:port where it takes clients", at)
	}
	if m.Unit == "" {
		say("%s: unit is missing: what its agent calls it", at)
	}
	switch {
	case m.Host == "":
		say("%s: host is missing: the machine whose agent acts on it", at)
	case e.Hosts[m.Host].Agent == "":
		say("hosts: %s: agent is missing: host:port of its agent", m.Host)
	}
}

func actionableName(e Estate, id NameID, say func(string, ...any)) {
	n, at := e.Names[id], fmt.Sprintf("names: %s", id)
	if n.Zone == "" {
		say("%s: zone is missing: the zone that it is in, with the final dot", at)
	}
	if n.TTL == 0 {
		say("%s: ttl is missing: how long resolvers keep an answer", at)
	}
	if n.Key.Name == "" {
		say("%s: key is missing: the TSIG key with which its servers accept changes", at)
	}
	if len(n.Answers) == 0 {
		say("%s: answers are missing: for each site that may serve, its address", at)
	}
	if len(n.Servers) == 0 {
		say("%s: servers are missing: the hosts of its authoritative servers", at)
	}
	for _, h := range n.Servers {
		if e.Hosts[h].Address == "" {
			say("hosts: %s: address is missing: host:port of its name server", h)
		}
		if e.Hosts[h].Agent == "" || e.Hosts[h].Unit == "" {
			say("hosts: %s: agent and unit are needed to keep its name server silent after a return, until its zone is level", h)
		}
	}
}

// acted says whether a store says of any member how it is reached, or its host's agent: haechi is to act on it.
func (e Estate) acted(s Store) bool {
	for _, m := range s.Members {
		if m.Address != "" || m.Unit != "" || e.Hosts[m.Host].Agent != "" {
			return true
		}
	}
	return false
}
