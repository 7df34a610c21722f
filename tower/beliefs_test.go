package tower

import (
	"slices"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
)

// What the response knows of a run, from the moment on at which this tower has it opened.
func TestARunIsKnownBeforeItsFirstEvent(t *testing.T) {
	p := plan.Plan{Version: 1, Kind: plan.LoseStore, Subject: "talk-db", Steps: []plan.Step{
		{ID: 1, Verb: plan.Seal, Component: "talk-db", Driver: "postgres", Undo: plan.Unseal},
		{ID: 2, Verb: plan.Withdraw, Component: "talk.example.", Driver: plan.DNS},
	}}
	fresh := openRun(run.Run{ID: "r-1", Plan: p})
	if len(fresh.Stores) != 1 || len(fresh.Settled) != 0 || !fresh.Idle.IsZero() || !fresh.Closed.IsZero() {
		t.Errorf("before its first event: %+v", fresh)
	}
	at := time.Date(2022, 10, 15, 6, 0, 0, 0, time.UTC)
	r, err := run.Replay([]run.Event{
		{Run: "r-1", Seq: 1, At: at, Term: 1, Kind: run.Opened, Plan: &p},
		{Run: "r-1", Seq: 2, At: at, Term: 1, Kind: run.Began, Step: 1},
		{Run: "r-1", Seq: 3, At: at.Add(time.Second), Term: 1, Kind: run.Ended, Step: 1, Outcome: run.Done},
	})
	if err != nil {
		t.Fatal(err)
	}
	if o := openRun(r); !o.Settled["talk-db"].Equal(at.Add(time.Second)) || !o.Closed.IsZero() {
		t.Errorf("done with its store: %+v", o)
	}
}

// A run that brings a member back says which, and from when on it only compares: that may be taken over.
func TestWhatOnlyComparesIsKnown(t *testing.T) {
	p := plan.Plan{Version: 2, Kind: plan.BringBack, Subject: "talk-db", Steps: []plan.Step{
		{ID: 1, Verb: plan.Rejoin, Component: "talk-db", Driver: "postgres", Members: []string{"pangyo"}},
		{ID: 2, Verb: plan.Return, Component: "talk-db", Driver: "postgres", Members: []string{"pangyo"}, After: []int{1}},
		{ID: 3, Verb: plan.Verify, Component: "talk-db", Driver: "postgres", Members: []string{"ansan", "pangyo"}, After: []int{2}, Limit: estate.Duration(time.Hour)},
	}}
	if fresh := openRun(run.Run{ID: "r-1", Plan: p}); fresh.Member != "pangyo" || fresh.Anew || len(fresh.Compares) > 0 {
		t.Errorf("before its first event: %+v", fresh)
	}
	anew := p
	anew.Steps = slices.Clone(p.Steps)
	anew.Steps[0].Args = map[string]string{plan.ArgAnew: "true"}
	if o := openRun(run.Run{ID: "r-1", Plan: anew}); !o.Anew {
		t.Errorf("to be made anew: %+v", o)
	}
	at := time.Date(2022, 10, 15, 6, 0, 0, 0, time.UTC)
	events := []run.Event{{Kind: run.Opened, Plan: &p}, {Kind: run.Began, Step: 1}, {Kind: run.Ended, Step: 1, Outcome: run.Done}, {Kind: run.Began, Step: 2},
		{Kind: run.Ended, Step: 2, Outcome: run.Done}, {Kind: run.Began, Step: 3}, {Kind: run.Ended, Step: 3, Outcome: run.NotDone}, {Kind: run.Ended, Step: 3, Outcome: run.Done}}
	for i := range events {
		events[i].Run, events[i].Seq, events[i].At, events[i].Term = "r-1", i+1, at.Add(time.Duration(i)*time.Second), 1
		r, err := run.Replay(events[:i+1])
		if err != nil {
			t.Fatal(err)
		}
		since, compares := openRun(r).Compares["talk-db"]
		if want := i >= 4 && i < 7; compares != want || want && !since.Equal(at.Add(4*time.Second)) {
			t.Errorf("after event %d: %v since %v", i+1, compares, since)
		}
	}
}
