// Package executor drives runs in the world: it claims, journals before and after each
// act, orders drivers, and goes on where a dead tower stopped. What happens next is
// decided by core/run; this package owns the goroutines, the time limits and the waiting.
package executor

import (
	"context"
	"errors"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// What a Book and an Executor say that callers branch on.
var (
	// ErrDeposed: another tower drives under a higher term. Everything stops at once, and
	// nothing is journaled: what was in flight is in doubt for the next.
	ErrDeposed = errors.New("another tower drives")
	// ErrRefused: the Book will never take this append (a run that is closed, settings or a
	// record that changed since the decision). Trying again is no use.
	ErrRefused = errors.New("refused")
	// ErrNotCarried: this executor does not carry the run.
	ErrNotCarried = errors.New("the run is not carried here")
)

// Book is what an executor needs of the towers' records.
type Book interface {
	// NewID returns the ID of a run that nobody had before.
	NewID(ctx context.Context) (run.ID, error)
	// Append writes the events and the change in one transaction, only while term drives.
	// Events may belong to several runs; each carries its Run and its Seq, from 1 without
	// gaps, so that an append repeated after an error writes nothing twice and says nil. It returns
	// only once the events would survive the loss of this machine. Errors are ErrDeposed,
	// ErrRefused, or anything else, which means unknown: the same append is tried again.
	Append(ctx context.Context, term uint64, events []run.Event, c Change) error
	// Load returns a run's events in order, as of now, not of a moment ago.
	Load(ctx context.Context, id run.ID) ([]run.Event, error)
	// Store returns a store's record; the zero record where there is none. It has seen every
	// append that this process made.
	Store(ctx context.Context, id estate.StoreID) (situation.Store, error)
	// Salvage returns one by its ID; the zero value where there is none.
	Salvage(ctx context.Context, id string) (situation.Salvage, error)
	// Estate returns one version of the estate.
	Estate(ctx context.Context, version uint64) (estate.Estate, error)
}

// Change is what the towers' records become together with events.
type Change struct {
	// Stores replaces records. Next is kept by the Book: it never falls.
	Stores map[estate.StoreID]situation.Store
	// Was are the same records as they stood when this change was thought of, but for Next. A Book whose
	// record is another by now refuses the append, since what another run wrote would be lost.
	Was map[estate.StoreID]situation.Store
	// Next raises the highest epoch handed out, and leaves the rest of the record alone.
	Next    map[estate.StoreID]uint64
	Intents map[estate.SiteID]situation.Intent
	Answers []Answer
	// Salvages replaces them, by ID.
	Salvages map[string]situation.Salvage
	// Basis is the caller's mark of the settings that a new run was decided on (see Opening);
	// 0: none. A Book that knows that people changed them since refuses the append.
	Basis int64
}

// Answer says that a site's answers left a name, or came back.
type Answer struct {
	Name estate.NameID
	Site estate.SiteID
	Out  bool // of what resolvers may be told everywhere
	// Part, with Out: they are on their way back, so that some name servers may give them.
	Part bool
}

// Empty says that nothing changes.
func (c Change) Empty() bool {
	return len(c.Stores)+len(c.Next)+len(c.Intents)+len(c.Answers)+len(c.Salvages) == 0
}
