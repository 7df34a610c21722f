package generate

import (
	"maps"
	"slices"

	"github.com/haechi/haechi/core/estate"
)

// severity is how bad a finding is, once all faults stand.
func (p *planter) severity(r raised) string {
	switch r.rule {
	case "power", "link-capacity":
		return "high"
	case "backup", "untested":
		return "medium"
	case "common-mode", "residual":
		return "low"
	case "page-path":
		return byTier(p.tierOfTeam(r.component))
	case "quorum":
		if _, site := p.e.Sites[estate.SiteID(r.component)]; site {
			return "critical"
		}
		return byTier(p.best(r.component))
	case "tier-inversion":
		return highOr(p.tier(r.component) <= 1)
	case "bootstrap-cycle":
		return highOr(slices.ContainsFunc(r.of, func(n string) bool { return p.tier(n) <= 1 }))
	case "shared-fate":
		return highOr(slices.ContainsFunc(reach(r.of, p.bears()), func(n string) bool { return p.tier(n) <= 1 }))
	}
	return byTier(p.tier(r.component))
}

func byTier(t int) string { return []string{"critical", "high", "medium", "low"}[min(t, 3)] }

func highOr(high bool) string {
	if high {
		return "high"
	}
	return "medium"
}

// tier is that of a service; what is none has the last.
func (p *planter) tier(n string) int {
	if s, ok := p.e.Services[estate.ServiceID(n)]; ok {
		return s.Tier
	}
	return 99
}

// tierOfTeam is the best tier of a team's services, 0 where it names none.
func (p *planter) tierOfTeam(team string) int {
	best := 99
	for _, s := range p.e.Services {
		if s.Team == team {
			best = min(best, s.Tier)
		}
	}
	if best == 99 {
		return 0
	}
	return best
}

// best is the best tier of what stands on a store, its own where nothing does.
func (p *planter) best(store string) int {
	best := 99
	for _, n := range reach([]string{store}, p.bears()) {
		best = min(best, p.tier(n))
	}
	if best == 99 {
		return p.e.Stores[estate.StoreID(store)].Tier
	}
	return best
}

// bears lists what stands on each thing, if only as one of several.
func (p *planter) bears() map[string][]string {
	out := map[string][]string{}
	on := func(n string, of ...string) {
		for _, o := range of {
			out[o] = append(out[o], n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(p.e.Domains)) {
		on(n, flat(p.e.Domains[n].Requires)...)
	}
	for _, n := range slices.Sorted(maps.Keys(p.e.Pools)) {
		on(n, flat(p.e.Pools[n].Requires)...)
	}
	for _, n := range slices.Sorted(maps.Keys(p.e.Hosts)) {
		on(string(n), flat(p.e.Hosts[n].Requires)...)
	}
	for _, n := range slices.Sorted(maps.Keys(p.e.Stores)) {
		on(string(n), flat(p.e.Stores[n].Requires)...)
		for _, m := range p.e.Stores[n].Members {
			on(string(n), string(m.Host))
		}
	}
	for _, n := range slices.Sorted(maps.Keys(p.e.Services)) {
		on(string(n), flat(p.e.Services[n].Requires)...)
		on(string(n), slices.Sorted(maps.Keys(p.e.Services[n].Runs))...)
	}
	return out
}
