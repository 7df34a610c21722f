package simulate

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
)

// LeastMeasured is how many times of a verb there have to be before they count more than the defaults.
const LeastMeasured = 5

// Measured is the model with the times that a journal holds in place of those that were assumed: of each
// verb whose steps were done at least [LeastMeasured] times, and of people's answers likewise. It says how
// many of each there were.
func (m Model) Measured(entries []journal.Entry) (Model, map[string]int, error) {
	steps, answers, err := timesOf(entries)
	if err != nil {
		return m, nil, err
	}
	used := map[string]int{}
	m.Steps = maps.Clone(m.Steps)
	for v, times := range steps {
		if len(times) >= LeastMeasured {
			m.Steps[v], used[string(v)] = Dist{Measured: times}, len(times)
		}
	}
	if len(answers) >= LeastMeasured {
		m.Answer, used["answer"] = Dist{Measured: answers}, len(answers)
	}
	return m, used, nil
}

// timesOf reads the runs in a journal.
func timesOf(entries []journal.Entry) (steps map[plan.Verb][]estate.Duration, answers []estate.Duration, err error) {
	steps = map[plan.Verb][]estate.Duration{}
	verbs := map[run.ID][]plan.Verb{}
	looked := map[string]bool{} // attempts whose end nobody heard: what ends them next is a look
	asked := map[run.ID]run.Event{}
	for _, e := range entries {
		if e.Kind != "run" {
			continue
		}
		var ev run.Event
		if err := json.Unmarshal(e.Data, &ev); err != nil {
			return nil, nil, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		step := fmt.Sprint(ev.Run, " ", ev.Step)
		switch ev.Kind {
		case run.Opened:
			if ev.Plan == nil {
				return nil, nil, fmt.Errorf("entry %d opens run %s without its plan", e.Seq, ev.Run)
			}
			for _, s := range ev.Plan.Steps {
				verbs[ev.Run] = append(verbs[ev.Run], s.Verb)
			}
		case run.Began:
			looked[step] = false
		case run.Ended:
			if v := verbs[ev.Run]; ev.Outcome == run.Done && !looked[step] && ev.Step >= 1 && ev.Step <= len(v) && ev.Took > 0 {
				steps[v[ev.Step-1]] = append(steps[v[ev.Step-1]], ev.Took)
			}
			looked[step] = true
		case run.Asked:
			asked[ev.Run] = ev
		case run.Approved:
			if q, ok := asked[ev.Run]; ok && q.Step == ev.Step && ev.At.After(q.At) {
				answers = append(answers, estate.Duration(ev.At.Sub(q.At)))
				asked[ev.Run] = ev // the next person's time counts from here
			}
		}
	}
	return steps, answers, nil
}
