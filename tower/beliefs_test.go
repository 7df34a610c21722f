package tower

import (
	"testing"
	"time"

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
