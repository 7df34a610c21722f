package state_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/state/etcdtest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantIs(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("err = %v, want %v", err, want)
	}
}

// ctx bounds what a test waits for in the real world.
func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return c
}

func open(t testing.TB, c *clientv3.Client, tower string, opts ...state.Option) *state.Store {
	s := state.Open(c, tower, opts...)
	t.Cleanup(s.Close)
	return s
}

// until waits for a snapshot that ok accepts.
func until(t testing.TB, s *state.Store, ok func(state.Snapshot) bool) state.Snapshot {
	t.Helper()
	for snap := range s.Watch(ctx(t)) {
		if ok(snap) {
			return snap
		}
	}
	t.Fatalf("no snapshot came that fits; the last is %+v", s.Snapshot())
	return state.Snapshot{}
}

func claimed(t testing.TB, s *state.Store) state.Drive {
	t.Helper()
	from, err := s.Drive(ctx(t))
	must(t, err)
	d, err := s.Claim(ctx(t), from)
	must(t, err)
	return d
}

func note(text string) journal.Entry { return journal.Entry{Kind: "note", Text: text} }

// opening is a batch that opens a run under id and hands the next epoch of each store out.
func opening(t testing.TB, s *state.Store, id run.ID, stores ...estate.StoreID) state.Batch {
	t.Helper()
	p := &plan.Plan{Kind: plan.LoseSite, Subject: "pangyo", Steps: []plan.Step{{ID: 1, Verb: plan.Seal}}}
	b := state.Batch{Events: []run.Event{{Run: id, Seq: 1, Kind: run.Opened, Plan: p, Estate: 1, Epochs: map[string]uint64{}}}}
	for _, store := range stores {
		rec, err := s.StoreRecord(ctx(t), store)
		must(t, err)
		next := max(rec.Next, rec.Epoch) + 1
		b.Events[0].Epochs[string(store)] = next
		b.Changes = append(b.Changes, state.NextPut{ID: store, Next: next})
	}
	return b
}

// opened opens a run and returns its first event.
func opened(t testing.TB, s *state.Store, d state.Drive, stores ...estate.StoreID) run.Event {
	t.Helper()
	id, err := s.NextRun(ctx(t))
	must(t, err)
	b := opening(t, s, id, stores...)
	must(t, s.AppendBatch(ctx(t), d, b))
	return b.Events[0]
}

// nth is the ID of the n-th run of s's records.
func nth(t testing.TB, s *state.Store, n int) run.ID {
	t.Helper()
	id, err := s.NextRun(ctx(t))
	must(t, err)
	return run.ID(fmt.Sprintf("r-%06d%s", n, string(id)[len("r-000000"):]))
}

// event is a batch of one event.
func event(ev run.Event, changes ...state.Change) state.Batch {
	return state.Batch{Events: []run.Event{ev}, Changes: changes}
}

// whole reads the journal from the beginning to its confirmed end and verifies it.
func whole(t testing.TB, s *state.Store) []journal.Entry {
	t.Helper()
	head, err := s.JournalHead(ctx(t))
	must(t, err)
	var all []journal.Entry
	for uint64(len(all)) < head.Seq {
		some, err := s.Journal(ctx(t), uint64(len(all))+1, 0)
		must(t, err)
		if len(some) == 0 {
			break
		}
		all = append(all, some...)
	}
	must(t, journal.VerifyTo(all, 1, head))
	return all
}

func TestOnlyOneOfManyClaims(t *testing.T) {
	c := etcdtest.Client(t)
	const n = 8
	type result struct {
		d   state.Drive
		err error
	}
	results := make(chan result, n)
	for i := range n {
		s := open(t, c, fmt.Sprintf("tower-%d", i))
		go func() {
			d, err := s.Claim(ctx(t), state.Drive{})
			results <- result{d, err}
		}()
	}
	var winners []state.Drive
	holds := map[state.Drive]bool{}
	for range n {
		r := <-results
		holds[r.d] = true
		if r.err == nil {
			winners = append(winners, r.d)
			continue
		}
		wantIs(t, r.err, state.ErrDeposed)
	}
	if len(winners) != 1 || winners[0].Term != 1 {
		t.Fatalf("winners = %+v", winners)
	}
	if len(holds) != 1 {
		t.Fatalf("the losers were told of different winners: %v", holds)
	}
}

