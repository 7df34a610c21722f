package state_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/state/etcdtest"
)

// furnish writes one of everything and returns the journal's last entry.
func furnish(t *testing.T, s *state.Store) journal.Entry {
	t.Helper()
	d := claimed(t, s)
	_, err := s.Apply(ctx(t), []byte("estate"), "operator", 0, 0)
	must(t, err)
	must(t, s.Arm(ctx(t), "pangyo", "operator"))
	must(t, s.Arm(ctx(t), "tier-0", "operator"))
	must(t, s.Disarm(ctx(t), "tier-0", "operator"))
	_, err = s.Hold(ctx(t), state.Hold{Scope: "ansan", By: "operator", Why: "works on the cooling"})
	must(t, err)
	gone, err := s.Hold(ctx(t), state.Hold{By: "operator"})
	must(t, err)
	must(t, s.Release(ctx(t), gone.ID, "operator"))
	wantIs(t, s.Release(ctx(t), gone.ID, "operator"), state.ErrNotFound)
	ev := opened(t, s, d, "talk-db")
	_, err = s.Ask(ctx(t), state.Ask{Verb: "pause", Run: ev.Run, By: "operator"})
	must(t, err)
	written, err := s.Append(ctx(t), d, []journal.Entry{note("last")},
		state.StorePut{ID: "talk-db", Store: situation.Store{Epoch: 1, Primary: "a", Any: 1}},
		state.IntentPut{Site: "pangyo", Intent: situation.Draining},
		state.AnswerPut{Name: "talk.example.", Site: "ansan", Out: true},
		state.AnswerPut{Name: "talk.example.", Site: "pangyo", Out: true},
		state.AnswerPut{Name: "talk.example.", Site: "ansan"},
		state.ReturningPut{Name: "talk.example.", Site: "pangyo", On: true})
	must(t, err)
	return written[0]
}

func TestSnapshotHoldsEverything(t *testing.T) {
	c := etcdtest.Client(t)
	s := open(t, c, "tower-a")
	last := furnish(t, s)
	done := func(s state.Snapshot) bool { return s.LastJournal.Seq == last.Seq }
	kept := until(t, s, done)
	read := until(t, open(t, c, "tower-b"), done) // not kept by a watch but read anew
	if diff := cmp.Diff(kept, read, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("kept and read snapshots differ:\n%s", diff)
	}
	if diff := cmp.Diff(last, kept.LastJournal); diff != "" {
		t.Fatal(diff)
	}
	if kept.Drive.Tower != "tower-a" || string(kept.EstateRaw) != "estate" || len(kept.Armed) != 1 || kept.Armed["pangyo"].By != "operator" {
		t.Fatalf("snapshot = %+v", kept)
	}
	if len(kept.Holds) != 1 || kept.Intents["pangyo"] != situation.Draining || !slices.Equal(kept.Withdrawn["talk.example."], []estate.SiteID{"pangyo"}) || !slices.Equal(kept.Returning["talk.example."], []estate.SiteID{"pangyo"}) || len(kept.Asks) != 1 {
		t.Fatalf("snapshot = %+v", kept)
	}
	if want := (situation.Store{Epoch: 1, Primary: "a", Any: 1, Next: 1}); !cmp.Equal(kept.Stores["talk-db"], want) {
		t.Fatalf("store = %+v", kept.Stores["talk-db"])
	}
	whole(t, s)
}

func TestAnAskIsTakenOnce(t *testing.T) {
	s := open(t, etcdtest.Client(t), "tower-a")
	d := claimed(t, s)
	ev := opened(t, s, d)
	_, err := s.Ask(ctx(t), state.Ask{Verb: "pause", Run: "r-7", By: "operator"})
	wantIs(t, err, state.ErrNotFound)
	a, err := s.Ask(ctx(t), state.Ask{Verb: "pause", Run: ev.Run, By: "operator"})
	must(t, err)
	done := func() error {
		_, err := s.Append(ctx(t), d, []journal.Entry{{Kind: "ask", Text: "paused"}}, state.AskDone{ID: a.ID})
		return err
	}
	must(t, done())
	wantIs(t, done(), state.ErrConflict)
	until(t, s, func(s state.Snapshot) bool { return s.LastJournal.Text == "paused" && len(s.Asks) == 0 })
}

