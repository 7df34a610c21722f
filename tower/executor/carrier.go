package executor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// Why an attempt's context ended.
var (
	errCeased     = errors.New("no longer wanted")
	errHandedOver = errors.New("handed over to the run that takes over")
)

// carrier is one run being carried by one goroutine, which alone touches it, but for the
// channels. Attempts run in goroutines of their own, speak over results, and are waited for.
type carrier struct {
	x      *Executor
	term   uint64
	estate estate.Estate
	stores map[estate.StoreID]situation.Store // records of the plan's stores, as this run leaves them
	agreed map[estate.StoreID]situation.Store // the same as they were read, or written by this run last
	prior  map[int]situation.Store            // what a record was before a step that may weaken it
	// salvages are those that the plan's steps name, or have made.
	salvages map[string]situation.Salvage
	r        run.Run
	opened   run.ID // the ID of a run whose Opened event is not noted yet

	pending []run.Event // applied to r, to be written with the next append
	change  Change      // to be written with them
	queue   []act       // to be started after that append

	flight   map[int]*attempt // by step
	results  chan result
	requests chan request
	gone     chan struct{} // closed when nobody carries it any more

	handover *request // a successor waits for the run to be wound up
	timers   []*time.Timer
	answers  []func() // to be given once what they answer is written
}

// act is something to start once its begin is on record.
type act struct {
	kind run.CommandKind
	step plan.Step
	wait time.Duration // before it, so that tries are not all spent at once
}

// attempt is an act in flight.
type attempt struct {
	kind   run.CommandKind
	cancel context.CancelCauseFunc
}

// request is something that others want of the run.
type request struct {
	event  run.Event
	answer chan error
	// handover, for Superseded: the run is wound up, but left for the caller to close in
	// the append that opens its successor. The carrier is sent when it has come so far.
	handover chan *carrier
	lost     []estate.SiteID // that the successor takes for lost
}

// carrier returns an empty one.
func (x *Executor) carrier(term uint64, e estate.Estate) *carrier {
	return &carrier{x: x, term: term, estate: e, stores: map[estate.StoreID]situation.Store{}, agreed: map[estate.StoreID]situation.Store{}, prior: map[int]situation.Store{}, salvages: map[string]situation.Salvage{},
		flight: map[int]*attempt{}, results: make(chan result), requests: make(chan request), gone: make(chan struct{})}
}

// readStores reads the records of the plan's stores, and the salvages that its steps name.
func (c *carrier) readStores(ctx context.Context, p plan.Plan) error {
	for _, s := range p.Steps {
		if name := s.Args[plan.ArgSalvage]; name != "" {
			one, err := c.x.Book.Salvage(ctx, name)
			if err != nil {
				return fmt.Errorf("salvage %s: %w", name, err)
			}
			c.salvages[name] = one
		}
		id := estate.StoreID(s.Component)
		if _, ok := c.estate.Stores[id]; !ok {
			continue
		}
		if _, ok := c.stores[id]; ok {
			continue
		}
		rec, err := c.x.Book.Store(ctx, id)
		if err != nil {
			return fmt.Errorf("record of %s: %w", id, err)
		}
		c.stores[id], c.agreed[id] = rec, rec
	}
	return nil
}

// note applies an event to the machine and puts it with what the next append writes.
func (c *carrier) note(ev run.Event) error {
	ev.Run, ev.Seq, ev.At = c.r.ID, c.r.Seq+1, c.x.Now()
	ev.Term, ev.Tower = c.term, c.x.Tower
	if ev.Run == "" {
		ev.Run = c.opened
	}
	next, err := c.r.Apply(ev)
	if err != nil {
		return err
	}
	c.r = next
	c.pending = append(c.pending, ev)
	return nil
}