func TestTheDeposedWriteNothing(t *testing.T) {
	c := etcdtest.Client(t)
	a, b := open(t, c, "tower-a"), open(t, c, "tower-b")
	old := claimed(t, a)
	_, err := a.Append(ctx(t), old, []journal.Entry{note("mine")})
	must(t, err)
	ev := opened(t, a, old, "talk-db")
	d := claimed(t, b)
	if d.Term != old.Term+1 {
		t.Fatalf("term = %d", d.Term)
	}
	before := whole(t, b)

	_, err = a.Append(ctx(t), old, []journal.Entry{note("late")}, state.StorePut{ID: "talk-db", Store: situation.Store{Epoch: 9}})
	wantIs(t, err, state.ErrDeposed)
	wantIs(t, a.AppendBatch(ctx(t), old, event(run.Event{Run: ev.Run, Seq: 2, Kind: run.Began, Step: 1}, state.IntentPut{Site: "pangyo", Intent: situation.Draining})), state.ErrDeposed)
	wantIs(t, a.AppendBatch(ctx(t), old, opening(t, a, nth(t, a, 2), "talk-db")), state.ErrDeposed)
	_, err = a.Claim(ctx(t), old)
	wantIs(t, err, state.ErrDeposed)

	if diff := cmp.Diff(before, whole(t, b)); diff != "" {
		t.Fatalf("the deposed wrote:\n%s", diff)
	}
	st, err := b.StoreRecord(ctx(t), "talk-db")
	must(t, err)
	if st.Epoch != 0 {
		t.Fatalf("store = %+v", st)
	}
	must(t, b.AppendBatch(ctx(t), d, event(run.Event{Run: ev.Run, Seq: 2, Kind: run.Claimed})))
}

// A process that restarts is not its predecessor: same tower, same term, another claim.
func TestAClaimIsOfOneProcess(t *testing.T) {
	s := open(t, etcdtest.Client(t), "tower-a")
	d := claimed(t, s)
	d.Claim = "guessed"
	_, err := s.Append(ctx(t), d, []journal.Entry{note("x")})
	wantIs(t, err, state.ErrDeposed)
}

