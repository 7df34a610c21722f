package tower

import (
	"fmt"
	"slices"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/web"
)

// mayOrder refuses what people order while a person holds all acts, or while a run is open beside which nothing
// is ordered: one that moves stores or answers, and is over soon.
func mayOrder(s state.Snapshot, ask web.Ask) error {
	for _, h := range s.Holds {
		return &web.Refused{Code: web.Conflict, Why: fmt.Sprintf("%s holds all acts: %s", h.By, h.Why), Do: "haechi hold --release, once it is safe"}
	}
	for _, r := range s.OpenRuns() {
		if !long(r.Kind) || r.Subject == ask.Subject && r.Kind == ask.Kind && !outranks(ask.Kind) {
			return conflict(r, "is open")
		}
	}
	return nil
}

// long says whether a run of a kind may last for hours, with people waiting for other things meanwhile.
func long(k plan.Kind) bool {
	switch k {
	case plan.Recover, plan.BringBack, plan.VerifyAll, plan.Restore, plan.Reseat:
		return true
	}
	return false
}

// beside refuses a plan that touches what an open run is about: the same store, name, tower or site. Two runs
// would write the same record, each as it knows it. A run that only compares a store still keeps nobody from moving
// it, or from bringing a member back to it: takes are those whose place the plan's run takes.
func beside(s state.Snapshot, p plan.Plan) (takes []run.ID, err error) {
	for _, info := range s.OpenRuns() {
		r, err := run.Replay(s.Runs[info.ID])
		if err != nil {
			return nil, fmt.Errorf("run %s: %w", info.ID, err)
		}
		for _, step := range p.Steps {
			if _, compares := r.Compares(step.Component); compares && outranks(p.Kind) {
				takes = append(takes, info.ID)
			} else if about(r, step.Component) {
				return nil, conflict(info, "is about "+step.Component+" too")
			}
		}
		if info.Subject == p.Subject && !slices.Contains(takes, info.ID) {
			return nil, conflict(info, "is about "+p.Subject+" too")
		}
	}
	slices.Sort(takes)
	return slices.Compact(takes), nil
}

// outranks says of a kind that no comparison is waited for before it is done.
func outranks(k plan.Kind) bool {
	return k == plan.Evacuate || k == plan.Failover || k == plan.BringBack || k == plan.Uncount
}

// about says whether a run still has something to do with a component.
func about(r run.Run, component string) bool {
	for _, s := range r.Plan.Steps {
		if s.Component == component {
			return r.Settled(component).IsZero()
		}
	}
	return false
}

func conflict(r state.RunInfo, why string) error {
	return &web.Refused{Code: web.Conflict, Why: fmt.Sprintf("run %s (%s %s) %s", r.ID, r.Kind, r.Subject, why), Do: "wait for its end, or haechi run abort " + string(r.ID)}
}
