package tower

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/executor"
)

func opened(t *testing.T, path string) *spool {
	t.Helper()
	s, err := openSpool(path, "a", func() (estate.Estate, map[estate.StoreID]situation.Store) { return estate.Estate{Name: "own"}, nil })
	must(t, err)
	return s
}

func (s *spool) put(t *testing.T, events ...run.Event) {
	t.Helper()
	must(t, s.Append(t.Context(), 1, events, executor.Change{}))
}

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// local are the first events of a run with one step.
func local(id run.ID) []run.Event {
	p := &plan.Plan{Kind: plan.CutUsers, Subject: "a", Steps: []plan.Step{{ID: 1, Verb: plan.Withdraw, Driver: "dns", Component: "talk.example.", Site: "a", Reason: plan.Asked}}}
	return []run.Event{
		{Run: id, Seq: 1, At: noon, Tower: "tower-a", Kind: run.Opened, Plan: p, Estate: 3},
		{Run: id, Seq: 2, At: noon, Tower: "tower-a", Kind: run.Began, Step: 1},
	}
}

// Whatever was cut off with the power, the rest is there, and what is written next can be read.
func TestASpoolSurvivesACutOffLastLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool.jsonl")
	first := opened(t, path)
	events := local("local-a-1")
	first.put(t, events...)
	whole, err := os.ReadFile(path)
	must(t, err)
	for cut := 1; cut < 80; cut += 7 {
		must(t, os.WriteFile(path, whole[:len(whole)-cut], 0o600))
		s := opened(t, path)
		if diff := cmp.Diff(events[:1], s.held()); diff != "" {
			t.Fatalf("%d bytes short:\n%s", cut, diff)
		}
		s.put(t, events[1])
		if diff := cmp.Diff(events, opened(t, path).held()); diff != "" {
			t.Fatalf("%d bytes short, then written again:\n%s", cut, diff)
		}
	}
}

func TestASpoolGoesOnWhereItStopped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool.jsonl")
	s := opened(t, path)
	if r := s.standing(); len(r) != 0 {
		t.Fatalf("runs in an empty spool: %v", r)
	}
	for want := range 2 {
		id, err := s.NewID(t.Context())
		must(t, err)
		if id != run.ID([]string{"local-a-1", "local-a-2"}[want]) {
			t.Fatalf("id = %s", id)
		}
		s.put(t, local(id)...)
		s = opened(t, path)
	}
	users := subject{plan.CutUsers, "a"}
	if r := s.standing()[users]; r.ID != "local-a-2" || r.Closed != "" {
		t.Fatalf("it goes on with %+v", r)
	}
	s.put(t, run.Event{Run: "local-a-2", Seq: 3, At: noon, Kind: run.Ended, Step: 1, Outcome: run.Done}, run.Event{Run: "local-a-2", Seq: 4, At: noon, Kind: run.Closed, Why: "done"})
	if r := s.standing()[users]; r.Status() != run.StatusDone {
		t.Fatalf("it goes on with %+v", r)
	}
	events, err := s.Load(t.Context(), "local-a-1")
	must(t, err)
	if diff := cmp.Diff(local("local-a-1"), events); diff != "" {
		t.Fatal(diff)
	}
}

// What a site did alone has to be done again where it was let in since; what it closed
// stays to be opened until that is handed over.
func TestWhatWasTakenBackDoesNotStand(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "spool.jsonl"))
	of := func(id run.ID, kind plan.Kind, name string) []run.Event {
		events := local(id)
		events[0].Plan.Kind, events[0].Plan.Subject = kind, name
		return events
	}
	s.put(t, local("local-a-1")...)
	s.put(t, of("local-a-2", plan.CloseReads, "talk-db")...)
	if got := s.standing(); len(got) != 2 || got[subject{plan.CloseReads, "talk-db"}].ID != "local-a-2" {
		t.Fatalf("standing: %v", got)
	}
	s.put(t, of("local-a-3", plan.LevelDNS, "ns-a")...)
	if got := s.standing(); len(got) != 0 {
		t.Fatalf("standing after it was let in: %v", got)
	}
	if got := s.closed(); len(got) != 1 || got[0] != "talk-db" {
		t.Fatalf("closed: %v", got)
	}
}

// What was handed over is gone; what was not stays, also for the next process.
func TestASpoolIsHandedOverInPieces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool.jsonl")
	s := opened(t, path)
	s.put(t, local("local-a-1")...)
	must(t, s.forget(1))
	if diff := cmp.Diff(local("local-a-1")[1:], opened(t, path).held()); diff != "" {
		t.Fatal(diff)
	}
	s.put(t, local("local-a-2")...)
	if got := len(opened(t, path).held()); got != 3 {
		t.Fatalf("%d events", got)
	}
	must(t, s.forget(3))
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("the file is still there: %v", err)
	}
	s.put(t, local("local-a-3")...)
}

// A disk that takes no more is an error, and nothing is believed to be written.
func TestASpoolThatCannotBeWrittenSaysSo(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "missing", "spool.jsonl"))
	if err := s.Append(t.Context(), 1, local("local-a-1"), executor.Change{}); err == nil {
		t.Fatal("it wrote into a directory that is not there")
	}
	if len(s.held()) != 0 {
		t.Fatalf("it holds %v", s.held())
	}
}
