// Package seats decides who votes among the towers, so that the loss of any one site leaves a majority of
// the votes. The rule: every tower of the estate votes, unless its site then held half of the votes or the
// number of votes were even; what is left over stands by as a learner, which holds everything and has no
// vote. Voters are changed one at a time, only while a majority of them is well, and never so that a site
// comes to hold a majority. Equal inputs give equal changes.
package seats

import (
	"cmp"
	"slices"

	"github.com/haechi/haechi/core/estate"
)

// State is what a tower is among the voters.
type State string

// The states.
const (
	Outside State = "outside" // no member; it holds nothing that counts
	Learner State = "learner" // it is sent everything and has no vote
	Voter   State = "voter"
)

// Tower is one tower as far as seats go.
type Tower struct {
	ID   estate.TowerID
	Site estate.SiteID
	Is   State
	// Well: it answers, and what it holds follows the others.
	Well bool
	// Waits: it answers and asks for a seat, since it has no data: it is new, was removed, or lost its disk.
	// A voter that waits counts for nothing, and must never vote again before it was seated anew: it has
	// forgotten what it had agreed to.
	Waits bool
	// Lost: it has been gone for so long that nobody waits for it any more.
	Lost bool
}

// Change gives one tower another seat.
type Change struct {
	Tower estate.TowerID
	Site  estate.SiteID
	To    State
}

// First says who votes in a cluster that is made new, sorted. Where the towers stand in fewer than three
// sites nothing that is better than all of them is to be had.
func First(towers map[estate.TowerID]estate.SiteID) []estate.TowerID {
	var all []Tower
	for id, site := range towers {
		all = append(all, Tower{ID: id, Site: site, Waits: true})
	}
	sortByID(all)
	chosen := choose(all)
	if chosen == nil {
		chosen = all
	}
	return ids(chosen)
}

// Of says who votes among the towers of an estate when all of them are there, sorted.
func Of(e estate.Estate) []estate.TowerID {
	at := map[estate.TowerID]estate.SiteID{}
	for id, t := range e.Towers {
		at[id] = t.Site
	}
	return First(at)
}

// Next is the change that comes next; false: there is none, or none that is safe now.
func Next(all []Tower) (Change, bool) {
	all = slices.Clone(all)
	sortByID(all)
	if !majorityWell(all) {
		return Change{}, false
	}
	want := wanted(all)
	for _, rule := range []func([]Tower, []Tower) (Change, bool){emptied, clear, promote, invite, retire, spare} {
		if c, ok := rule(all, want); ok {
			return c, true
		}
	}
	return Change{}, false
}

// most bounds the changes of one path: each tower leaves, comes and is promoted once.
const most = 3

// Path is all changes from here on, as if each went well and every tower that waits answered.
func Path(all []Tower) (out []Change) {
	all = slices.Clone(all)
	for range most * len(all) {
		c, ok := Next(all)
		if !ok {
			break
		}
		out = append(out, c)
		all = Applied(all, c)
	}
	return out
}

// Applied is what the towers are after a change that went well.
func Applied(all []Tower, c Change) []Tower {
	out := slices.Clone(all)
	for i := range out {
		t := &out[i]
		if t.ID != c.Tower {
			continue
		}
		answers := t.Well || t.Waits
		t.Is = c.To
		t.Well, t.Waits = answers && c.To != Outside, answers && c.To == Outside
	}
	return out
}

// Quorum is how many of n voters have to agree.
func Quorum(n int) int { return n/2 + 1 }

// wanted are those that should vote in the end: as many as there may be among the towers that nobody has
// given up; where those stand in fewer than three sites, the present voters.
func wanted(all []Tower) []Tower {
	if chosen := choose(slices.DeleteFunc(slices.Clone(all), func(t Tower) bool { return t.Lost })); chosen != nil {
		return chosen
	}
	return voters(all)
}

// choose picks the largest odd number of towers of which no site holds half or more, those that vote
// already first, then those that answer; nil where there is none.
func choose(from []Tower) []Tower {
	bySite := map[estate.SiteID][]Tower{}
	for _, t := range from {
		bySite[t.Site] = append(bySite[t.Site], t)
	}
	for n := len(from) - 1 + len(from)%2; n >= 3; n -= 2 {
		if chosen := rounds(bySite, n, (n-1)/2); len(chosen) == n {
			sortByID(chosen)
			return chosen
		}
	}
	return nil
}

// rounds takes one tower of each site after the other until there are n, at most share of one site.
func rounds(bySite map[estate.SiteID][]Tower, n, share int) (chosen []Tower) {
	for place := range share {
		var round []Tower
		for _, towers := range bySite {
			best := slices.SortedFunc(slices.Values(towers), prefer)
			if place < len(best) {
				round = append(round, best[place])
			}
		}
		slices.SortFunc(round, prefer)
		chosen = append(chosen, round[:min(len(round), n-len(chosen))]...)
	}
	return chosen
}