func TestJournalStaysOneChainUnderManyWriters(t *testing.T) {
	c := etcdtest.Client(t)
	const writers, each = 3, 15
	d := claimed(t, open(t, c, "tower-0"))
	var wg sync.WaitGroup
	errs := make(chan error, writers*each*2)
	for i := range writers {
		s := open(t, c, fmt.Sprintf("tower-%d", i))
		wg.Go(func() {
			for n := range each {
				_, err := s.Note(ctx(t), note(fmt.Sprintf("%d/%d", i, n)))
				errs <- err
			}
		})
		wg.Go(func() {
			for n := range each {
				_, err := s.Append(ctx(t), d, []journal.Entry{note(fmt.Sprintf("%d/%d a", i, n)), note("b")})
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		must(t, err)
	}
	if got, want := len(whole(t, open(t, c, "reader"))), 1+writers*each*3; got != want {
		t.Fatalf("%d entries, want %d", got, want)
	}
}

func TestEpochsAreNeverGivenTwice(t *testing.T) {
	s := open(t, etcdtest.Client(t), "tower-a")
	d := claimed(t, s)
	first := opened(t, s, d, "talk-db")
	// A step that read the record before the second run was opened must not bring Next back.
	stale, err := s.StoreRecord(ctx(t), "talk-db")
	must(t, err)
	late := opening(t, s, nth(t, s, 3), "talk-db")
	second := opened(t, s, d, "talk-db")
	was := stale
	stale.Epoch = first.Epochs["talk-db"]
	must(t, s.AppendBatch(ctx(t), d, event(run.Event{Run: first.Run, Seq: 2, Kind: run.Ended, Step: 1, Outcome: run.Done}, state.StorePut{ID: "talk-db", Was: was, Store: stale})))
	// Nor can a run be opened with an epoch that was read before another run got it.
	wantIs(t, s.AppendBatch(ctx(t), d, late), state.ErrConflict)
	third := opened(t, s, d, "talk-db")
	got := []uint64{first.Epochs["talk-db"], second.Epochs["talk-db"], third.Epochs["talk-db"]}
	if diff := cmp.Diff([]uint64{1, 2, 3}, got); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff([]run.ID{nth(t, s, 1), nth(t, s, 2), nth(t, s, 3)}, []run.ID{first.Run, second.Run, third.Run}); diff != "" {
		t.Fatal(diff)
	}
	_, err = s.Append(ctx(t), d, []journal.Entry{note("back")}, state.StorePut{ID: "talk-db", Store: situation.Store{Epoch: 0}})
	wantIs(t, err, state.ErrOldEpoch)
}

// Two runs about one store: what the one has written since the other read the record is not lost.
func TestARecordThatAnotherChangedIsNotOverwritten(t *testing.T) {
	s := open(t, etcdtest.Client(t), "tower-a")
	d := claimed(t, s)
	old := situation.Store{Epoch: 2, Primary: "b", Sync: []estate.MemberID{"c"}, Former: []estate.MemberID{"a"}, Any: 1, LeastAny: 1}
	put := func(was, next situation.Store) error {
		_, err := s.Append(ctx(t), d, []journal.Entry{note("a step has ended")}, state.StorePut{ID: "talk-db", Was: was, Store: next})
		return err
	}
	must(t, put(situation.Store{}, old))
	back := old
	back.Sync, back.Former = []estate.MemberID{"a", "c"}, []estate.MemberID{}
	must(t, put(old, back))
	compared := old
	compared.Verified = time.Unix(1, 0).UTC()
	wantIs(t, put(old, compared), state.ErrConflict)
	have, err := s.StoreRecord(ctx(t), "talk-db")
	must(t, err)
	back.Next = 2
	if diff := cmp.Diff(back, have); diff != "" {
		t.Fatal(diff)
	}
	compared = have
	compared.Verified = time.Unix(1, 0).UTC()
	must(t, put(have, compared))
	compared.Differs = "one row"
	have.Verified, have.Next = compared.Verified, 0 // an epoch that was handed out meanwhile is no conflict
	must(t, put(have, compared))
}

func TestAnEstateCheckedBeforeARunWasOpenedIsNotApplied(t *testing.T) {
	s := open(t, etcdtest.Client(t), "tower-a")
	d := claimed(t, s)
	checked := until(t, s, func(s state.Snapshot) bool { return s.Drive == d })
	ev := opened(t, s, d, "talk-db")
	_, err := s.Apply(ctx(t), []byte("one"), "operator", 0, checked.Opened)
	wantIs(t, err, state.ErrStale)
	snap := until(t, s, func(s state.Snapshot) bool { return s.Index[ev.Run].ID == ev.Run })
	if snap.Estate.Version != 0 {
		t.Fatalf("version %d holds", snap.Estate.Version)
	}
	_, err = s.Apply(ctx(t), []byte("one"), "operator", 0, snap.Opened)
	must(t, err)
}

func TestAHoldStopsARunThatWasDecidedBefore(t *testing.T) {
	s := open(t, etcdtest.Client(t), "tower-a")
	d := claimed(t, s)
	must(t, s.Arm(ctx(t), "*", "operator"))
	snap := until(t, s, func(s state.Snapshot) bool { return s.Acts > 0 })
	_, err := s.Hold(ctx(t), state.Hold{By: "operator", Why: "maintenance"})
	must(t, err)
	b := opening(t, s, nth(t, s, 1))
	b.Basis = snap.Acts
	wantIs(t, s.AppendBatch(ctx(t), d, b), state.ErrStale)
	b.Basis = until(t, s, func(s state.Snapshot) bool { return len(s.Holds) == 1 }).Acts
	must(t, s.AppendBatch(ctx(t), d, b))
}

func TestARunIsReadBackAsItWasWritten(t *testing.T) {
	s := open(t, etcdtest.Client(t), "tower-a")
	d := claimed(t, s)
	ev := opened(t, s, d, "talk-db")
	must(t, s.AppendBatch(ctx(t), d, event(run.Event{Run: ev.Run, Seq: 2, Kind: run.Began, Step: 1})))
	must(t, s.AppendBatch(ctx(t), d, event(run.Event{Run: ev.Run, Seq: 3, Kind: run.Closed, Why: "done"})))
	wantIs(t, s.AppendBatch(ctx(t), d, event(run.Event{Run: ev.Run, Seq: 4, Kind: run.Paused})), state.ErrClosed)
	wantIs(t, s.AppendBatch(ctx(t), d, event(run.Event{Run: "r-9", Seq: 1, Kind: run.Paused})), state.ErrNotFound)

	events, err := s.Events(ctx(t), ev.Run)
	must(t, err)
	var kinds []run.EventKind
	for _, e := range events {
		kinds = append(kinds, e.Kind)
	}
	if diff := cmp.Diff([]run.EventKind{run.Opened, run.Began, run.Closed}, kinds); diff != "" {
		t.Fatal(diff)
	}
	snap := until(t, s, func(s state.Snapshot) bool { return !s.Index[ev.Run].Open() })
	if diff := cmp.Diff(events, snap.Runs[ev.Run]); diff != "" {
		t.Fatal(diff)
	}
	if open := snap.OpenRuns(); len(open) != 0 {
		t.Fatalf("open: %v", open)
	}
	last := whole(t, s)
	if got := last[len(last)-1].Text; got != "closed: done" {
		t.Fatalf("text = %q", got)
	}
}

func TestEstateIsAppliedOverTheVersionThatWasSeen(t *testing.T) {
	c := etcdtest.Client(t)
	a, b := open(t, c, "tower-a"), open(t, c, "tower-b")
	v, err := a.Apply(ctx(t), []byte("one"), "operator", 0, 0)
	must(t, err)
	_, err = b.Apply(ctx(t), []byte("other"), "operator-2", 0, 0)
	wantIs(t, err, state.ErrConflict)
	_, err = b.Apply(ctx(t), []byte("two"), "operator-2", v.Version, 0, "any: 1 -> 2")
	must(t, err)
	snap := until(t, a, func(s state.Snapshot) bool { return s.Estate.Version == 2 })
	if string(snap.EstateRaw) != "two" || snap.Estate.By != "operator-2" {
		t.Fatalf("snapshot = %+v", snap.Estate)
	}
	old, err := b.EstateAt(ctx(t), 1)
	must(t, err)
	if string(old) != "one" {
		t.Fatalf("version 1 = %q", old)
	}
	_, err = b.EstateAt(ctx(t), 7)
	wantIs(t, err, state.ErrNotFound)
	if _, err := a.Apply(ctx(t), make([]byte, 2<<20), "operator", 2, 0); err == nil {
		t.Fatal("2 MB were stored")
	}
	if err := func() error { _, err := a.Apply(ctx(t), make([]byte, 1<<20), "operator", 2, 0); return err }(); err != nil {
		t.Fatalf("1 MB: %v", err)
	}
}
