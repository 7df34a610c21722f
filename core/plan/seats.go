package plan

import (
	"slices"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/seats"
)

// Towers is the driver of steps about towers, and the subject of plans that are about all of them.
const Towers = "towers"

// ArgTo says what a tower becomes by a step seat: "voter", "learner" or "outside".
const ArgTo = "to"

// reseat gives the towers the seats that they should have, one after the other.
func (m *maker) reseat() *Stuck {
	if len(m.seatChanges(seats.Path(m.in.Seats))) == 0 && !slices.ContainsFunc(m.in.Seats, func(t seats.Tower) bool { return t.Is == seats.Voter && t.Well }) {
		return &Stuck{Towers, NotReachable, "no voter is known that is well, so nothing can be agreed",
			"bring towers back until a majority of them answers; with one site left for good: haechi tower recover"}
	}
	return nil
}

// seatSteps are the steps that give the towers of one site their seats, for a plan that is about the site.
func (m *maker) seatSteps(at estate.SiteID) []int {
	return m.seatChanges(slices.DeleteFunc(seats.Path(m.in.Seats), func(c seats.Change) bool { return c.Site != at }))
}

// seatChanges adds a step for each tower that changes its seat, one after the other. What one tower goes
// through in a row is one step: a tower that lost its data is taken out, invited and given its vote by
// the same step.
func (m *maker) seatChanges(path []seats.Change) (steps []int) {
	last := 0
	for i, c := range path {
		if i+1 < len(path) && path[i+1].Tower == c.Tower {
			continue
		}
		s := step(Seat, Towers, string(c.Tower), Returned)
		if c.To == seats.Outside {
			s.Reason = SiteLost // it does not stand there any more: nothing is needed of its site
		} else {
			s.Site = c.Site
		}
		s.arg(ArgTo, string(c.To))
		last = m.add(s, last)
		steps = append(steps, last)
	}
	return steps
}
