// Package driver is what the executor asks of those who speak to real things.
// Each engine has its own package below; drivertest is the contract.
package driver

import (
	"context"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// Driver does the verbs of one kind of component. Every method may be called
// again with the same task, also by another process, and then must not act twice.
// A refusal of an order (old term, old epoch, not on the list) is NotDone with an error.
type Driver interface {
	// Look says whether the task's effect is in the world already, without changing anything.
	Look(ctx context.Context, t Task) (Result, error)
	// Do brings the effect about. An error with Unknown means that it may have happened.
	Do(ctx context.Context, t Task) (Result, error)
	// Undo takes back what Do did, as far as the verb can be undone.
	Undo(ctx context.Context, t Task) (Result, error)
}

// Mandate is for how long a member that goes on alone may do so unless the tower that drives
// renews it. It is renewed four times as often, so that the next tower to drive has the time to.
const Mandate = 5 * time.Second

// Renewer is a driver whose alone is a mandate that ends by itself.
type Renewer interface {
	// Renew gives the mandate of the task's store anew, for [Mandate] from now on. It never
	// makes a member alone that is not.
	Renew(ctx context.Context, t Task) error
}

// Task is one step with what is needed to do it.
type Task struct {
	Run    run.ID
	Step   plan.Step
	Term   uint64          // of the tower that drives; targets refuse lower ones
	Epoch  uint64          // of the store, from the run's Opened event; 0 where the step promotes nothing
	Facts  run.Facts       // what earlier steps of the same component learned
	Estate estate.Estate   // the version that the run pins
	Store  situation.Store // what the towers know of the store; zero for names
	// Salvage is the one that the step's argument names; zero where it names none.
	Salvage situation.Salvage
	// Tell notes in the journal, in the middle of a long Do, what it has come to; Facts have that if the
	// step is done again. nil: nobody listens.
	Tell func(f run.Facts, note string)
}

// Result is what an attempt came to.
type Result struct {
	Outcome run.Outcome
	Facts   run.Facts // for later steps and for people
	Note    string    // one sentence for the journal
	Ask     string    // set when a person has to decide: what is at stake and who may
	// Store is the store's record as it is from now on; nil where it did not change. The
	// executor writes it in the same append as the end of the step, whatever the outcome, so
	// a step may also use it to write down a weaker rule before the next step brings it about.
	// Next is kept by the executor: it never falls.
	Store *situation.Store
	// Salvage is one that the step made or changed; it is written in the same way.
	Salvage *situation.Salvage
}
