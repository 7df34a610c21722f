package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
)

// Config is what an Executor needs. All fields are required.
type Config struct {
	Tower   string // its name, for the journal
	Book    Book
	Drivers map[string]driver.Driver // by Step.Driver
	Now     func() time.Time
	Log     *slog.Logger
}

// Validate names everything that is missing.
func (c Config) Validate() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("executor: %s is required", what))
		}
	}
	need(c.Tower != "", "Tower")
	need(c.Book != nil, "Book")
	need(len(c.Drivers) > 0, "Drivers")
	need(c.Now != nil, "Now")
	need(c.Log != nil, "Log")
	return errors.Join(errs...)
}

// Executor opens and carries runs. Its methods may be called from any goroutine; each
// run is carried by one.
type Executor struct {
	Config

	opening sync.Mutex // epochs are handed out one run at a time

	mu       sync.Mutex
	fresh    map[run.ID]*carrier      // opened here and not carried yet
	carriers map[run.ID]*carrier      // carried now
	handing  map[run.ID]chan struct{} // opened or superseded now; closed when that is over
}

// New returns an executor.
func New(c Config) (*Executor, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Executor{Config: c, fresh: map[run.ID]*carrier{}, carriers: map[run.ID]*carrier{}, handing: map[run.ID]chan struct{}{}}, nil
}

// Opening is a run to be opened.
type Opening struct {
	Plan    plan.Plan
	Estate  estate.Estate // the version that it was planned with
	Version uint64        // of that estate
	By      string        // a person, where one asked for it
	Basis   int64         // see Change
	// Ask, when not empty, stops the run before its first step until People different
	// people have agreed.
	Ask    string
	People int
}

// Open accepts a plan as a run: it hands out an epoch for each store that the plan
// promotes, and journals the plan with the begin of its first steps in one append. Call Carry
// next.
func (x *Executor) Open(ctx context.Context, term uint64, o Opening) (run.ID, error) {
	x.opening.Lock()
	defer x.opening.Unlock()
	c, err := x.prepare(ctx, term, o)
	if err != nil {
		return "", fmt.Errorf("open %s %s: %w", o.Plan.Kind, o.Plan.Subject, err)
	}
	id := c.r.ID // from its publication on the run belongs to whoever carries it
	if err := x.publish(ctx, c); err != nil {
		return "", fmt.Errorf("open %s %s: %w", o.Plan.Kind, o.Plan.Subject, err)
	}
	return id, nil
}

// prepare makes the carrier of a new run with its first events pending.
func (x *Executor) prepare(ctx context.Context, term uint64, o Opening) (*carrier, error) {
	id, err := x.Book.NewID(ctx)
	if err != nil {
		return nil, fmt.Errorf("new run: %w", err)
	}
	c := x.carrier(term, o.Estate)
	c.change.Basis = o.Basis
	epochs, err := c.epochs(ctx, o.Plan)
	if err != nil {
		return nil, err
	}
	c.intent(o.Plan, situation.Draining)
	c.opened = id
	if err := c.note(run.Event{Kind: run.Opened, By: o.By, Plan: &o.Plan, Estate: o.Version, Epochs: epochs}); err != nil {
		return nil, err
	}
	if o.Ask != "" {
		if err := c.note(run.Event{Kind: run.Asked, Why: o.Ask, Facts: people(o.People, false)}); err != nil {
			return nil, err
		}
	}
	return c, c.decide()
}

// epochs hands out the next epoch of each store that the plan promotes, and reads the
// records on the way.
func (c *carrier) epochs(ctx context.Context, p plan.Plan) (map[string]uint64, error) {
	out := map[string]uint64{}
	if err := c.readStores(ctx, p); err != nil {
		return nil, err
	}
	for _, s := range p.Steps {
		id := estate.StoreID(s.Component)
		if rec, ok := c.stores[id]; ok && raises(s.Verb) {
			rec.Next = max(rec.Next, rec.Epoch) + 1
			out[s.Component] = rec.Next
			c.stores[id] = rec
			set(&c.change.Next, id, rec.Next)
		}
	}
	return out, nil
}

// raises says that a verb brings its store under a new epoch.
func raises(v plan.Verb) bool { return v == plan.Promote || v == plan.Adopt }

// set puts a value into a map that may not exist yet.
func set[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}

// publish writes what a new run begins with, and keeps its carrier for Carry. Others see the run as soon as it is
// written, and whoever carries it then has to find this carrier: one that came later would claim the run, and this one,
// left over, would begin it once more when that has closed it.
func (x *Executor) publish(ctx context.Context, c *carrier) error {
	over, err := x.hand([]run.ID{c.r.ID})
	if err != nil {
		return err
	}
	defer over()
	if err := c.flush(ctx); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fresh[c.r.ID] = c
	return nil
}

