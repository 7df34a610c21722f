package state_test

import (
	"testing"

	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/state/etcdtest"
)

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
