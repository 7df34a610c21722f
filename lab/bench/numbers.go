package bench

import (
	"errors"
	"fmt"
	"strings"

	"github.com/haechi/haechi/lab/trial"
)

// Number is one figure against what is asked of it.
type Number struct {
	Figure   string  `json:"figure"`
	Unit     string  `json:"unit"`
	Measured float64 `json:"measured"`
	Must     float64 `json:"must"`
	Goal     float64 `json:"goal"`
	More     bool    `json:"more,omitempty"` // more is better
	Reached  string  `json:"reached"`        // "goal", "must" or "no"
}

func number(figure, unit string, measured, must, goal float64) Number {
	n := Number{Figure: figure, Unit: unit, Measured: measured, Must: must, Goal: goal, Reached: "no"}
	switch {
	case measured < 0: // it never happened
	case measured <= goal:
		n.Reached = "goal"
	case measured <= must:
		n.Reached = "must"
	}
	return n
}

// numbers compares what was measured with what is asked of the profile fast.
func numbers(r Report) (out []Number) {
	add := func(figure, unit string, measured, must, goal float64) {
		out = append(out, number(figure, unit, measured, must, goal))
	}
	fast := haechiName("fast")
	if s, ok := r.of(fast, "fire"); ok {
		add("fire: first acknowledgement, median", "s", float64(s.FirstAck.Median), 2.5, 1.2)
		add("fire: first acknowledgement, worst", "s", float64(s.FirstAck.Worst), 4, 2)
		add("fire: all clients served again, median", "s", float64(s.AllServed.Median), 5, 3)
	}
	if s, ok := r.of(fast, Evacuation); ok {
		add("evacuation: longest pause, median", "s", float64(s.LongestPause.Median), .5, .2)
	}
	wrong, seen := 0, false
	for _, s := range r.Summary {
		if strings.HasPrefix(s.System, "haechi") && s.Acknowledged > 0 && s.Kind != FireTogether && s.Kind != FireApart {
			wrong, seen = wrong+s.Lost+s.Duplicated+s.OutOfOrder, true
		}
	}
	if seen {
		add("messages lost, duplicated or out of order", "", float64(wrong), 0, 0)
	}
	if rest, ok := r.Rest["fast"]; ok {
		add("tower at rest: resident memory", "MB", rest.Tower.MB, 150, 80)
		add("tower at rest: share of a core", "%", rest.Tower.Percent, 5, 3)
		add("agent at rest: resident memory", "MB", rest.Agent.MB, 30, 15)
	}
	if ratio := r.ratio(); ratio > 0 {
		n := Number{Figure: "Patroni's write gap over ours, its tightest settings", Unit: "x", Measured: ratio, Must: 8, Goal: 25, More: true, Reached: "no"}
		if ratio >= n.Goal {
			n.Reached = "goal"
		} else if ratio >= n.Must {
			n.Reached = "must"
		}
		out = append(out, n)
	}
	return out
}

// ErrShort says that a bench ran and did not reach what it must.
var ErrShort = errors.New("the bench did not reach what it must")

// Short returns what must be reached and was not, each by its name; nil where nothing is missing.
func (r Report) Short() error {
	var missed []string
	for _, n := range r.Numbers {
		if n.Reached == "no" {
			missed = append(missed, fmt.Sprintf("%s: %.2f %s, must be %g", n.Figure, n.Measured, n.Unit, n.Must))
		}
	}
	for _, s := range r.Summary {
		if strings.HasPrefix(s.System, "haechi") && s.Failed > 0 && (s.Kind == "fire" || s.Kind == Evacuation) {
			missed = append(missed, fmt.Sprintf("%s, %s: %d of %d were not measured", s.System, s.Kind, s.Failed, s.Trials))
		}
	}
	if len(missed) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrShort, strings.Join(missed, "; "))
}

// ratio is Patroni's median write gap over haechi's; 0 where one of them is missing.
func (r Report) ratio() float64 {
	ours, ok1 := r.of(haechiName("fast"), "fire")
	theirs, ok2 := r.of(patroniTightest, "fire")
	if !ok1 || !ok2 || ours.FirstAck.Median <= 0 || theirs.FirstAck.Median <= 0 {
		return 0
	}
	return float64(theirs.FirstAck.Median) / float64(ours.FirstAck.Median)
}

// String draws the report for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d clients, %.0f messages/s, seed %d\n\n", r.Machine, r.Clients, r.Rate, r.Seed)
	for name, settings := range sorted(r.Settings) {
		fmt.Fprintf(&b, "%s: %s\n", name, settings)
	}
	fmt.Fprintf(&b, "\n%-20s %-15s %6s %9s %5s   %-17s %-17s %-17s\n", "median / worst", "", "trials", "acked", "lost", "first ack", "all served", "longest pause")
	for _, s := range r.Summary {
		failed := ""
		if s.Failed+s.Troubled > 0 {
			failed = fmt.Sprintf("  %d not measured, %d with trouble", s.Failed, s.Troubled)
		}
		fmt.Fprintf(&b, "%-20s %-15s %6d %9d %5d   %-17s %-17s %-17s%s\n", s.System, s.Kind, s.Trials, s.Acknowledged, s.Lost+s.Duplicated+s.OutOfOrder,
			s.FirstAck, s.AllServed, s.LongestPause, failed)
	}
	fmt.Fprintf(&b, "\n%-36s %-17s %-17s %-17s %-17s %-17s\n", "where the time goes", "detection", "decision", "seal", "promotion", "reconnect")
	for _, s := range r.Summary {
		if s.Seal.Median != trial.Never || s.Promotion.Median != trial.Never {
			fmt.Fprintf(&b, "%-20s %-15s %-17s %-17s %-17s %-17s %-17s\n", s.System, s.Kind, s.Detection, s.Decision, s.Seal, s.Promotion, s.Reconnect)
		}
	}
	if len(r.Numbers) > 0 {
		fmt.Fprintf(&b, "\n%-55s %10s %8s %8s   %s\n", "", "measured", "must", "goal", "reached")
	}
	for _, n := range r.Numbers {
		fmt.Fprintf(&b, "%-55s %8.2f %-2s %7g %8g   %s\n", n.Figure, n.Measured, n.Unit, n.Must, n.Goal, n.Reached)
	}
	return b.String()
}
