// Package towers gives towers their seats: the one verb seat, for the tower that drives. A tower that comes
// in is a learner before it is a voter: it gets its vote when it holds what the others hold.
package towers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/seats"
	"github.com/haechi/haechi/driver"
)

// every is how often it is looked whether a tower has come further.
const every = 200 * time.Millisecond

// ErrBehind: a learner does not hold yet what the others hold.
var ErrBehind = errors.New("it has not caught up yet")

// Seat is one member of the towers' cluster.
type Seat struct {
	ID      uint64
	Tower   estate.TowerID
	Learner bool
	Started bool // it was more than invited
}

// Cluster is the towers' own. Every method asks a majority, and may be called again.
type Cluster interface {
	Seats(ctx context.Context) ([]Seat, error)
	Invite(ctx context.Context, tower estate.TowerID) error
	// Promote fails with [ErrBehind] as long as the learner has not caught up.
	Promote(ctx context.Context, s Seat) error
	Remove(ctx context.Context, s Seat) error
}

// Config is what the driver needs. All fields are required.
type Config struct {
	Cluster Cluster
	// Drives fails unless the tower that asks drives under the term, by the word of a majority.
	Drives func(ctx context.Context, term uint64) error
	// Waits asks a tower whether it has no data and waits for a seat.
	Waits func(ctx context.Context, e estate.Estate, tower estate.TowerID) (bool, error)
}

// Driver implements driver.Driver for the verb seat.
type Driver struct{ Config }

var _ driver.Driver = Driver{}

// New returns a driver.
func New(c Config) Driver { return Driver{c} }

// Look says whether the tower has the seat that the step wants.
func (d Driver) Look(ctx context.Context, t driver.Task) (driver.Result, error) {
	do, err := d.next(ctx, t)
	switch {
	case err != nil:
		return driver.Result{}, err
	case do == nil:
		return driver.Result{Outcome: run.Done}, nil
	}
	return driver.Result{Outcome: run.NotDone}, nil
}

// Do changes one seat. It goes on until the tower has it, or ctx ends: what is done by then stays, and the
// next attempt goes on from there.
func (d Driver) Do(ctx context.Context, t driver.Task) (driver.Result, error) {
	if err := d.mayAct(ctx, t); err != nil {
		return driver.Result{Outcome: refusal(ctx)}, err
	}
	var last error
	for {
		do, err := d.next(ctx, t)
		if err == nil && do == nil {
			return driver.Result{Outcome: run.Done, Note: fmt.Sprintf("%s is %s", t.Step.Component, words[wanted(t)])}, nil
		}
		if err == nil {
			if err = d.mayAct(ctx, t); err == nil {
				err = do(ctx)
			}
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		if !pause(ctx) {
			return driver.Result{}, fmt.Errorf("seat %s: %w (last: %v)", t.Step.Component, context.Cause(ctx), last)
		}
	}
}

// Undo is not needed by any plan: a seat that was given does no harm.
func (d Driver) Undo(_ context.Context, t driver.Task) (driver.Result, error) {
	return driver.Result{Outcome: run.NotDone}, fmt.Errorf("seat %s: a seat is not taken back; another run changes it", t.Step.Component)
}

var words = map[seats.State]string{seats.Voter: "a voter", seats.Learner: "a learner", seats.Outside: "no member any more"}

func wanted(t driver.Task) seats.State { return seats.State(t.Step.Args[plan.ArgTo]) }

// mayAct refuses what this driver does not know, and the orders of a tower that does not drive any more.
func (d Driver) mayAct(ctx context.Context, t driver.Task) error {
	if _, known := words[wanted(t)]; t.Step.Verb != plan.Seat || !known {
		return fmt.Errorf("%s %s to %q: this driver only makes towers voters, learners or outsiders", t.Step.Verb, t.Step.Component, wanted(t))
	}
	if err := d.Drives(ctx, t.Term); err != nil {
		return fmt.Errorf("seat %s: %w", t.Step.Component, err)
	}
	return nil
}

// refusal is the outcome of what was not begun: not known where nobody answered in time.
func refusal(ctx context.Context) run.Outcome {
	if ctx.Err() != nil {
		return run.Unknown
	}
	return run.NotDone
}

// next is the one act that brings the tower nearer to its seat; nil: it has it.
func (d Driver) next(ctx context.Context, t driver.Task) (func(context.Context) error, error) {
	all, err := d.Cluster.Seats(ctx)
	if err != nil {
		return nil, err
	}
	tower, to := estate.TowerID(t.Step.Component), wanted(t)
	i := slices.IndexFunc(all, func(s Seat) bool { return s.Tower == tower })
	remove := func(ctx context.Context) error { return d.Cluster.Remove(ctx, all[i]) }
	switch {
	case to == seats.Outside && i < 0:
		return nil, nil
	case to == seats.Outside:
		return remove, nil
	case i < 0:
		return func(ctx context.Context) error { return d.Cluster.Invite(ctx, tower) }, nil
	case !all[i].Started:
		return func(context.Context) error { return fmt.Errorf("%s was invited and has not started", tower) }, nil
	}
	waits, err := d.Waits(ctx, t.Estate, tower)
	switch {
	case err != nil:
		return nil, err
	case waits:
		return remove, nil // it has lost its data, and comes back as another one
	case to == seats.Learner && !all[i].Learner:
		return remove, nil // a vote is not taken alone: it leaves, and comes back without
	case to == seats.Voter && all[i].Learner:
		return func(ctx context.Context) error { return d.Cluster.Promote(ctx, all[i]) }, nil
	}
	return nil, nil
}

// pause waits a little, and says whether ctx lived through it.
func pause(ctx context.Context) bool {
	t := time.NewTimer(every)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
