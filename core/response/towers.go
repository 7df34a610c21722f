package response

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/seats"
	"github.com/haechi/haechi/core/situation"
)

// Facts of a tower, as one that is asked whether it lives says of itself.
const (
	FactSeat = "seat" // a seats.State, or one of these
	// SeatWaits is said by a tower that has no data and asks for a seat, and FactWaits since when, by its own clock, as
	// RFC 3339 has it: one that is started at once with an empty disk is up all the while.
	SeatWaits = "waits"
	FactWaits = "waits"
	// SeatStopped is said by a tower whose own member has given up: it looks and shows, and starts nothing.
	SeatStopped = "stopped"
)

// Idle says that a tower, by its own facts, can neither vote nor drive, though it answers.
func Idle(facts map[string]string) bool {
	return facts[FactSeat] == SeatWaits || facts[FactSeat] == SeatStopped
}

// lasting is how long a tower has to be gone before its vote is given to another, where policy says nothing.
// A machine that starts anew, or a site whose power is back within a quarter of an hour, needs nothing.
const lasting = 15 * time.Minute

// Member is one of those that the towers' records are kept by, as the towers have agreed.
type Member struct {
	Tower estate.TowerID
	Voter bool // else a learner
}

// Towers puts together what the towers of an estate are: by what they have agreed, and by what is seen of them.
// A tower that nobody looks at is taken to be well. Of members that the estate does not know nothing is
// said here: see [Strangers].
func Towers(e estate.Estate, now situation.Situation, members []Member) []seats.Tower {
	out := make([]seats.Tower, 0, len(e.Towers))
	patience := cmp.Or(e.Policy.ReseatAfter, lasting)
	for id, tower := range e.Towers {
		t := seats.Tower{ID: id, Site: tower.Site, Is: seats.Outside}
		for _, m := range members {
			switch {
			case m.Tower != id:
			case m.Voter:
				t.Is = seats.Voter
			default:
				t.Is = seats.Learner
			}
		}
		target := situation.TowerTarget(e, id)
		v, looked := now.Things[target]
		t.Waits = v.State == situation.Up && now.Facts[target][FactSeat] == SeatWaits
		t.Well = t.Is != seats.Outside && (!looked || v.State == situation.Up && !Idle(now.Facts[target]))
		gone := v.State == situation.Dead || v.Gone()
		t.Lost = gone && now.At.Sub(v.Since) >= patience
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b seats.Tower) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Strangers are members that the estate does not name, sorted. They count for the majority, and nobody looks
// at them.
func Strangers(e estate.Estate, members []Member) (out []estate.TowerID) {
	for _, m := range members {
		if _, ok := e.Towers[m.Tower]; !ok {
			out = append(out, m.Tower)
		}
	}
	slices.Sort(out)
	return out
}

// reseat wants seats changed where the loss of a site could not be borne as well as it might: a tower has
// lost its data, or was never seated, or is gone for so long that one that stands by should vote in its place. One
// that is back with its data needs nothing.
func (in Input) reseat() []want {
	path := seats.Path(in.Seats)
	if len(path) == 0 {
		return nil
	}
	w := want{kind: plan.Reseat, subject: plan.Towers, site: path[0].Site}
	changed := map[estate.TowerID]bool{}
	for _, c := range path {
		changed[c.Tower] = true
	}
	for _, t := range in.Seats {
		if !changed[t.ID] {
			continue
		}
		target := situation.TowerTarget(in.Estate, t.ID)
		waits, _ := time.Parse(time.RFC3339Nano, in.Now.Facts[target][FactWaits]) // a tower of the release before says nothing
		w.since = latest(w.since, in.Now.Things[target].Since, waits)
		switch {
		case t.Waits && t.Is != seats.Outside:
			w.because = append(w.because, fmt.Sprintf("%s is there without its data", t.ID))
		case t.Waits:
			w.because = append(w.because, fmt.Sprintf("%s asks for a seat", t.ID))
		case t.Lost:
			w.because = append(w.because, fmt.Sprintf("%s is gone, and another can vote in its place", t.ID))
		}
	}
	return []want{w}
}
