// Package testkit holds fakes and in-memory state for tests and the lab. Nothing that
// runs in production imports it.
package testkit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/executor"
)

// ErrCrash is what a Book says once it was told to crash: the process that uses it is
// taken for dead, and nothing that it appends is kept.
var ErrCrash = errors.New("crashed")

// Book keeps the towers' records in memory.
type Book struct {
	// AppendFunc, when set, is asked before each append; an error is returned to the caller,
	// and nothing is written. It runs without the lock.
	AppendFunc func(events []run.Event) error
	// AfterFunc, when set, is asked after each append that was written; an error is returned to
	// the caller all the same, as when the answer is lost or the process dies right then.
	AfterFunc func(events []run.Event) error
	// Estates are the versions that can be read.
	Estates map[uint64]estate.Estate

	mu       sync.Mutex
	term     uint64
	nextRun  int
	runs     map[run.ID][]run.Event
	all      []run.Event // of all runs, in the order of their appends
	appends  int
	stores   map[estate.StoreID]situation.Store
	intents  map[estate.SiteID]situation.Intent
	out      map[estate.NameID][]estate.SiteID
	part     map[estate.NameID][]estate.SiteID // of these, the ones on their way back
	salvages map[string]situation.Salvage
	left     int // events that are still kept; negative: all
	basis    int64
}

var _ executor.Book = (*Book)(nil)

// NewBook returns a book with one version of an estate and records of its stores.
func NewBook(e estate.Estate, stores map[estate.StoreID]situation.Store) *Book {
	return &Book{Estates: map[uint64]estate.Estate{1: e}, term: 1, left: -1, runs: map[run.ID][]run.Event{},
		stores: maps.Clone(stores), intents: map[estate.SiteID]situation.Intent{}, out: map[estate.NameID][]estate.SiteID{}, part: map[estate.NameID][]estate.SiteID{}, salvages: map[string]situation.Salvage{}}
}

// Depose lets another term drive from now on.
func (b *Book) Depose(term uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.term = term
}

// CrashAfter lets n more events be kept, and then no more until it is called again; a
// negative n keeps all.
func (b *Book) CrashAfter(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = n
}

// SetBasis says which settings are in force; an append that was decided on others is refused.
func (b *Book) SetBasis(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.basis = n
}

// NewID implements executor.Book.
func (b *Book) NewID(context.Context) (run.ID, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nextRun++
	return run.ID(fmt.Sprintf("r-%06d", b.nextRun)), nil
}

// Append implements executor.Book.
func (b *Book) Append(ctx context.Context, term uint64, events []run.Event, c executor.Change) error {
	if b.AppendFunc != nil {
		if err := b.AppendFunc(events); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.write(term, events, c); err != nil {
		return err
	}
	if b.AfterFunc != nil {
		return b.AfterFunc(events)
	}
	return nil
}

func (b *Book) write(term uint64, events []run.Event, c executor.Change) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case term != b.term:
		return fmt.Errorf("term %d, not %d: %w", b.term, term, executor.ErrDeposed)
	case c.Basis != 0 && c.Basis != b.basis:
		return fmt.Errorf("settings changed: %w", executor.ErrRefused)
	case b.left >= 0 && len(events) > b.left:
		b.left = 0
		return fmt.Errorf("%w: %w", ErrCrash, executor.ErrRefused)
	}
	if b.written(events) {
		return nil
	}
	for id := range c.Stores {
		if !sameStore(c.Was[id], b.stores[id]) {
			return fmt.Errorf("another run has changed the record of %s since: %w", id, executor.ErrRefused)
		}
	}
	for _, ev := range events {
		if have := len(b.runs[ev.Run]); ev.Seq != have+1 {
			return fmt.Errorf("%s has %d events, so event %d is refused: %w", ev.Run, have, ev.Seq, executor.ErrRefused)
		}
		b.runs[ev.Run] = append(b.runs[ev.Run], ev)
	}
	b.all = append(b.all, events...)
	b.appends++
	if b.left > 0 {
		b.left -= len(events)
	}
	b.changeLocked(c)
	return nil
}

// sameStore says whether two records are the same, but for the highest epoch that was handed out.
func sameStore(a, b situation.Store) bool {
	a.Next, b.Next = 0, 0
	return reflect.DeepEqual(a, b)
}

// written says that this very append is there already.
func (b *Book) written(events []run.Event) bool {
	return !slices.ContainsFunc(events, func(ev run.Event) bool {
		have := b.runs[ev.Run]
		return ev.Seq > len(have) || have[ev.Seq-1].Kind != ev.Kind || !have[ev.Seq-1].At.Equal(ev.At)
	})
}

func (b *Book) changeLocked(c executor.Change) {
	for id, rec := range c.Stores {
		rec.Next = max(rec.Next, b.stores[id].Next)
		b.stores[id] = rec
	}
	for id, n := range c.Next {
		rec := b.stores[id]
		rec.Next = max(rec.Next, n)
		b.stores[id] = rec
	}
	maps.Copy(b.intents, c.Intents)
	for id, s := range c.Salvages {
		b.salvages[id] = s.Over(b.salvages[id])
	}
	for _, a := range c.Answers {
		for _, x := range []struct {
			of map[estate.NameID][]estate.SiteID
			in bool
		}{{b.out, a.Out}, {b.part, a.Out && a.Part}} {
			x.of[a.Name] = slices.DeleteFunc(slices.Clone(x.of[a.Name]), func(s estate.SiteID) bool { return s == a.Site })
			if x.in {
				x.of[a.Name] = append(x.of[a.Name], a.Site)
			}
		}
	}
}

// Load implements executor.Book.
func (b *Book) Load(_ context.Context, id run.ID) ([]run.Event, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.runs[id]) == 0 {
		return nil, fmt.Errorf("there is no run %s", id)
	}
	return slices.Clone(b.runs[id]), nil
}

// Salvage implements executor.Book.
func (b *Book) Salvage(_ context.Context, id string) (situation.Salvage, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.salvages[id], nil
}

// Found puts a salvage into the records.
func (b *Book) Found(s situation.Salvage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.salvages[s.ID] = s
}

// Store implements executor.Book.
func (b *Book) Store(_ context.Context, id estate.StoreID) (situation.Store, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stores[id], nil
}

// Estate implements executor.Book.
func (b *Book) Estate(_ context.Context, version uint64) (estate.Estate, error) {
	e, ok := b.Estates[version]
	if !ok {
		return e, fmt.Errorf("there is no version %d", version)
	}
	return e, nil
}

// Events are the events of all runs, in the order of their appends.
func (b *Book) Events() []run.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.all)
}

// Appends is how many appends were written.
func (b *Book) Appends() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.appends
}

// Intent is what is wanted of a site.
func (b *Book) Intent(s estate.SiteID) situation.Intent {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.intents[s]
}

// Part are the sites whose answers are on their way back into a name.
func (b *Book) Part(n estate.NameID) []estate.SiteID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.part[n])
}

// Out are the sites whose answers are out of a name.
func (b *Book) Out(n estate.NameID) []estate.SiteID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.out[n])
}
