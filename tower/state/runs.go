package state

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// Opening is a run that is about to be opened.
type Opening struct {
	Event run.Event // Kind Opened, with its plan; Run, Epochs, Term and Tower are filled
	Text  string    // for the journal; "" for the usual words
	// Reserve names the stores that the plan promotes; each gets a new epoch, which
	// no other run ever gets.
	Reserve []estate.StoreID
	// Basis is [Snapshot.Acts] of the snapshot that the decision rests on. If a
	// person has armed, held or applied anything since, the run is not opened
	// and the error is [ErrStale]. 0 does not check.
	Basis   int64
	Before  []journal.Entry // written before the run's own entry: verdicts, the decision
	Changes []Change
}

// OpenRun gives the run an ID and its stores new epochs, and writes its first
// event, if d still drives. The event is returned as it was written.
func (s *Store) OpenRun(ctx context.Context, d Drive, o Opening) (run.Event, error) {
	if o.Event.Kind != run.Opened || o.Event.Plan == nil {
		return run.Event{}, fmt.Errorf("state: a run opens with an %q event that carries its plan, not with %q", run.Opened, o.Event.Kind)
	}
	keys := append(keysOf(o.Changes), keyDrive, keyNextRun, keyActs)
	for _, id := range o.Reserve {
		keys = append(keys, storeKey(id))
	}
	var ev run.Event
	_, err := s.commit(ctx, compactKeys(keys), func(have records) (w writing, err error) {
		if err := drives(d, have); err != nil {
			return w, err
		}
		if have[keyActs].mod != o.Basis && o.Basis != 0 {
			return w, fmt.Errorf("state: open run: %w", ErrStale)
		}
		if err := applyAll(o.Changes, have, &w); err != nil {
			return w, err
		}
		ev, err = s.opening(d, o, have, &w)
		return w, err
	})
	return ev, err
}

// opening adds the run itself to w.
func (s *Store) opening(d Drive, o Opening, have records, w *writing) (run.Event, error) {
	last, err := decode[uint64](keyNextRun, have[keyNextRun].value)
	if err != nil {
		return run.Event{}, err
	}
	ev := o.Event
	ev.Run, ev.Seq, ev.Term, ev.Tower = runID(last+1), 1, d.Term, s.tower
	if ev.At.IsZero() {
		ev.At = s.now()
	}
	if ev.Epochs, err = reserve(o.Reserve, have, w); err != nil {
		return ev, err
	}
	info := RunInfo{ID: ev.Run, Kind: ev.Plan.Kind, Subject: ev.Plan.Subject, Opened: ev.At}
	w.entries = s.fill(d.Term, o.Before)
	if err := s.addEvent(info, ev, o.Text, w); err != nil {
		return ev, err
	}
	return ev, w.put(keyNextRun, last+1)
}

// reserve hands the next epoch of each store out, on top of what the changes
// have written to it already.
func reserve(stores []estate.StoreID, have records, w *writing) (map[string]uint64, error) {
	epochs := map[string]uint64{}
	for _, id := range stores {
		value := have[storeKey(id)].value
		if changed, ok := w.puts[storeKey(id)]; ok {
			value = []byte(changed)
		}
		st, err := decode[situation.Store](storeKey(id), value)
		if err != nil {
			return nil, err
		}
		st.Next = max(st.Next, st.Epoch) + 1
		epochs[string(id)] = st.Next
		if err := w.put(storeKey(id), st); err != nil {
			return nil, err
		}
	}
	return epochs, nil
}

// AppendEvent writes the next event of an open run, with changes, if d still
// drives. text is for the journal; "" for the usual words. Nothing may rest on
// the event before this returns.
func (s *Store) AppendEvent(ctx context.Context, d Drive, ev run.Event, text string, changes ...Change) error {
	if ev.At.IsZero() {
		ev.At = s.now()
	}
	if ev.Tower == "" {
		ev.Tower = s.tower
	}
	if ev.Term == 0 {
		ev.Term = d.Term
	}
	keys := compactKeys(append(keysOf(changes), keyDrive, indexKey(ev.Run)))
	_, err := s.commit(ctx, keys, func(have records) (w writing, err error) {
		if err := drives(d, have); err != nil {
			return w, err
		}
		info, err := decode[RunInfo](indexKey(ev.Run), have[indexKey(ev.Run)].value)
		switch {
		case err != nil:
			return w, err
		case info.ID == "":
			return w, fmt.Errorf("state: run %s: %w", ev.Run, ErrNotFound)
		case !info.Open():
			return w, fmt.Errorf("state: run %s: %w (%s)", ev.Run, ErrClosed, info.Why)
		}
		if err := applyAll(changes, have, &w); err != nil {
			return w, err
		}
		return w, s.addEvent(info, ev, text, &w)
	})
	return err
}

// addEvent writes ev as a journal entry, beside the run's other events, and into the index.
func (s *Store) addEvent(info RunInfo, ev run.Event, text string, w *writing) error {
	if text == "" {
		text = eventText(ev)
	}
	if ev.Seq == 0 {
		ev.Seq = info.Events + 1
	}
	if ev.At.IsZero() {
		ev.At = s.now() // RunInfo tells a closed run by its time
	}
	data, err := raw(ev)
	if err != nil {
		return fmt.Errorf("state: run %s: %w", ev.Run, err)
	}
	w.entries = append(w.entries, journal.Entry{
		At: ev.At, Tower: ev.Tower, Term: ev.Term, Kind: "run", Subject: string(ev.Run), Text: text, Data: data,
	})
	info.Events++
	if ev.Kind == run.Closed {
		info.Closed, info.Why = ev.At, ev.Why
	}
	if err := w.put(eventKey(ev.Run, info.Events), ev); err != nil {
		return err
	}
	return w.put(indexKey(ev.Run), info)
}

// Events returns all events of a run, in order, confirmed by the quorum: what a
// tower that has just claimed goes on from.
func (s *Store) Events(ctx context.Context, id run.ID) ([]run.Event, error) {
	resp, err := retry(ctx, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return s.client.Get(ctx, eventsKey(id), clientv3.WithPrefix())
	})
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", id, err)
	}
	if len(resp.Kvs) == 0 {
		return nil, fmt.Errorf("state: run %s: %w", id, ErrNotFound)
	}
	return decodeEvents(resp)
}

func decodeEvents(resp *clientv3.GetResponse) ([]run.Event, error) {
	var out []run.Event
	for _, kv := range resp.Kvs {
		ev, err := decode[run.Event](string(kv.Key), kv.Value)
		if err != nil {
			return nil, err
		}
		out = append(out, ev)
	}
	return out, nil
}

// eventText puts an event in words where its writer did not.
func eventText(ev run.Event) string {
	var b strings.Builder
	b.WriteString(string(ev.Kind))
	if p := ev.Plan; p != nil {
		fmt.Fprintf(&b, ": %s %s, %d steps", p.Kind, p.Subject, len(p.Steps))
	}
	if ev.Step > 0 {
		fmt.Fprintf(&b, " step %d", ev.Step)
	}
	if ev.Kind == run.Ended || ev.Kind == run.UndoEnded {
		b.WriteString(", " + [...]string{"outcome unknown", "done", "not done"}[min(max(int(ev.Outcome), 0), 2)])
	}
	if ev.By != "" {
		b.WriteString(" by " + ev.By)
	}
	if ev.Why != "" {
		b.WriteString(": " + ev.Why)
	}
	return b.String()
}
