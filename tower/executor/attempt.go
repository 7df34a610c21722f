package executor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
)

const (
	// lookLimit bounds a look, all its repetitions together.
	lookLimit = 3 * time.Second
	// undoLeast is the least that an undo is given: what holds writes must come off even
	// where the step itself had less time.
	undoLeast = 5 * time.Second
	// handoverGrace is how long a promotion in flight may go on when another run waits.
	handoverGrace = 2 * time.Second
)

// result is what an attempt came to.
type result struct {
	step int
	kind run.CommandKind
	driver.Result
	err  error
	at   error // why its context ended, if it did
	took time.Duration
}

// progress is the kind of a result that is no end: see [driver.Task.Tell].
const progress run.CommandKind = "progress"

// start starts what was queued. Each attempt sends exactly one result.
func (c *carrier) start(ctx context.Context) {
	for _, a := range c.queue {
		ctx, cancel := context.WithCancelCause(ctx)
		c.flight[a.step.ID] = &attempt{kind: a.kind, cancel: cancel}
		t, left := c.task(a.step), c.left(a)
		began := c.x.Now()
		t.Tell = func(f run.Facts, note string) {
			select {
			case c.results <- result{step: a.step.ID, kind: progress, Result: driver.Result{Facts: f, Note: note}}:
			case <-ctx.Done():
			}
		}
		go func() {
			defer cancel(nil)
			ctx, stop := context.WithTimeoutCause(ctx, left, fmt.Errorf("took longer than its limit of %v", left))
			defer stop()
			res, err := c.x.attempt(ctx, a, t)
			c.results <- result{a.step.ID, a.kind, res, err, context.Cause(ctx), c.x.Now().Sub(began)}
		}()
	}
	c.queue = nil
}

// left is how much time an attempt has.
func (c *carrier) left(a act) time.Duration {
	limit := time.Duration(a.step.Limit)
	switch {
	case a.kind == run.UndoStep:
		return max(limit, undoLeast) + a.wait
	case c.r.Superseding():
		return c.grace(a.step)
	case a.kind == run.Look:
		return lookLimit
	}
	return c.r.Left(a.step.ID)
}

// task is what the driver is told.
func (c *carrier) task(s plan.Step) driver.Task {
	return driver.Task{Run: c.r.ID, Step: s, Term: c.term, Epoch: c.r.Epochs[s.Component],
		Facts: c.r.Facts(s.Component), Estate: c.estate, Store: c.stores[estate.StoreID(s.Component)],
		Salvage: c.salvages[s.Args[plan.ArgSalvage]]}
}

// attempt asks the driver. A panic in a driver is not caught: it is our bug, and the run
// goes on in the next tower from its log.
func (x *Executor) attempt(ctx context.Context, a act, t driver.Task) (driver.Result, error) {
	d, ok := x.Drivers[a.step.Driver]
	if !ok {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("this tower has no driver %q", a.step.Driver)
	}
	if !sleep(ctx, a.wait) {
		return driver.Result{}, context.Cause(ctx)
	}
	switch a.kind {
	case run.Do:
		return d.Do(ctx, t)
	case run.UndoStep:
		return d.Undo(ctx, t)
	}
	return look(ctx, d, t)
}

// look repeats until the outcome is known or the time is over.
func look(ctx context.Context, d driver.Driver, t driver.Task) (driver.Result, error) {
	for try := 1; ; try++ {
		res, err := d.Look(ctx, t)
		if res.Outcome != run.Unknown || ctx.Err() != nil {
			return res, err
		}
		if !sleep(ctx, pauseBefore(try)) {
			return res, errors.Join(err, context.Cause(ctx))
		}
	}
}

// sleep waits, and says whether ctx lived through it.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ended notes what an attempt came to.
func (c *carrier) ended(res result) error {
	if res.kind == progress {
		return c.progressed(res)
	}
	delete(c.flight, res.step)
	s := c.r.Plan.Steps[res.step-1]
	ev := run.Event{Kind: run.Ended, Step: res.step, Outcome: res.Outcome, Facts: res.Facts, Why: why(res), Took: estate.Duration(res.took)}
	switch {
	case res.kind == run.UndoStep:
		ev.Kind = run.UndoEnded
	case res.kind == run.Look && c.r.Steps[res.step-1].State != run.InDoubt, errors.Is(res.at, errCeased) && res.kind == run.Look:
		return nil // nobody asks any more
	case res.err != nil && res.Outcome == run.Done:
		ev.Outcome = run.Unknown // it contradicts itself
	}
	c.learn(s, ev, res)
	if err := c.note(ev); err != nil {
		return err
	}
	return c.question(s, res)
}

// progressed notes how far a step is that goes on, unless nobody asks any more.
func (c *carrier) progressed(res result) error {
	if c.r.Steps[res.step-1].State != run.Doing {
		return nil
	}
	return c.note(run.Event{Kind: run.Progressed, Step: res.step, Facts: res.Facts, Why: res.Note})
}

