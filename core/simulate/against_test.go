package simulate_test

import (
	"testing"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/simulate"
)

func TestARunIsHeldBesideItsForecast(t *testing.T) {
	f := simulate.Forecast{Lose: []string{"pangyo"}, Steps: []simulate.Due{
		{What: "seal db", Spread: simulate.Spread{P50: 0.1, P95: 0.15}},
		{What: "promote db", Spread: simulate.Spread{P50: 0.3, P95: 0.4}},
		{What: "withdraw shop.", Spread: simulate.Spread{P50: 0.05, P95: 0.1}},
	}}
	at := time.Unix(0, 0).UTC()
	opened := run.Event{Run: "r-1", Kind: run.Opened, At: at, Plan: &plan.Plan{Kind: plan.LoseSite, Subject: "pangyo", Lost: []string{"pangyo"},
		Steps: []plan.Step{{ID: 1, Verb: plan.Seal, Component: "db"}, {ID: 2, Verb: plan.Promote, Component: "db"}, {ID: 3, Verb: plan.Withdraw, Component: "shop."}}}}
	ended := func(step int, o run.Outcome, ms int) run.Event {
		return run.Event{Run: "r-1", Kind: run.Ended, Step: step, Outcome: o, At: at.Add(time.Duration(ms) * time.Millisecond)}
	}
	events := []run.Event{opened, ended(1, run.Unknown, 90), ended(1, run.Done, 120), ended(2, run.Done, 450), ended(3, run.NotDone, 60)}
	got, ok := f.Against(events)
	if !ok || len(got) != 3 {
		t.Fatalf("%v %v", got, ok)
	}
	for i, want := range []struct {
		took float64
		late bool
	}{{0.12, false}, {0.45, true}, {-1, true}} {
		if got[i].Took != want.took || got[i].Late != want.late || got[i].Due != f.Steps[i] {
			t.Errorf("%+v", got[i])
		}
	}
	for what, other := range map[string]plan.Plan{
		"an evacuation":  {Kind: plan.Evacuate, Lost: []string{"pangyo"}},
		"another site":   {Kind: plan.LoseSite, Lost: []string{"ansan"}},
		"two sites gone": {Kind: plan.LoseSite, Lost: []string{"ansan", "pangyo"}},
	} {
		if got, ok := f.Against([]run.Event{{Kind: run.Opened, Plan: &other}}); ok {
			t.Errorf("%s is held beside the loss of pangyo: %v", what, got)
		}
	}
	if _, ok := f.Against(nil); ok {
		t.Error("no run is held beside a forecast")
	}
}

// What is foreseen are the very steps of the plan, and each comes after what it waits for.
func TestStepsAreForeseen(t *testing.T) {
	s, err := simulate.New(load(t, base, towers, shop), []string{"pangyo"}, certain())
	if err != nil {
		t.Fatal(err)
	}
	var outs []simulate.Outcome
	for n := range 20 {
		outs = append(outs, s.Once(luck(n)))
	}
	f := s.Gather(1, outs)
	last := map[string]float64{}
	for _, d := range f.Steps {
		last[d.What] = d.P50
	}
	for _, p := range s.Plans() {
		for _, step := range p.Steps {
			if at, ok := last[string(step.Verb)+" "+step.Component]; !ok || at <= 0 {
				t.Errorf("%s %s is not foreseen, or with nothing before it: %v", step.Verb, step.Component, last)
			}
		}
	}
	if len(last) == 0 || !(last["seal orders"] < last["promote orders"]) {
		t.Errorf("%v", last)
	}
}
