package state

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/haechi/haechi/core/count"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/run"
)

// addEvent writes ev as a journal entry, beside the run's other events, and into the index.
func (s *Store) addEvent(info RunInfo, ev run.Event, text string, w *writing) error {
	if text == "" {
		text = eventText(ev)
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
		fmt.Fprintf(&b, ": %s %s, %s", p.Kind, p.Subject, count.Of(len(p.Steps), "step"))
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