// why is what the journal says of an attempt.
func why(res result) string {
	switch {
	case res.err != nil && res.at != nil && !errors.Is(res.err, res.at):
		return fmt.Sprintf("%v (%v)", res.err, res.at)
	case res.err != nil:
		return res.err.Error()
	case res.Note == "" && res.kind == run.Look:
		return "looked"
	}
	return res.Note
}

// question puts the driver's question to a person, unless the step is done or being wound up.
func (c *carrier) question(s plan.Step, res result) error {
	state := c.r.Steps[s.ID-1].State
	if res.Ask == "" || res.kind == run.UndoStep || c.r.Superseding() || !slices.Contains([]run.StepState{run.InDoubt, run.Ready, run.Failed}, state) {
		return nil
	}
	n := 1
	if c.estate.Policy.AcceptDataLoss != estate.OnePerson {
		n = 2 // also where policy is silent, and "auto" is nothing that a loss can be
	}
	return c.note(run.Event{Kind: run.Asked, Step: s.ID, Why: res.Ask, Facts: people(n, true)})
}

// before writes down, with the begin of a step, what the step may weaken: a crash in the
// middle must not leave a weaker rule in force than the record says.
func (c *carrier) before(s plan.Step) {
	if s.Verb == plan.Announce {
		c.change.Answers = append(c.change.Answers, Answer{Name: estate.NameID(s.Component), Site: s.Site, Out: true, Part: true})
		return
	}
	id := estate.StoreID(s.Component)
	rec, ok := c.stores[id]
	if !ok {
		return
	}
	switch s.Verb {
	case plan.Alone:
		c.prior[s.ID] = rec
		rec.Alone, rec.LeastAny = true, 0
	case plan.Return: // it will be listed: one more that may help to acknowledge, and that counts once it surely is
		rec.Sync, rec.Former = slices.Clone(rec.Sync), slices.Clone(rec.Former)
		for _, m := range s.Members {
			id := estate.MemberID(m)
			if slices.Contains(rec.Sync, id) || id == rec.Primary {
				continue
			}
			rec.Sync = append(rec.Sync, id)
			if !slices.Contains(rec.Former, id) {
				rec.Former = append(rec.Former, id)
			}
		}
		slices.Sort(rec.Sync)
		slices.Sort(rec.Former)
	default:
		return
	}
	c.stores[id] = rec
	set(&c.change.Stores, id, rec)
}

// learn puts what a step changed into the records. A rule counts as weakened until the very act
// that was to weaken it is known not to have: a look sees only that it is not in force any more, or not yet.
func (c *carrier) learn(s plan.Step, ev run.Event, res result) {
	rec := res.Store
	if prior, ok := c.prior[s.ID]; ok && rec == nil && res.kind == run.Do && ev.Outcome == run.NotDone {
		rec = &prior
	}
	if id := estate.StoreID(s.Component); rec != nil {
		next := *rec
		next.Next = max(next.Next, c.stores[id].Next)
		c.stores[id] = next
		set(&c.change.Stores, id, next)
	}
	if res.Salvage != nil {
		c.salvages[res.Salvage.ID] = *res.Salvage
		set(&c.change.Salvages, res.Salvage.ID, *res.Salvage)
	}
	if ev.Outcome != run.Done {
		return
	}
	if a, ok := c.answer(s, ev.Kind == run.UndoEnded); ok {
		c.change.Answers = append(c.change.Answers, a)
	}
}

// answer is where a site's answers stand once a step of a name is done, or undone. They are back
// when the last stage is, and out when the first is taken back; in between they stay on their way.
func (c *carrier) answer(s plan.Step, undone bool) (Answer, bool) {
	a := Answer{Name: estate.NameID(s.Component), Site: s.Site, Out: undone}
	switch s.Verb {
	case plan.Withdraw:
		a.Out = !undone
		return a, true
	case plan.Announce:
	default:
		return a, false
	}
	for i, p := range c.r.Steps {
		other := c.r.Plan.Steps[i]
		if other.ID == s.ID || other.Verb != plan.Announce || other.Component != s.Component || other.Site != s.Site {
			continue
		}
		done, gone := p.State == run.IsDone, p.State == run.Waiting || p.State == run.Undone
		if undone && !gone || !undone && !done {
			return a, false
		}
	}
	return a, true
}

// intent notes what a run wants of its site when it opens.
func (c *carrier) intent(p plan.Plan, want situation.Intent) {
	if p.Kind == plan.Evacuate {
		set(&c.change.Intents, estate.SiteID(p.Subject), want)
	}
}

// closeIntent notes what is wanted of the site when the run closes.
func (c *carrier) closeIntent(why string) {
	site := estate.SiteID(c.r.Plan.Subject)
	done := c.r.DoneWith(why)
	switch {
	case c.r.Plan.Kind == plan.Evacuate && done:
		set(&c.change.Intents, site, situation.Drained)
	case c.r.Plan.Kind == plan.Evacuate, c.r.Plan.Kind == plan.Serve && done:
		set(&c.change.Intents, site, situation.Serving)
	}
}
