package testkit

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
)

// Compared is when members were found to hold the same, wherever a step compares them.
var Compared = time.Unix(1700000000, 0).UTC()

// World is what the steps of runs have changed: a driver over a model that remembers
// each act and each look. Like agents it refuses orders of a lower term than it has
// seen, and like agents it does nothing to what is so already.
type World struct {
	// Before, when set, is called before an act changes anything; an error is the act's end.
	Before func(ctx context.Context, verb string, t driver.Task) (driver.Result, error)

	mu   sync.Mutex
	is   map[string]bool // "seal talk-db" is in force
	term uint64
	log  []string
}

var _ driver.Driver = (*World)(nil)

// NewWorld returns a world in which nothing was done.
func NewWorld() *World { return &World{is: map[string]bool{}} }

func key(t driver.Task) string {
	k := fmt.Sprintf("%s %s", t.Step.Verb, t.Step.Component)
	if t.Step.Driver == plan.DNS && t.Step.Site != "" {
		k += fmt.Sprintf(" @%s", t.Step.Site)
	}
	return k
}

// Look implements driver.Driver.
func (w *World) Look(_ context.Context, t driver.Task) (driver.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, "look "+key(t))
	if w.is[key(t)] {
		return w.result(t), nil
	}
	return driver.Result{Outcome: run.NotDone}, nil
}

// Do implements driver.Driver.
func (w *World) Do(ctx context.Context, t driver.Task) (driver.Result, error) {
	if w.Before != nil {
		if res, err := w.Before(ctx, string(t.Step.Verb), t); err != nil || res.Outcome != run.Unknown {
			return res, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.Term < w.term {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("old-term: %d, seen %d", t.Term, w.term)
	}
	w.term = t.Term
	w.log = append(w.log, "do "+key(t))
	w.is[key(t)] = true
	return w.result(t), nil
}

// Undo implements driver.Driver.
func (w *World) Undo(ctx context.Context, t driver.Task) (driver.Result, error) {
	if w.Before != nil {
		if res, err := w.Before(ctx, string(t.Step.Undo), t); err != nil || res.Outcome != run.Unknown {
			return res, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.term = max(w.term, t.Term)
	w.log = append(w.log, "undo "+key(t))
	w.is[key(t)] = false
	return driver.Result{Outcome: run.Done}, nil
}

// result is what a done step says, as the postgres driver would.
func (w *World) result(t driver.Task) driver.Result {
	res := driver.Result{Outcome: run.Done}
	switch t.Step.Verb {
	case plan.Halt:
		res.Facts = run.Facts{"halted": string(t.Store.Primary)}
	case plan.Choose:
		res.Facts = run.Facts{"chosen": t.Step.Members[0]}
	case plan.Promote:
		to := estate.MemberID(t.Facts["chosen"])
		next := situation.Store{Epoch: t.Epoch, Primary: to, Any: t.Store.Any, LeastAny: t.Store.Any, Verified: t.Store.Verified, Former: []estate.MemberID{t.Store.Primary}}
		if t.Store.Epoch == t.Epoch { // it had become the primary already
			next = t.Store
		}
		for _, m := range t.Store.Sync {
			if m != to {
				next.Sync = append(next.Sync, m)
			}
		}
		next.Sync = slices.Compact(next.Sync)
		res.Store = &next
	case plan.Return: // the executor has put it into the list before
		next := t.Store
		next.Former = slices.DeleteFunc(slices.Clone(next.Former), func(m estate.MemberID) bool { return string(m) == t.Step.Members[0] })
		if t.Facts["halted"] != t.Step.Members[0] {
			next.Verified = time.Time{}
		}
		res.Store = &next
	case plan.Verify:
		next := t.Store
		next.Verified = Compared
		res.Store = &next
	}
	return res
}

// Is says whether an effect, such as "seal talk-db", is in force.
func (w *World) Is(effect string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.is[effect]
}

// Log is what was done, looked at and undone, in order.
func (w *World) Log() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.log)
}

// Effects are what is in force, sorted.
func (w *World) Effects() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for k, on := range w.is {
		if on {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}
