package tower

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/executor"
	"github.com/haechi/haechi/tower/state"
)

// book is the towers' records as the executor wants them, under this tower's drive.
type book struct {
	store *state.Store
	drive func() (state.Drive, bool)

	mu    sync.Mutex // guards what follows
	plans map[run.ID]plan.Plan
}

var _ executor.Book = (*book)(nil)

// errUnwritten: this tower knew that it does not drive any more before it wrote anything.
var errUnwritten = fmt.Errorf("%w, nothing was written", executor.ErrDeposed)

func (b *book) NewID(ctx context.Context) (run.ID, error) { return b.store.NextRun(ctx) }

func (b *book) Append(ctx context.Context, term uint64, events []run.Event, c executor.Change) error {
	d, ok := b.drive()
	if !ok || d.Term != term {
		return fmt.Errorf("append under term %d: %w", term, errUnwritten)
	}
	b.learn(events)
	batch := state.Batch{Events: events, Text: b.text, Changes: changes(c), Basis: c.Basis}
	if slices.ContainsFunc(events, func(ev run.Event) bool { return ev.Kind == run.Opened }) {
		batch.Before, _ = ctx.Value(first{}).([]journal.Entry)
	}
	err := b.store.AppendBatch(ctx, d, batch)
	if err == nil {
		b.forget(events)
	}
	return refusedFor(err)
}

// forget drops the plans of runs that have ended.
func (b *book) forget(events []run.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ev := range events {
		if ev.Kind == run.Closed {
			delete(b.plans, ev.Run)
		}
	}
}

// first is the key of what before leaves in a context.
type first struct{}

// before says what stands in the journal before the run that is opened with the context:
// the verdicts and the decision that it rests on, in the same transaction.
func before(ctx context.Context, entries []journal.Entry) context.Context {
	return context.WithValue(ctx, first{}, entries)
}

// refusedFor says of an error what the executor branches on.
func refusedFor(err error) error {
	switch {
	case errors.Is(err, state.ErrDeposed):
		return fmt.Errorf("%w: %w", executor.ErrDeposed, err)
	case errors.Is(err, state.ErrStale), errors.Is(err, state.ErrClosed), errors.Is(err, state.ErrConflict), errors.Is(err, state.ErrOldEpoch), errors.Is(err, state.ErrNotFound):
		return fmt.Errorf("%w: %w", executor.ErrRefused, err)
	}
	return err
}

// changes are written in this order: a record first, then what raises it.
func changes(c executor.Change) (out []state.Change) {
	for id, rec := range c.Stores {
		out = append(out, state.StorePut{ID: id, Was: c.Was[id], Store: rec})
	}
	for id, next := range c.Next {
		out = append(out, state.NextPut{ID: id, Next: next})
	}
	for site, intent := range c.Intents {
		out = append(out, state.IntentPut{Site: site, Intent: intent})
	}
	for _, s := range c.Salvages {
		out = append(out, state.SalvagePut{Salvage: s})
	}
	for _, a := range c.Answers {
		out = append(out, state.AnswerPut{Name: a.Name, Site: a.Site, Out: a.Out}, state.ReturningPut{Name: a.Name, Site: a.Site, On: a.Out && a.Part})
	}
	return out
}

func (b *book) Load(ctx context.Context, id run.ID) ([]run.Event, error) {
	events, err := b.store.Events(ctx, id)
	b.learn(events)
	return events, refusedFor(err)
}

func (b *book) Store(ctx context.Context, id estate.StoreID) (situation.Store, error) {
	return b.store.StoreRecord(ctx, id)
}

func (b *book) Salvage(ctx context.Context, id string) (situation.Salvage, error) {
	return b.store.Salvage(ctx, id)
}

func (b *book) Estate(ctx context.Context, version uint64) (estate.Estate, error) {
	raw, err := b.store.EstateAt(ctx, version)
	if err != nil {
		return estate.Estate{}, err
	}
	return estate.Unmarshal(raw)
}

// learn remembers plans, so that the journal can name steps by what they do.
func (b *book) learn(events []run.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ev := range events {
		if ev.Plan != nil {
			b.plans[ev.Run] = *ev.Plan
		}
	}
}

// text puts an event of a step in words: "promote talk-db: done in 180ms; …".
func (b *book) text(ev run.Event) string {
	b.mu.Lock()
	p, ok := b.plans[ev.Run]
	b.mu.Unlock()
	if !ok || ev.Step < 1 || ev.Step > len(p.Steps) {
		return ""
	}
	s := p.Steps[ev.Step-1]
	what := fmt.Sprintf("%s %s", s.Verb, s.Component)
	if s.Site != "" {
		what += " (" + string(s.Site) + ")"
	}
	words := map[run.EventKind]string{run.Began: "begins", run.Progressed: "goes on", run.Ended: outcome(ev.Outcome), run.UndoBegan: "is taken back",
		run.UndoEnded: "taken back: " + outcome(ev.Outcome), run.Asked: "a person is needed", run.Approved: "approved by " + ev.By}
	said, ok := words[ev.Kind]
	if !ok {
		return ""
	}
	what += ": " + said
	if ev.Kind == run.Began {
		return what + " (" + string(s.Reason) + ")"
	}
	if ev.Why != "" {
		what += "; " + ev.Why
	}
	return what
}

func outcome(o run.Outcome) string {
	return [...]string{"outcome unknown", "done", "not done"}[min(max(int(o), 0), 2)]
}
