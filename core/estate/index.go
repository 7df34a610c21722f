package estate

import "slices"

// SiteOf returns the site of a host; empty when there is no such host.
func (e Estate) SiteOf(h HostID) SiteID { return e.Hosts[h].Site }

// SiteIDs returns all sites, sorted.
func (e Estate) SiteIDs() []SiteID { return sorted(e.Sites) }

// StoreIDs returns all stores, sorted by tier, then by name.
func (e Estate) StoreIDs() []StoreID {
	ids := sorted(e.Stores)
	slices.SortStableFunc(ids, func(a, b StoreID) int { return e.Stores[a].Tier - e.Stores[b].Tier })
	return ids
}

// NameIDs returns all names, sorted by the tier of their service, then by name.
func (e Estate) NameIDs() []NameID {
	ids := sorted(e.Names)
	slices.SortStableFunc(ids, func(a, b NameID) int {
		return e.Services[e.Names[a].Service].Tier - e.Services[e.Names[b].Service].Tier
	})
	return ids
}

// MemberIDs returns the members of a store, sorted.
func (s Store) MemberIDs() []MemberID { return sorted(s.Members) }

// NamesOf returns the names that a server is authoritative for, sorted.
func (e Estate) NamesOf(h HostID) []NameID {
	var out []NameID
	for _, id := range sorted(e.Names) {
		if slices.Contains(e.Names[id].Servers, h) {
			out = append(out, id)
		}
	}
	return out
}

// SharedAgent returns all hosts that one agent acts on, sorted: those whose
// agent listens where h's does. Its certificate carries the first of these names.
func (e Estate) SharedAgent(h HostID) []HostID {
	var out []HostID
	for _, id := range sorted(e.Hosts) {
		if id == h || e.Hosts[h].Agent != "" && e.Hosts[id].Agent == e.Hosts[h].Agent {
			out = append(out, id)
		}
	}
	return out
}

// IsMember says whether a name is a member of a store, spelt store/member.
func (e Estate) IsMember(name string) bool {
	for at := range len(name) {
		if name[at] == '/' {
			if _, ok := e.Stores[StoreID(name[:at])].Members[MemberID(name[at+1:])]; ok {
				return true
			}
		}
	}
	return false
}
