package response

import (
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// comparisons wants the members of a store compared where nothing else is missing of it: of one to which
// somebody came back, and of any while a recovery waits for it. One that was only moved in peace is people's business,
// and so is one whose members were found to differ. others are the wants besides.
func (in Input) comparisons(others []want) (out []want) {
	for _, id := range in.storeIDs() {
		r := in.Stores[id]
		lacks := in.standing().OfStore(id)
		if r.Differs != "" || len(lacks) != 1 || lacks[0].Kind != situation.LackVerified || !in.owed(id) {
			continue
		}
		if slices.ContainsFunc(others, func(o want) bool { return slices.Contains(o.stores, id) }) {
			continue
		}
		w := want{kind: plan.VerifyAll, subject: string(id), site: in.siteOf(id, r.Primary), stores: []estate.StoreID{id}, because: []string{lacks[0].Text}}
		for _, m := range in.Estate.Stores[id].MemberIDs() {
			w.anew = latest(w.anew, in.reached(in.siteOf(id, m), situation.AgentTarget(in.Estate, in.Estate.Stores[id].Members[m].Host)),
				in.Now.Things[situation.DatabaseTarget(in.Estate, id, m)].Since)
		}
		out = append(out, w)
	}
	return out
}

// owed says that a comparison of a store is haechi's to make.
func (in Input) owed(id estate.StoreID) bool {
	return slices.ContainsFunc(in.Open, func(o OpenRun) bool {
		return o.open() && o.Kind == plan.Recover || (returns(o.Kind) || o.Kind == plan.VerifyAll) && slices.Contains(o.Stores, id)
	})
}

// busy says that a run is about a store, or was a moment ago. One that does nothing but ask whether to compare it once more
// is not: nothing stands in the way any more, so nobody has to answer.
func (in Input) busy(o OpenRun, id estate.StoreID) bool {
	return in.concerns(o, id) && (o.open() || in.Now.At.Sub(o.Closed) < follow) && !in.asksToCompare(o, id)
}

func (in Input) asksToCompare(o OpenRun, id estate.StoreID) bool {
	return in.compares(o, id) && !o.Idle.IsZero() && in.Now.At.Sub(o.Idle) >= follow
}

// compared says that a run has just tried to compare a store, and that nobody has come back since; empty: none has. It is tried again after a while: what stood in its way may be over, such as a transaction that took long. One that
// a person has ended is not.
func (in Input) compared(o OpenRun, w want) string {
	if o.Kind != w.kind || o.Subject != w.subject || o.open() || o.Status == run.StatusTaken || o.Closed.Before(w.anew) {
		return ""
	}
	if o.Status == run.StatusUndone {
		return fmt.Sprintf("run %s, which compared them, was aborted: haechi verify %s begins again", o.ID, w.subject)
	}
	if in.Now.At.Sub(o.Closed) > rest {
		return ""
	}
	return fmt.Sprintf("run %s did not find that all hold the same: see haechi run show %s; it is tried again after %v, or by haechi verify %s", o.ID, o.ID, rest, w.subject)
}

// latest is the last of some times.
func latest(all ...time.Time) (out time.Time) {
	for _, t := range all {
		if t.After(out) {
			out = t
		}
	}
	return out
}
