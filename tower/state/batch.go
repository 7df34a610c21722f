package state

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// Batch is a set of run events that are written in one transaction with what they change.
type Batch struct {
	// Events may belong to several runs. Each carries its Run and its Seq, from 1
	// without gaps; an Opened event carries an ID from [Store.NextRun]. At, Tower and Term are
	// filled where they are empty.
	Events  []run.Event
	Text    func(run.Event) string // for the journal; "" or nil for the usual words
	Before  []journal.Entry        // written before them: verdicts, the decision
	Changes []Change
	// Basis is [Snapshot.Acts] of the snapshot that a decision rests on. If a person has armed,
	// held or applied anything since, nothing is written and the error is [ErrStale]. 0 does not check.
	Basis int64
}

// errWritten says that every event of a batch is there already.
var errWritten = errors.New("it was written before")

// NextRun returns the ID that the next run to be opened will have. No run of other records has it: see [Line].
func (s *Store) NextRun(ctx context.Context) (run.ID, error) {
	have, err := s.read(ctx, []string{keyNextRun, keyLine})
	if err != nil {
		return "", fmt.Errorf("next run: %w", err)
	}
	id, _, err := nextRun(have)
	return id, err
}

// nextRun is the next run's ID, and its number.
func nextRun(have records) (run.ID, uint64, error) {
	last, err := decode[uint64](keyNextRun, have[keyNextRun].value)
	if err != nil {
		return "", 0, err
	}
	l, err := decode[Line](keyLine, have[keyLine].value)
	return l.runID(last + 1), last + 1, err
}

// AppendBatch writes a batch, if d still drives. Nothing may rest on its events
// before this returns. The same batch again writes nothing twice and is no error.
func (s *Store) AppendBatch(ctx context.Context, d Drive, b Batch) error {
	keys := append(keysOf(b.Changes), keyDrive, keyActs, keyNextRun, keyLine)
	for _, ev := range b.Events {
		keys = append(keys, indexKey(ev.Run), eventKey(ev.Run, ev.Seq))
	}
	_, err := s.commit(ctx, compactKeys(keys), func(have records) (w writing, err error) {
		if err := drives(d, have); err != nil {
			return w, err
		}
		infos, err := infosOf(b.Events, have)
		if err != nil {
			return w, err
		}
		switch done, err := b.written(infos, have); {
		case err != nil:
			return w, err
		case done:
			return w, errWritten
		}
		if b.Basis != 0 && have[keyActs].mod != b.Basis {
			return w, fmt.Errorf("state: open run: %w", ErrStale)
		}
		if err := applyAll(b.Changes, have, &w); err != nil {
			return w, err
		}
		w.entries = s.fill(d.Term, b.Before)
		return w, s.addBatch(b, d, infos, have, &w)
	})
	if errors.Is(err, errWritten) {
		return nil
	}
	return err
}

func infosOf(events []run.Event, have records) (map[run.ID]RunInfo, error) {
	out := map[run.ID]RunInfo{}
	for _, ev := range events {
		info, err := decode[RunInfo](indexKey(ev.Run), have[indexKey(ev.Run)].value)
		if err != nil {
			return nil, err
		}
		out[ev.Run] = info
	}
	return out, nil
}

// written says whether all events are there already. That a run has as many is not enough: where others stand in
// their place, another one carries the run, and this one must not go on.
func (b Batch) written(infos map[run.ID]RunInfo, have records) (bool, error) {
	for _, ev := range b.Events {
		if infos[ev.Run].Events < ev.Seq {
			return false, nil
		}
	}
	for _, ev := range b.Events {
		key := eventKey(ev.Run, ev.Seq)
		was, err := decode[run.Event](key, have[key].value)
		if err != nil {
			return false, err
		}
		if !same(was, ev) {
			return false, fmt.Errorf("state: run %s: event %d: %w: it is %q", ev.Run, ev.Seq, ErrConflict, eventText(was))
		}
	}
	return len(b.Events) > 0, nil
}

