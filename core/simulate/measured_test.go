package simulate_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/simulate"
)

// diary is a journal with so many runs of one seal each, which took the given milliseconds; an attempt of
// which nobody heard comes first where doubt is set, and two people agree a minute and two after the question.
func diary(t *testing.T, runs, ms int, doubt bool) []journal.Entry {
	t.Helper()
	var out []journal.Entry
	at := time.Unix(0, 0).UTC()
	put := func(ev run.Event) {
		ev.At = at
		b, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, journal.Entry{Seq: uint64(len(out) + 1), Kind: "run", Data: b})
	}
	for n := range runs {
		id := run.ID(fmt.Sprintf("r-%d", n))
		put(run.Event{Run: id, Kind: run.Opened, Plan: &plan.Plan{Steps: []plan.Step{{ID: 1, Verb: plan.Seal, Component: "db"}}}})
		put(run.Event{Run: id, Kind: run.Asked, Why: "may it?"})
		at = at.Add(time.Minute)
		put(run.Event{Run: id, Kind: run.Approved, By: "kim"})
		at = at.Add(2 * time.Minute)
		put(run.Event{Run: id, Kind: run.Approved, By: "lee"})
		put(run.Event{Run: id, Kind: run.Began, Step: 1})
		if doubt {
			put(run.Event{Run: id, Kind: run.Ended, Step: 1, Outcome: run.Unknown, Took: estate.Duration(time.Second)})
		}
		put(run.Event{Run: id, Kind: run.Ended, Step: 1, Outcome: run.Done, Took: estate.Duration(time.Duration(ms) * time.Millisecond)})
	}
	return append(out, journal.Entry{Seq: uint64(len(out) + 1), Kind: "note", Text: "not a run"})
}

func TestMeasuredTimesTakeThePlaceOfDefaults(t *testing.T) {
	m, used, err := certain().Measured(diary(t, simulate.LeastMeasured, 700, false))
	if err != nil {
		t.Fatal(err)
	}
	if used["seal"] != simulate.LeastMeasured || used["answer"] != 2*simulate.LeastMeasured {
		t.Errorf("used %v", used)
	}
	for n := range 20 {
		if d := m.Steps[plan.Seal].Draw(luck(n)); d != 700*time.Millisecond {
			t.Fatalf("a seal takes %v", d)
		}
		if d := m.Answer.Draw(luck(n)); d != time.Minute && d != 2*time.Minute {
			t.Fatalf("an answer takes %v", d)
		}
	}
	if m.Steps[plan.Promote].Measured != nil {
		t.Error("a promotion was never measured")
	}
}

func TestTooFewOrDoubtfulTimesDoNotCount(t *testing.T) {
	for what, entries := range map[string][]journal.Entry{
		"too few":                diary(t, simulate.LeastMeasured-1, 700, false),
		"ended by looking at it": diary(t, simulate.LeastMeasured, 700, true),
	} {
		m, _, err := certain().Measured(entries)
		if err != nil {
			t.Fatal(err)
		}
		if d := m.Steps[plan.Seal]; d.Measured != nil {
			t.Errorf("%s: %v", what, d)
		}
	}
	bad := []journal.Entry{{Seq: 7, Kind: "run", Data: []byte(`{"seq":"x"}`)}}
	if _, _, err := certain().Measured(bad); err == nil || !strings.Contains(err.Error(), "entry 7") {
		t.Errorf("a broken entry: %v", err)
	}
}
