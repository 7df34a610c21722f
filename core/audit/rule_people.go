package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// lookPages raises page-path: a service is down and nobody of its team can be reached.
func (a *audit) lookPages(s scenario) {
	for _, t := range a.g.teams {
		team := t.name
		if a.reached(t) {
			continue
		}
		theirs := a.g.theirs(team)
		down := slices.IndexFunc(theirs, func(n id) bool { return a.l.gone[n] })
		if down < 0 {
			continue
		}
		on := a.g.names[theirs[down]]
		a.add(key{rule: PagePath, component: team}, s, a.g.tierOfTeam(team), func(f *Finding) {
			f.Chain, f.Cause = []string{team, on}, a.silencedBy(team)
			f.Message = fmt.Sprintf("when %s is lost %s is down and no channel of %s works: %s", a.g.lostAs(s), on, team, strings.Join(a.Estate.Teams[team].Channels, ", "))
			f.Remedy = fmt.Sprintf("give %s a channel that stands on nothing that falls with %s", team, a.g.lostAs(s))
		})
	}
}

// reached says whether a channel of a team works. A team without channels is nobody's to page.
func (a *audit) reached(t team) bool {
	return len(t.channels) == 0 || slices.ContainsFunc(t.channels, func(c id) bool { return !a.l.gone[c] })
}

// silencedBy is why the first of a team's channels does not work.
func (a *audit) silencedBy(team string) string {
	var all []id
	for _, c := range a.Estate.Teams[team].Channels {
		all = append(all, a.g.by[c])
	}
	if c := a.l.common(all); c != none {
		return a.g.names[c]
	}
	return a.g.names[a.l.reason(slices.MinFunc(all, func(x, y id) int { return strings.Compare(a.g.names[x], a.g.names[y]) })).cause]
}

// theirs lists the services of a team, and those of tier 0, by name.
func (g *graph) theirs(team string) []id {
	var out []id
	for _, n := range g.services {
		if s := g.spec(n); s.Team == team || s.Tier == 0 {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b id) int { return strings.Compare(g.names[a], g.names[b]) })
	return out
}

// tierOfTeam is how bad it is when a team cannot be paged.
func (g *graph) tierOfTeam(team string) Severity {
	best, named := 0, false
	for _, n := range g.services {
		if s := g.spec(n); s.Team == team && (!named || s.Tier < best) {
			best, named = s.Tier, true
		}
	}
	return byTier(best)
}

// lookPaths raises page-path where all channels of a team fall to one thing, whatever else does: one that is
// the only one, or what several stand on.
func (a *audit) lookPaths() {
	for _, team := range slices.Sorted(maps.Keys(a.Estate.Teams)) {
		var all []id
		for _, c := range a.Estate.Teams[team].Channels {
			all = append(all, a.g.by[c])
		}
		if len(all) == 1 {
			only := a.g.names[all[0]]
			a.add(key{rule: PagePath, component: team}, scenario{takes: all}, a.g.tierOfTeam(team), func(f *Finding) {
				f.Chain, f.Cause = []string{team, only}, only
				f.Message = fmt.Sprintf("%s has no channel but %s, and cannot be reached when that is lost", team, only)
				f.Remedy = fmt.Sprintf("give %s a second channel that stands on something else than %s", team, only)
			})
			continue
		}
		for _, n := range a.g.byName(a.g.under(all)) {
			if !small(a.g.kinds[n]) || !a.l.takesAll(n, all) {
				continue
			}
			by := a.g.names[n]
			a.add(key{rule: PagePath, component: team}, scenario{takes: []id{n}}, a.g.tierOfTeam(team), func(f *Finding) {
				f.Chain, f.Cause = []string{team, by}, by
				f.Message = fmt.Sprintf("all channels of %s (%s) fall to %s", team, strings.Join(a.Estate.Teams[team].Channels, ", "), by)
				f.Remedy = fmt.Sprintf("give %s a channel that does not need %s", team, by)
			})
		}
	}
}

func (g *graph) byName(of []id) []id {
	return slices.SortedFunc(slices.Values(of), func(a, b id) int { return strings.Compare(g.names[a], g.names[b]) })
}

// lookBackups raises backup: a store of which no copy is out of reach of a bad delete, or none is young.
func (a *audit) lookBackups() {
	for _, id := range slices.Sorted(maps.Keys(a.Estate.Stores)) {
		s, name := a.Estate.Stores[id], string(id)
		apart := slices.DeleteFunc(slices.Clone(s.Backup), func(b estate.Backup) bool { return !a.apart(s, b) })
		say := ""
		switch {
		case len(apart) == 0:
			say = "replication copies a bad delete: no backup lies outside the sites of its members, or offline"
		case a.Estate.Policy.BackupEvery > 0 && !slices.ContainsFunc(apart, func(b estate.Backup) bool { return a.young(b) }):
			say = fmt.Sprintf("no backup out of reach is younger than %s, as policy: backup-every wants", estate.Span(a.Estate.Policy.BackupEvery))
		default:
			continue
		}
		a.add(key{rule: Backup, component: name}, scenario{}, Medium, func(f *Finding) {
			f.Chain, f.Cause = []string{name}, name
			f.Message = name + ": " + say
			f.Remedy = "keep one elsewhere or offline, and say so: backup: [{at: …, offline: true, every: 24h}]"
		})
	}
}

// apart says whether a backup is out of reach of what happens to a store's members.
func (a *audit) apart(s estate.Store, b estate.Backup) bool {
	if b.Offline {
		return true
	}
	n, ok := a.g.by[b.At]
	if !ok {
		return false
	}
	places := a.g.places(n)
	for _, m := range s.Members {
		if slices.Contains(places, a.g.by[string(m.Site)]) {
			return false
		}
	}
	return true
}

// places lists the sites that a component stands in, of a service or store all.
func (g *graph) places(n id) []id {
	var out []id
	for _, where := range g.allSites {
		if _, ok := g.beside[[2]id{n, where}]; ok || g.sites[n] == where {
			out = append(out, where)
		}
	}
	return out
}

// young says whether a backup is as new as policy wants, by when it was made or how often it is.
func (a *audit) young(b estate.Backup) bool {
	if !b.Last.IsZero() && !a.Now.IsZero() {
		return a.Now.Sub(b.Last) <= a.Estate.Policy.BackupEvery
	}
	return b.Every > 0 && b.Every <= a.Estate.Policy.BackupEvery
}

// lookProofs raises untested and stale.
func (a *audit) lookProofs() {
	if every := a.Estate.Policy.DrillEvery; every > 0 {
		for _, n := range a.g.byName(append(slices.Clone(a.g.allSites), a.g.services...)) {
			name := a.g.names[n]
			if last, ok := a.Proven[name]; ok && (a.Now.IsZero() || a.Now.Sub(last) <= every) {
				continue
			}
			a.add(key{rule: Untested, component: name}, scenario{}, Medium, func(f *Finding) {
				f.Chain, f.Cause = []string{name}, name
				f.Message = fmt.Sprintf("no drill has proven %s in the last %s, as policy: drill-every wants", name, estate.Span(every))
				f.Remedy = "rehearse it on a quiet day: haechi evacuate, which proves the site and what is moved"
			})
		}
	}
	if a.Seen == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(a.g.by)) {
		if seen, looked := a.Seen[name]; !looked || seen {
			continue
		}
		a.add(key{rule: Stale, component: name}, scenario{}, Medium, func(f *Finding) {
			f.Chain, f.Cause = []string{name}, name
			f.Message = name + " is declared, but not what is seen"
			f.Remedy = "correct the estate, or bring it back"
		})
	}
}