// same compares an event with the one that was written, which has what was empty filled.
func same(was, ev run.Event) bool {
	if ev.At.IsZero() {
		ev.At = was.At
	}
	ev.Tower, ev.Term = cmp.Or(ev.Tower, was.Tower), cmp.Or(ev.Term, was.Term)
	a, errA := raw(was)
	b, errB := raw(ev)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// addBatch adds each event to w, in order.
func (s *Store) addBatch(b Batch, d Drive, infos map[run.ID]RunInfo, have records, w *writing) error {
	for _, ev := range b.Events {
		if ev.At.IsZero() {
			ev.At = time.Now() // RunInfo tells a closed run by its time
		}
		if ev.Tower == "" {
			ev.Tower = s.tower
		}
		if ev.Term == 0 {
			ev.Term = d.Term
		}
		info := infos[ev.Run]
		switch {
		case ev.Kind == run.Opened:
			next, number, err := nextRun(have)
			if err != nil {
				return err
			}
			if ev.Run != next || ev.Plan == nil {
				return fmt.Errorf("state: run %s: %w: the next run is %s", ev.Run, ErrConflict, next)
			}
			if err := w.put(keyNextRun, number); err != nil {
				return err
			}
			info = RunInfo{ID: ev.Run, Kind: ev.Plan.Kind, Subject: ev.Plan.Subject, Opened: ev.At}
		case info.ID == "":
			return fmt.Errorf("state: run %s: %w", ev.Run, ErrNotFound)
		case !info.Open():
			return fmt.Errorf("state: run %s: %w (%s)", ev.Run, ErrClosed, info.Why)
		}
		if ev.Seq != info.Events+1 {
			return fmt.Errorf("state: run %s: event %d: %w: it has %d", ev.Run, ev.Seq, ErrConflict, info.Events)
		}
		text := ""
		if b.Text != nil {
			text = b.Text(ev)
		}
		if err := s.addEvent(info, ev, text, w); err != nil {
			return err
		}
		info.Events++
		if ev.Kind == run.Closed {
			info.Closed, info.Why = ev.At, ev.Why
		}
		infos[ev.Run] = info
	}
	return nil
}

// NextPut raises the highest epoch handed out for a store, and leaves the rest of its record alone.
type NextPut struct {
	ID   estate.StoreID
	Next uint64
}

func (c NextPut) key() string { return storeKey(c.ID) }

func (c NextPut) apply(have record, w *writing) error {
	value := have.value
	if changed, ok := w.puts[c.key()]; ok {
		value = []byte(changed)
	}
	rec, err := decode[situation.Store](c.key(), value)
	if err != nil {
		return err
	}
	if rec.Next >= c.Next {
		return fmt.Errorf("state: store %s: epoch %d: %w: it was handed out", c.ID, c.Next, ErrConflict)
	}
	rec.Next = c.Next
	return w.put(c.key(), rec)
}

// AnswerPut takes one site's answers out of a name, or brings them back.
type AnswerPut struct {
	Name estate.NameID
	Site estate.SiteID
	Out  bool
}

func (c AnswerPut) key() string { return withdrawnKey(c.Name) }

func (c AnswerPut) apply(have record, w *writing) error {
	return listSite(c.key(), c.Site, c.Out, have, w)
}

// ReturningPut says whether some name servers may give a site's answers, though they count as out
// of the name: a run brings them back.
type ReturningPut struct {
	Name estate.NameID
	Site estate.SiteID
	On   bool
}

func (c ReturningPut) key() string { return returningKey(c.Name) }

func (c ReturningPut) apply(have record, w *writing) error {
	return listSite(c.key(), c.Site, c.On, have, w)
}

// listSite puts a site on the list under key, or takes it off.
func listSite(key string, site estate.SiteID, on bool, have record, w *writing) error {
	value := have.value
	if changed, ok := w.puts[key]; ok {
		value = []byte(changed)
	}
	sites, err := decode[[]estate.SiteID](key, value)
	if err != nil {
		return err
	}
	kept := []estate.SiteID{}
	for _, s := range sites {
		if s != site {
			kept = append(kept, s)
		}
	}
	if on {
		kept = append(kept, site)
	}
	return w.put(key, kept)
}
