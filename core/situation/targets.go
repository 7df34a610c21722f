package situation

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// Targets lists what observers look at, sorted by ID: towers, agents (one for
// each address, even where it stands for several hosts), store members, name
// servers, and each service's probes with each answer of the service's names.
// Things without an address are described only and not looked at.
func Targets(e estate.Estate) []Target {
	out := slices.Concat(towers(e), agents(e), members(e), servers(e), gateways(e))
	slices.SortFunc(out, func(a, b Target) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// ForUsers keeps what an observer on a user network looks at: what users use.
func ForUsers(all []Target) []Target {
	return slices.DeleteFunc(slices.Clone(all), func(t Target) bool { return !usersUse(t.Kind) })
}

func usersUse(k Kind) bool { return k == KindGateway || k == KindDNS }

// DatabaseTarget is the ID of the target that is a store's member.
func DatabaseTarget(e estate.Estate, store estate.StoreID, member estate.MemberID) string {
	return id(e.Stores[store].Members[member].Site, KindDatabase, string(store)+"/"+string(member))
}

// TowerTarget is the ID of the target that is a tower.
func TowerTarget(e estate.Estate, tower estate.TowerID) string {
	return id(e.Towers[tower].Site, KindTower, string(tower))
}

// AgentTarget is the ID of the target that is a host's agent. Hosts that share an
// agent share its target, which carries the name of the first of them. It is
// empty for a host without an agent.
func AgentTarget(e estate.Estate, host estate.HostID) string {
	h, ok := e.Hosts[host]
	if !ok || h.Agent == "" {
		return ""
	}
	for _, other := range slices.Sorted(maps.Keys(e.Hosts)) {
		if o := e.Hosts[other]; o.Agent == h.Agent && o.Site == h.Site {
			return id(h.Site, KindAgent, string(other))
		}
	}
	return ""
}

// DNSTarget is the ID of the target that is a name server.
func DNSTarget(e estate.Estate, host estate.HostID) string {
	return id(e.Hosts[host].Site, KindDNS, string(host))
}

// Gateways are the targets that stand for a service in one site: what its users reach there.
func Gateways(e estate.Estate, service estate.ServiceID, site estate.SiteID) []Target {
	return instances(site, service, e.Services[service].Probes, answers(e, service)[site])
}

// Units lists the units that an agent serves, by any of the hosts that share it, sorted.
func Units(e estate.Estate, host estate.HostID) []string {
	at := AgentTarget(e, host)
	if at == "" {
		return nil
	}
	units := map[string]bool{}
	for name, h := range e.Hosts {
		if h.Unit != "" && AgentTarget(e, name) == at {
			units[h.Unit] = true
		}
	}
	for _, s := range e.Stores {
		for _, m := range s.Members {
			if m.Unit != "" && AgentTarget(e, m.Host) == at {
				units[m.Unit] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(units))
}

func id(site estate.SiteID, k Kind, name string) string {
	return string(site) + "/" + string(k) + "/" + name
}

func target(site estate.SiteID, k Kind, component, address string) Target {
	return Target{ID: id(site, k, component), Kind: k, Site: site, Component: component, Address: address}
}

func towers(e estate.Estate) (out []Target) {
	for name, t := range e.Towers {
		if t.Address != "" {
			out = append(out, target(t.Site, KindTower, string(name), t.Address))
		}
	}
	return out
}

func agents(e estate.Estate) (out []Target) {
	for name, h := range e.Hosts {
		if h.Agent != "" && AgentTarget(e, name) == id(h.Site, KindAgent, string(name)) {
			out = append(out, target(h.Site, KindAgent, string(name), h.Agent))
		}
	}
	return out
}

func members(e estate.Estate) (out []Target) {
	for store, s := range e.Stores {
		for member, m := range s.Members {
			if m.Address != "" {
				out = append(out, target(m.Site, KindDatabase, fmt.Sprintf("%s/%s", store, member), m.Address))
			}
		}
	}
	return out
}

func servers(e estate.Estate) (out []Target) {
	seen := map[estate.HostID]bool{}
	for _, n := range e.Names {
		for _, host := range n.Servers {
			h := e.Hosts[host]
			if h.Address == "" || seen[host] {
				continue
			}
			seen[host] = true
			out = append(out, target(h.Site, KindDNS, string(host), h.Address))
		}
	}
	return out
}

func gateways(e estate.Estate) (out []Target) {
	for service, s := range e.Services {
		for site, addresses := range answers(e, service) {
			out = append(out, instances(site, service, s.Probes, addresses)...)
		}
	}
	return out
}

// answers gathers where a service stands, by all names that lead to it.
func answers(e estate.Estate, service estate.ServiceID) map[estate.SiteID][]string {
	out := map[estate.SiteID][]string{}
	for _, n := range e.Names {
		if n.Service != service {
			continue
		}
		for site, addresses := range n.Answers {
			out[site] = append(out[site], addresses...)
		}
	}
	for site, addresses := range out {
		slices.Sort(addresses)
		out[site] = slices.Compact(addresses)
	}
	return out
}

// instances names a site's only instance after its service, and several also
// after their addresses.
func instances(site estate.SiteID, service estate.ServiceID, probes []estate.Probe, addresses []string) (out []Target) {
	for i, p := range probes {
		for _, a := range addresses {
			if p.HTTP == "" {
				continue
			}
			t := target(site, KindGateway, string(service), strings.ReplaceAll(p.HTTP, "{address}", forURL(a)))
			t.Rest = p.Every
			if len(addresses) > 1 {
				t.ID += "/" + a
			}
			if i > 0 {
				t.ID += fmt.Sprintf("/probe-%d", i+1)
			}
			out = append(out, t)
		}
	}
	return out
}

// forURL brackets a bare IPv6 address.
func forURL(a string) string {
	if ip, err := netip.ParseAddr(a); err == nil && ip.Is6() {
		return "[" + a + "]"
	}
	return a
}
