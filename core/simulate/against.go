package simulate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
)

// Due is when a step is done, counted from the moment in which the first run is on record: of the
// moment of the loss itself no journal knows.
type Due struct {
	What string `json:"what"` // as a journal has it, too: "promote talk-db"
	Spread
}

// Beside is a step as it was foreseen and as it went.
type Beside struct {
	Due
	Took float64 `json:"took"` // seconds until it was done; -1: it was not
	Late bool    `json:"late"` // later than in 95 of 100 simulated runs, or not at all
}

// due says of each step when it is done, in the runs in which it is.
func (s *Simulation) due(outs []Outcome) []Due {
	times := map[string][]time.Duration{}
	for _, o := range outs {
		first, done := time.Duration(-1), map[string]time.Duration{}
		for _, it := range o.items {
			switch {
			case it.kind == decided && (first < 0 || it.to < first):
				first = it.to
			case it.kind == stepped && !it.failed:
				done[s.what(it)] = max(done[s.what(it)], it.to)
			}
		}
		for what, at := range done {
			times[what] = append(times[what], at-max(first, 0))
		}
	}
	out := []Due{}
	for what, t := range times {
		out = append(out, Due{what, spread(t)})
	}
	slices.SortFunc(out, func(a, b Due) int { return cmp.Or(cmp.Compare(a.P50, b.P50), cmp.Compare(a.What, b.What)) })
	return out
}

// Against holds a run beside a forecast; false where it is not about the loss that was foreseen.
// events are the run's, as the journal has them.
func (f Forecast) Against(events []run.Event) ([]Beside, bool) {
	if len(events) == 0 || events[0].Plan == nil || events[0].Plan.Kind != plan.LoseSite || !sameSet(events[0].Plan.Lost, f.Lose) {
		return nil, false
	}
	steps, took := events[0].Plan.Steps, map[string]float64{}
	for _, ev := range events {
		if ev.Kind == run.Ended && ev.Outcome == run.Done && ev.Step >= 1 && ev.Step <= len(steps) {
			s := steps[ev.Step-1]
			what := string(s.Verb) + " " + s.Component
			took[what] = max(took[what], seconds(ev.At.Sub(events[0].At)))
		}
	}
	out := []Beside{}
	for _, d := range f.Steps {
		b := Beside{Due: d, Took: -1, Late: true}
		if t, done := took[d.What]; done {
			b.Took, b.Late = t, t > d.P95
		}
		out = append(out, b)
	}
	return out, true
}

// Compared is one run beside a forecast.
type Compared struct {
	Run   run.ID    `json:"run"`
	At    time.Time `json:"at"` // when it was on record
	Steps []Beside  `json:"steps"`
}

// Compare holds the runs in a journal beside the forecast, in their order: those that are about the loss
// that was foreseen.
func (f Forecast) Compare(entries []journal.Entry) ([]Compared, error) {
	events, order := map[run.ID][]run.Event{}, []run.ID{}
	for _, e := range entries {
		if e.Kind != "run" {
			continue
		}
		var ev run.Event
		if err := json.Unmarshal(e.Data, &ev); err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		if events[ev.Run] == nil {
			order = append(order, ev.Run)
		}
		events[ev.Run] = append(events[ev.Run], ev)
	}
	out := []Compared{}
	for _, id := range order {
		if steps, ok := f.Against(events[id]); ok {
			out = append(out, Compared{id, events[id][0].At, steps})
		}
	}
	return out, nil
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b))))
}
