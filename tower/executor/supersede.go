package executor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/run"
)

// Successor is the run that takes over from others.
type Successor struct {
	Takes []string        // components that it takes over as they are
	Lost  []estate.SiteID // that it takes for lost
	// Plan makes its plan, once the others are wound up.
	Plan func(context.Context) (Opening, error)
}

// Supersede winds the old runs up and opens the run that takes over, in the append that
// closes them. Stores that it takes stay as they are (a seal is sealed again by the
// successor, at no cost); other stores that the old runs sealed or halted are let go. Answers
// that left a name stay out: to bring them back would keep the successor waiting. A promotion
// that has begun is always ended first, for at most a few seconds, or given up at once where the
// promoted one stands in a lost site: only then is it known who is primary, as far as it can
// be. So the successor's plan is made from the records as they are after that, and not before.
//
// Where that fails, what was left for the successor is undone too and the old runs close.
func (x *Executor) Supersede(ctx context.Context, term uint64, old []run.ID, next Successor) (run.ID, error) {
	over, err := x.hand(old)
	if err != nil {
		return "", fmt.Errorf("supersede: %w", err)
	}
	defer over()
	var wound []*carrier
	for _, id := range old {
		c, err := x.windUp(ctx, id, term, next)
		if err != nil {
			return "", errors.Join(fmt.Errorf("supersede %s: %w", id, err), x.letGo(ctx, wound))
		}
		if c != nil {
			wound = append(wound, c)
		}
	}
	id, err := x.replace(ctx, term, wound, next.Plan)
	if err != nil {
		return "", errors.Join(fmt.Errorf("supersede %v: %w", old, err), x.letGo(ctx, wound))
	}
	return id, nil
}

// hand marks runs as being opened or superseded; over ends that.
func (x *Executor) hand(old []run.ID) (over func(), err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range old {
		if _, ok := x.handing[id]; ok {
			return nil, fmt.Errorf("%s is being opened or superseded already", id)
		}
	}
	done := make(chan struct{})
	for _, id := range old {
		x.handing[id] = done
	}
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		for _, id := range old {
			delete(x.handing, id)
		}
		close(done)
	}, nil
}

// windUp brings a run to where only its Closed event is missing, and returns its carrier;
// nil where the run had closed already.
func (x *Executor) windUp(ctx context.Context, id run.ID, term uint64, next Successor) (*carrier, error) {
	q := request{answer: make(chan error, 1), handover: make(chan *carrier, 1), lost: next.Lost,
		event: run.Event{Kind: run.Superseded, Facts: run.Facts{run.FactTakes: strings.Join(next.Takes, ",")}}}
	gone, err := x.send(ctx, id, q)
	if errors.Is(err, ErrNotCarried) {
		return x.windUpHere(ctx, id, term, q)
	}
	if err != nil {
		return nil, err
	}
	select {
	case c := <-q.handover:
		return c, nil
	case <-gone:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case c := <-q.handover:
		return c, nil
	default:
		return nil, fmt.Errorf("%w any more", ErrNotCarried)
	}
}

// windUpHere carries a run that nobody carries, for as long as winding it up takes.
func (x *Executor) windUpHere(ctx context.Context, id run.ID, term uint64, q request) (*carrier, error) {
	c, err := x.take(ctx, id, term)
	if err != nil {
		return nil, err
	}
	defer x.release(c)
	if c.r.Closed != "" {
		return nil, nil
	}
	c.requested(q)
	if err := c.carry(ctx); !errors.Is(err, errHandedOver) {
		return nil, err // nil where it closed by itself
	}
	return <-q.handover, nil
}

// replace closes the wound-up runs and opens their successor, all or nothing.
func (x *Executor) replace(ctx context.Context, term uint64, wound []*carrier, plan func(context.Context) (Opening, error)) (run.ID, error) {
	o, err := plan(ctx)
	if err != nil {
		return "", err
	}
	x.opening.Lock()
	defer x.opening.Unlock()
	n, err := x.prepare(ctx, term, o)
	if err != nil {
		return "", err
	}
	for _, w := range wound {
		last := w.again() // w itself stays open, should this append be refused
		if err := last.decide(); err != nil {
			return "", err
		}
		n.pending = append(last.pending, n.pending...)
		for site, want := range last.change.Intents {
			if _, ok := n.change.Intents[site]; !ok {
				set(&n.change.Intents, site, want)
			}
		}
	}
	if err := x.publish(ctx, n); err != nil {
		return "", err
	}
	return n.r.ID, nil
}

// again is a new carrier of the same run, where that one has nothing in flight.
func (c *carrier) again() *carrier {
	next := c.x.carrier(c.term, c.estate)
	next.r, next.stores, next.agreed, next.salvages = c.r, maps.Clone(c.stores), maps.Clone(c.agreed), maps.Clone(c.salvages)
	return next
}

// letGo undoes what was left for a successor that does not come, and closes the runs.
func (x *Executor) letGo(ctx context.Context, wound []*carrier) error {
	var errs []error
	for _, w := range wound {
		c := w.again()
		err := c.note(run.Event{Kind: run.Superseded, Why: "no successor could be opened"})
		if err == nil {
			err = c.carry(ctx)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.r.ID, err))
		}
	}
	return errors.Join(errs...)
}
