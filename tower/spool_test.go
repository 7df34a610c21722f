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
	"github.com/haechi/haechi/tower/executor"
)

func opened(t *testing.T, path string) *spool {
	t.Helper()
	s, err := openSpool(path, "a", func() (estate.Estate, uint64) { return estate.Estate{Name: "own"}, 3 })
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
	if _, ok := s.last(); ok {
		t.Fatal("there is a run in an empty spool")
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
	r, ok := s.last()
	if !ok || r.ID != "local-a-2" || r.Closed != "" {
		t.Fatalf("last = %+v", r)
	}
	s.put(t, run.Event{Run: "local-a-2", Seq: 3, At: noon, Kind: run.Ended, Step: 1, Outcome: run.Done}, run.Event{Run: "local-a-2", Seq: 4, At: noon, Kind: run.Closed, Why: "done"})
	if r, _ := s.last(); r.Status() != run.StatusDone {
		t.Fatalf("last = %+v", r)
	}
	events, err := s.Load(t.Context(), "local-a-1")
	must(t, err)
	if diff := cmp.Diff(local("local-a-1"), events); diff != "" {
		t.Fatal(diff)
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