// carry is the loop: ask the machine, write what began, do it, wait for something to end.
func (c *carrier) carry(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer c.drain(cancel)
	for {
		if err := c.decide(); err != nil {
			return err
		}
		if err := c.flush(ctx); err != nil {
			return err
		}
		c.start(ctx)
		if c.r.Closed != "" {
			return nil
		}
		if c.handedOver() {
			return errHandedOver
		}
		if err := c.wait(ctx); err != nil {
			return err
		}
	}
}

// wait takes what comes first, and everything else that is there already, so that steps
// which end together share an append.
func (c *carrier) wait(ctx context.Context) error {
	select {
	case res := <-c.results:
		if err := c.ended(res); err != nil {
			return err
		}
	case q := <-c.requests:
		c.requested(q)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for {
		select {
		case res := <-c.results:
			if err := c.ended(res); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// drain ends all attempts and waits for them. What they came to is not written: this
// carrier has no right to, or no wish to.
func (c *carrier) drain(cancel context.CancelCauseFunc) {
	cancel(errCeased)
	for _, t := range c.timers {
		t.Stop()
	}
	for _, a := range c.queue { // never started
		delete(c.flight, a.step.ID)
	}
	for len(c.flight) > 0 {
		if res := <-c.results; res.kind != progress {
			delete(c.flight, res.step)
		}
	}
}

// decide turns what the machine wants into events and acts, until it wants nothing new.
// It asks again after each event, since one may change what else is wanted.
func (c *carrier) decide() error {
	for {
		wanted := c.r.Next()
		c.dropLooks(wanted)
		noted := len(c.pending)
		for _, cmd := range wanted {
			if err := c.obey(cmd); err != nil {
				return err
			}
			if len(c.pending) > noted {
				break
			}
		}
		if len(c.pending) == noted || c.r.Closed != "" {
			return nil
		}
	}
}

// dropLooks ends looks that nobody wants any more.
func (c *carrier) dropLooks(wanted []run.Command) {
	still := map[int]bool{}
	for _, cmd := range wanted {
		still[cmd.Step] = still[cmd.Step] || cmd.Kind == run.Look
	}
	for id, a := range c.flight {
		if a.kind == run.Look && !still[id] {
			a.cancel(errCeased)
		}
	}
}

// obey takes one command. A step that has an attempt in flight waits for its end.
func (c *carrier) obey(cmd run.Command) error {
	if cmd.Kind == run.Close {
		return c.close(cmd.Why)
	}
	s, p := c.r.Plan.Steps[cmd.Step-1], c.r.Steps[cmd.Step-1]
	if cmd.Kind == run.AskPerson {
		return c.note(run.Event{Kind: run.Asked, Step: cmd.Step, Why: cmd.Why, Facts: people(cmd.People, false)})
	}
	if a, flying := c.flight[cmd.Step]; flying {
		if cmd.Kind == run.Cease && !rests(p) {
			a.cancel(errCeased)
		}
		return nil
	}
	switch cmd.Kind {
	case run.Do:
		c.before(s)
		c.queue = append(c.queue, act{run.Do, s, pauseBefore(p.Tries) + calm(s, p.Tries)})
		c.fly(s.ID, run.Do)
		return c.note(run.Event{Kind: run.Began, Step: s.ID, Why: fmt.Sprintf("%s %s (%s)", s.Verb, s.Component, s.Reason)})
	case run.UndoStep:
		c.queue = append(c.queue, act{run.UndoStep, s, pauseBefore(p.UndoTries)})
		c.fly(s.ID, run.UndoStep)
		return c.note(run.Event{Kind: run.UndoBegan, Step: s.ID, Why: fmt.Sprintf("%s %s", s.Undo, s.Component)})
	case run.Look:
		c.queue = append(c.queue, act{run.Look, s, 0})
		c.fly(s.ID, run.Look)
	}
	return nil
}

// fly marks a step as having an attempt, before it has a context.
func (c *carrier) fly(step int, kind run.CommandKind) {
	c.flight[step] = &attempt{kind: kind, cancel: func(error) {}}
}

// rests says that an attempt is not to be cut short.
func rests(p run.Progress) bool { return p.State != run.Doing }

// close ends the run, or leaves it to be closed by the append that opens its successor.
func (c *carrier) close(why string) error {
	if len(c.flight) > 0 || c.handover != nil {
		return nil // a look that was dropped has still to end
	}
	c.closeIntent(why)
	return c.note(run.Event{Kind: run.Closed, Why: why})
}

// handedOver gives the wound-up run to whoever supersedes it.
func (c *carrier) handedOver() bool {
	if c.handover == nil || len(c.flight) > 0 {
		return false
	}
	if next := c.r.Next(); len(next) != 1 || next[0].Kind != run.Close {
		return false
	}
	c.handover.handover <- c
	return true
}

// requested applies what others want; the answer is given once it is on record.
func (c *carrier) requested(q request) {
	if err := c.note(q.event); err != nil {
		q.answer <- fmt.Errorf("refused: %w", err)
		return
	}
	c.answers = append(c.answers, func() { q.answer <- nil })
	if q.handover != nil {
		c.handover = &q
		c.hurry()
	}
}

// hurry gives what may go on while a successor waits, a promotion, only so much longer.
func (c *carrier) hurry() {
	for id, a := range c.flight {
		c.timers = append(c.timers, time.AfterFunc(c.grace(c.r.Plan.Steps[id-1]), func() { a.cancel(errCeased) }))
	}
}

// grace is how long a step may still be waited for, or looked at, when another run waits: not at
// all where it acts on a site that is lost. What became of a promotion there is then not known,
// and the successor takes it so.
func (c *carrier) grace(s plan.Step) time.Duration {
	if c.handover != nil && slices.Contains(c.handover.lost, estate.SiteID(c.r.Facts(s.Component)[run.FactSite])) {
		return 0
	}
	return handoverGrace
}

// people says in an Asked event how many have to agree, and to what.
func people(n int, accepts bool) run.Facts {
	f := run.Facts{run.FactPeople: strconv.Itoa(max(n, 1))}
	if accepts {
		f[run.FactAccepts] = "loss"
	}
	return f
}

// Waits between two tries of a step, and between two attempts at an append.
const (
	firstPause = 50 * time.Millisecond
	longPause  = 2 * time.Second
)

// calmPause is by how much longer each next try of a step waits for which nobody does: its tries are spread so that the
// agent, or the server, that it needs may start anew meanwhile.
const calmPause = 3 * time.Second

// calm is what is added to the wait before a try.
func calm(s plan.Step, tries int) time.Duration {
	if s.Verb != plan.Return && !s.Verb.Rests() {
		return 0
	}
	return calmPause * time.Duration(min(tries, run.Tries))
}

// pauseBefore is the wait before a try; the first has none.
func pauseBefore(tries int) time.Duration {
	if tries == 0 {
		return 0
	}
	return min(firstPause<<min(tries-1, 10), longPause)
}

// flush writes what was noted. It tries until it knows that it is written, or that it
// never will be. With nothing noted it does nothing. Where another run has written one of the records
// since this carrier read it, the append is refused and the carrier ends: the next one reads the record
// anew, and looks what became of the step whose end was not written.
func (c *carrier) flush(ctx context.Context) error {
	for id := range c.change.Stores {
		set(&c.change.Was, id, c.agreed[id])
	}
	for try := 0; len(c.pending) > 0; try++ {
		err := c.x.Book.Append(ctx, c.term, c.pending, c.change)
		switch {
		case err == nil:
			maps.Copy(c.agreed, c.change.Stores)
			c.pending, c.change = nil, Change{}
		case errors.Is(err, ErrDeposed), errors.Is(err, ErrRefused), ctx.Err() != nil:
			return fmt.Errorf("append: %w", err)
		default:
			c.x.Log.Warn("append will be tried again", "run", c.r.ID, "err", err)
			select {
			case <-time.After(pauseBefore(try + 1)):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	for _, answer := range c.answers {
		answer()
	}
	c.answers = nil
	return nil
}