// Carry drives a run until it closes or is handed over, which is nil, or until ctx ends
// or the tower is deposed, which is an error. It waits for everything that it started. A
// run that another tower drove before is claimed under term and goes on from its log.
func (x *Executor) Carry(ctx context.Context, id run.ID, term uint64) error {
	if err := x.afterHandover(ctx, id); err != nil {
		return fmt.Errorf("carry %s: %w", id, err)
	}
	c, err := x.take(ctx, id, term)
	if err != nil {
		return fmt.Errorf("carry %s: %w", id, err)
	}
	defer x.release(c)
	err = c.carry(ctx)
	if err != nil && !errors.Is(err, errHandedOver) {
		return fmt.Errorf("carry %s: %w", id, err)
	}
	return nil
}

// afterHandover waits while a run is being opened or superseded. Until its successor is open a run looks open, and
// whoever claimed it then would undo what the successor counts on.
func (x *Executor) afterHandover(ctx context.Context, id run.ID) error {
	x.mu.Lock()
	over, handing := x.handing[id]
	x.mu.Unlock()
	if !handing {
		return nil
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// take returns the carrier of a run and registers it: the one that Open made, or one
// that is read from the Book.
func (x *Executor) take(ctx context.Context, id run.ID, term uint64) (*carrier, error) {
	x.mu.Lock()
	c, ok := x.fresh[id]
	delete(x.fresh, id)
	_, carried := x.carriers[id]
	x.mu.Unlock()
	if carried {
		return nil, errors.New("it is carried already")
	}
	if !ok || c.term != term {
		var err error
		if c, err = x.load(ctx, id, term); err != nil {
			return nil, err
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, carried := x.carriers[id]; carried {
		return nil, errors.New("it is carried already")
	}
	x.carriers[id] = c
	return c, nil
}

// load reads a run and claims it under term.
func (x *Executor) load(ctx context.Context, id run.ID, term uint64) (*carrier, error) {
	events, err := x.Book.Load(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	r, err := run.Replay(events)
	if err != nil {
		return nil, err
	}
	c := x.carrier(term, estate.Estate{})
	c.r = r
	if r.Closed != "" {
		return c, nil
	}
	if err := r.Plan.Carried(); err != nil {
		return nil, err
	}
	if c.estate, err = x.Book.Estate(ctx, r.Estate); err != nil {
		return nil, fmt.Errorf("estate version %d: %w", r.Estate, err)
	}
	if err := c.readStores(ctx, r.Plan); err != nil {
		return nil, err
	}
	return c, c.note(run.Event{Kind: run.Claimed})
}

// release forgets a carrier and tells those who still want something of it.
func (x *Executor) release(c *carrier) {
	x.mu.Lock()
	delete(x.carriers, c.r.ID)
	x.mu.Unlock()
	close(c.gone)
}

// Request is what a person wants of a run: Paused, Resumed, Approved or Aborted.
type Request struct {
	Kind run.EventKind
	Step int    // of Approved: which question; 0 means all
	By   string // the person
	Why  string
}

// Tell puts a person's request to a run that is carried here. It returns when the request
// is journaled, or with the reason why it cannot be.
func (x *Executor) Tell(ctx context.Context, id run.ID, q Request) error {
	switch q.Kind {
	case run.Paused, run.Resumed, run.Approved, run.Aborted:
	default:
		return fmt.Errorf("tell %s: %q is not for persons to say", id, q.Kind)
	}
	ev := run.Event{Kind: q.Kind, Step: q.Step, By: q.By, Why: q.Why}
	if _, err := x.send(ctx, id, request{event: ev, answer: make(chan error, 1)}); err != nil {
		return fmt.Errorf("tell %s: %w", id, err)
	}
	return nil
}

// send hands a request to the goroutine that carries the run and waits for its answer.
// The channel closes when that goroutine leaves the run.
func (x *Executor) send(ctx context.Context, id run.ID, q request) (<-chan struct{}, error) {
	x.mu.Lock()
	c, ok := x.carriers[id]
	x.mu.Unlock()
	if !ok {
		return nil, ErrNotCarried
	}
	select {
	case c.requests <- q:
	case <-c.gone:
		return nil, ErrNotCarried
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case err := <-q.answer:
		return c.gone, err
	case <-c.gone:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select { // it may have answered on its way out
	case err := <-q.answer:
		return c.gone, err
	default:
		return nil, ErrNotCarried
	}
}