// prefer orders towers by how little has to be changed for them to vote.
func prefer(a, b Tower) int {
	rank := func(t Tower) int {
		switch {
		case t.Is == Voter && t.Well:
			return 0
		case t.Is == Voter:
			return 1
		case t.Well:
			return 2
		case t.Waits:
			return 3
		}
		return 4
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.ID, b.ID))
}

// emptied takes a member out that has lost its data: it can only come back as a new one. What share of the
// votes that gives its site does not count: it had no vote any more.
func emptied(all, want []Tower) (Change, bool) {
	for _, t := range all {
		if t.Waits && t.Is != Outside && (t.Is == Learner || bearable(all, t)) {
			return t.to(Outside), true
		}
	}
	return Change{}, false
}

// clear frees the one place that there is for a learner, where its tower is given up, or another can have a
// vote sooner.
func clear(all, want []Tower) (Change, bool) {
	needed := slices.ContainsFunc(all, func(t Tower) bool { return t.Is == Outside && t.Waits && mayVote(all, want, t) })
	for _, t := range all {
		if t.Is == Learner && (t.Lost || needed && !mayVote(all, want, t)) {
			return t.to(Outside), true
		}
	}
	return Change{}, false
}

// promote gives a learner its vote.
func promote(all, want []Tower) (Change, bool) {
	for _, t := range all {
		if t.Is == Learner && t.Well && mayVote(all, want, t) {
			return t.to(Voter), true
		}
	}
	return Change{}, false
}

// invite makes one that should vote a learner.
func invite(all, want []Tower) (Change, bool) {
	if hasLearner(all) {
		return Change{}, false
	}
	for _, t := range all {
		if t.Is == Outside && t.Waits && mayVote(all, want, t) {
			return t.to(Learner), true
		}
	}
	return Change{}, false
}

// mayVote says whether a tower should have a vote, and can have it now.
func mayVote(all, want []Tower, t Tower) bool {
	return holds(want, t) && spread(all, Applied(all, t.to(Voter)))
}

// retire takes out a voter that is not wanted: one that is given up, or one of a site that holds half of
// the votes or more. Any other that is left over does no harm.
func retire(all, want []Tower) (Change, bool) {
	v := voters(all)
	for _, t := range v {
		if holds(want, t) || !bearable(all, t) || !spread(all, Applied(all, t.to(Outside))) {
			continue
		}
		if t.Lost || 2*inSite(v, t.Site) >= len(v) {
			return t.to(Outside), true
		}
	}
	return Change{}, false
}

// spare lets one of those that are left over stand by.
func spare(all, want []Tower) (Change, bool) {
	if hasLearner(all) {
		return Change{}, false
	}
	for _, t := range all {
		if t.Is == Outside && t.Waits && !t.Lost {
			return t.to(Learner), true
		}
	}
	return Change{}, false
}

func (t Tower) to(s State) Change { return Change{Tower: t.ID, Site: t.Site, To: s} }

// majorityWell says whether the voters can agree on anything.
func majorityWell(all []Tower) bool {
	v := voters(all)
	return len(v) > 0 && counted(v) >= Quorum(len(v))
}

// bearable says whether the others can go on without a voter.
func bearable(all []Tower, without Tower) bool {
	rest := slices.DeleteFunc(voters(all), func(t Tower) bool { return t.ID == without.ID })
	return len(rest) > 0 && counted(rest) >= Quorum(len(rest))
}

// spread says that no site comes to hold a majority of the votes by a change, or a greater one.
func spread(before, after []Tower) bool {
	had, have := voters(before), voters(after)
	for _, t := range have {
		if n := inSite(have, t.Site); 2*n > len(have) && (n > inSite(had, t.Site) || 2*inSite(had, t.Site) <= len(had)) {
			return false
		}
	}
	return true
}

func voters(all []Tower) []Tower {
	return slices.DeleteFunc(slices.Clone(all), func(t Tower) bool { return t.Is != Voter })
}

// counted is how many of some voters take part now.
func counted(v []Tower) (n int) {
	for _, t := range v {
		if t.Well {
			n++
		}
	}
	return n
}

func inSite(towers []Tower, s estate.SiteID) (n int) {
	for _, t := range towers {
		if t.Site == s {
			n++
		}
	}
	return n
}

func hasLearner(all []Tower) bool {
	return slices.ContainsFunc(all, func(t Tower) bool { return t.Is == Learner })
}

func holds(towers []Tower, one Tower) bool {
	return slices.ContainsFunc(towers, func(t Tower) bool { return t.ID == one.ID })
}

func sortByID(all []Tower) {
	slices.SortFunc(all, func(a, b Tower) int { return cmp.Compare(a.ID, b.ID) })
}

func ids(all []Tower) (out []estate.TowerID) {
	for _, t := range all {
		out = append(out, t.ID)
	}
	return out
}