func TestOldRunsLeaveTheSnapshot(t *testing.T) {
	c := etcdtest.Client(t)
	s := open(t, c, "tower-a")
	d := claimed(t, s)
	var last run.Event
	for i := range state.RecentRuns + 5 {
		ev := opened(t, s, d)
		if last = ev; i == 0 {
			continue // stays open
		}
		must(t, s.AppendBatch(ctx(t), d, event(run.Event{Run: ev.Run, Seq: 2, Kind: run.Closed, Why: "done"})))
	}
	done := func(s state.Snapshot) bool { return s.Index[last.Run].Events == 2 }
	kept, read := until(t, s, done), until(t, open(t, c, "tower-b"), done)
	if diff := cmp.Diff(kept, read); diff != "" {
		t.Fatal(diff)
	}
	if len(kept.Runs) != state.RecentRuns+1 || len(kept.Runs[nth(t, s, 1)]) != 1 || len(kept.Index) != state.RecentRuns+5 {
		t.Fatalf("%d runs of %d", len(kept.Runs), len(kept.Index))
	}
}

// What was read is never changed under the reader.
func TestSnapshotsAreFrozen(t *testing.T) {
	s := open(t, etcdtest.Client(t), "tower-a")
	must(t, s.Arm(ctx(t), "pangyo", "operator"))
	old := until(t, s, func(s state.Snapshot) bool { return len(s.Armed) == 1 })
	must(t, s.Arm(ctx(t), "ansan", "operator"))
	until(t, s, func(s state.Snapshot) bool { return len(s.Armed) == 2 })
	if len(old.Armed) != 1 {
		t.Fatal("an old snapshot changed")
	}
}

func TestFollowJournalSeesAllInOrder(t *testing.T) {
	s := open(t, etcdtest.Client(t), "tower-a")
	enough := errors.New("enough")
	var writer sync.WaitGroup
	defer writer.Wait() // an entry can be read before its writer knows
	writer.Go(func() {
		for range 10 {
			if _, err := s.Note(ctx(t), note("x")); err != nil {
				t.Error(err)
			}
		}
	})
	var got []journal.Entry
	err := s.FollowJournal(ctx(t), 1, func(e journal.Entry) error {
		if got = append(got, e); len(got) == 10 {
			return enough
		}
		return nil
	})
	wantIs(t, err, enough)
	must(t, journal.Verify(got))
}

func TestRestartKeepsState(t *testing.T) {
	cfg := etcdtest.Config(t)
	m, err := etcd.Start(t.Context(), cfg)
	must(t, err)
	s := state.Open(m.Client(), "tower-a")
	last := furnish(t, s)
	before := until(t, s, func(s state.Snapshot) bool { return s.LastJournal.Seq == last.Seq })
	s.Close()
	must(t, m.Stop())

	m = etcdtest.Start(t, cfg)
	s = open(t, m.Client(), "tower-a")
	after := until(t, s, func(s state.Snapshot) bool { return s.LastJournal.Seq == last.Seq })
	if diff := cmp.Diff(before, after, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(state.Snapshot{}, "Revision")); diff != "" {
		t.Fatal(diff)
	}
	_, err = s.Append(ctx(t), before.Drive, []journal.Entry{note("goes on")})
	must(t, err)
	whole(t, s)
}

// One tower of three can show what it knows and says clearly why it cannot write.
func TestWithoutQuorumNothingIsWrittenAndAllIsRead(t *testing.T) {
	cfg := etcdtest.Config(t)
	cfg.InitialCluster = map[string]string{cfg.Name: cfg.PeerListen, "tower-2": etcdtest.FreeAddr(t), "tower-3": etcdtest.FreeAddr(t)}
	s := open(t, etcdtest.Start(t, cfg).Client(), "tower-a")
	until(t, s, func(s state.Snapshot) bool { return s.Revision > 0 })
	short, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	_, err := s.Claim(short, state.Drive{})
	wantIs(t, err, state.ErrNoQuorum)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Note(stopped, note("x"))
	wantIs(t, err, context.Canceled)
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	c := etcdtest.Client(t)
	warm := state.Open(c, "warm")
	_, err := warm.Note(ctx(t), note("so that etcd's own goroutines run"))
	must(t, err)
	warm.Close()
	ignore := goleak.IgnoreCurrent()
	s := state.Open(c, "tower-a")
	watch := s.Watch(ctx(t))
	<-watch
	_, err = s.Note(ctx(t), note("x"))
	must(t, err)
	s.Close()
	for range watch {
	}
	if _, ok := <-s.Watch(ctx(t)); ok {
		t.Fatal("a closed store still tells")
	}
	goleak.VerifyNone(t, ignore)
}

func BenchmarkAppend(b *testing.B) {
	c := etcdtest.Client(b)
	s := open(b, c, "tower-a")
	d := claimed(b, s)
	ev := opened(b, s, d, "talk-db")
	for seq := 2; b.Loop(); seq++ {
		must(b, s.AppendBatch(b.Context(), d, event(run.Event{Run: ev.Run, Seq: seq, Kind: run.Began, Step: 1}, state.StorePut{ID: "talk-db"})))
	}
}
