package state_test

import (
	"testing"
	"time"

	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/state/etcdtest"
)

// Two in one tower carry a run: the one whose events are not those that stand there is told so, and not that all is
// written, though the run has as many.
func TestWhoIsBehindIsNotTakenForWritten(t *testing.T) {
	s := open(t, etcdtest.Client(t), "tower-a")
	d := claimed(t, s)
	id := opened(t, s, d, "talk-db").Run
	at := time.Now()
	batch := func(events ...run.Event) state.Batch {
		for i := range events {
			events[i].Run, events[i].Seq, events[i].At = id, i+2, at
		}
		return state.Batch{Events: events}
	}
	first := batch(run.Event{Kind: run.Aborted, By: "haechi"}, run.Event{Kind: run.Closed, Why: "undone"})
	must(t, s.AppendBatch(ctx(t), d, first))
	must(t, s.AppendBatch(ctx(t), d, first))
	wantIs(t, s.AppendBatch(ctx(t), d, batch(run.Event{Kind: run.Began, Step: 1})), state.ErrConflict)
	wantIs(t, s.AppendBatch(ctx(t), d, batch(run.Event{Kind: run.Aborted, By: "haechi"}, run.Event{Kind: run.Began, Step: 1})), state.ErrConflict)
}

// A batch that opens a run and supersedes another is written whole, once, or not at all.
func TestABatchIsWrittenWholeAndOnce(t *testing.T) {
	s := open(t, etcdtest.Client(t), "tower-a")
	d := claimed(t, s)
	old := opened(t, s, d, "talk-db")
	id, err := s.NextRun(ctx(t))
	must(t, err)
	ev := opening(t, s, id).Events[0]
	b := state.Batch{
		Events:  []run.Event{{Run: old.Run, Seq: 2, Kind: run.Superseded}, ev, {Run: old.Run, Seq: 3, Kind: run.Closed, Why: "superseded"}},
		Changes: []state.Change{state.NextPut{ID: "talk-db", Next: 2}, state.StorePut{ID: "talk-db", Store: situation.Store{Epoch: 1}}},
	}
	must(t, s.AppendBatch(ctx(t), d, b))
	n := len(whole(t, s))
	must(t, s.AppendBatch(ctx(t), d, b))
	if again := len(whole(t, s)); again != n {
		t.Fatalf("the same batch wrote %d entries more", again-n)
	}
	st, err := s.StoreRecord(ctx(t), "talk-db")
	must(t, err)
	if st.Next != 2 || st.Epoch != 1 {
		t.Fatalf("store = %+v, so an epoch could be handed out twice", st)
	}
	snap := until(t, s, func(s state.Snapshot) bool { return !s.Index[old.Run].Open() })
	if len(snap.Runs[old.Run]) != 3 || len(snap.Runs[id]) != 1 || !snap.Index[id].Open() {
		t.Fatalf("runs = %+v", snap.Index)
	}

	gap := state.Batch{Events: []run.Event{{Run: id, Seq: 3, Kind: run.Paused}}}
	wantIs(t, s.AppendBatch(ctx(t), d, gap), state.ErrConflict)
	wantIs(t, s.AppendBatch(ctx(t), d, state.Batch{Events: []run.Event{{Run: old.Run, Seq: 4, Kind: run.Paused}}}), state.ErrClosed)
	taken := state.Batch{Events: []run.Event{{Run: id, Seq: 2, Kind: run.Paused}}, Changes: []state.Change{state.NextPut{ID: "talk-db", Next: 2}}}
	wantIs(t, s.AppendBatch(ctx(t), d, taken), state.ErrConflict)
	if len(whole(t, s)) != n {
		t.Fatal("a refused batch left something behind")
	}
}
