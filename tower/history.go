package tower

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/history"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/web"
)

// mostRuns is how many runs a life is told from, the newest ones.
const mostRuns = 500

// History tells the life of a store from the runs that may have touched it. Those that the snapshot
// does not hold are asked of the quorum; without one the life says from where on it is told.
func (n *Node) History(ctx context.Context, id estate.StoreID) (history.Life, error) {
	b := n.beliefs()
	if _, ok := b.estate.Stores[id]; !ok {
		return history.Life{}, &web.Refused{Code: web.NotFound, Why: fmt.Sprintf("the estate has no store %q", id), Do: fmt.Sprintf("the stores are %v", b.estate.StoreIDs())}
	}
	var runs [][]run.Event
	gap := ""
	told := touching(b.snap, id)
	if len(told) > mostRuns {
		gap = fmt.Sprintf("only the last %d runs are told; haechi journal has all", mostRuns)
		told = told[len(told)-mostRuns:]
	}
	for _, r := range slices.Backward(told) {
		events, shown := b.snap.Runs[r]
		if !shown {
			var err error
			if events, err = n.store.Events(ctx, r); err != nil {
				gap = fmt.Sprintf("%s and the runs before it cannot be read: %v", r, err)
				break
			}
		}
		runs = append(runs, events)
	}
	life := history.Tell(id, b.snap.Stores[id], slices.Collect(maps.Values(b.snap.Salvages)), runs)
	life.Gap = gap
	return life, nil
}

// touching are the runs that may have touched a store, by their kind and subject, oldest first.
func touching(s state.Snapshot, id estate.StoreID) (out []run.ID) {
	for _, r := range sortedIDs(s.Index) {
		info := s.Index[r]
		switch info.Kind {
		case plan.LevelDNS, plan.CutUsers, plan.Serve, plan.Reseat:
		case plan.LoseSite, plan.Evacuate, plan.Recover, plan.Restore, plan.GiveUp:
			out = append(out, r) // its subject is a site, or a salvage
		default:
			if info.Subject == string(id) {
				out = append(out, r)
			}
		}
	}
	return out
}
