package bench

import (
	"fmt"
	"strings"
)

// String draws one line of the table.
func (n ReturnNumber) String() string {
	asked := fmt.Sprintf("must %g, goal %g", n.Must, n.Goal)
	if n.Must == 0 && n.Goal == 0 {
		asked = "to compare with"
	}
	if n.Absent != "" {
		return fmt.Sprintf("%-60s NOT MEASURED (%s): %s", n.Figure, asked, n.Absent)
	}
	reached := map[string]string{"goal": "goal reached", "must": "must reached", "no": "NOT REACHED"}[n.Reached]
	out := fmt.Sprintf("%-60s %10.2f %-2s  %s: %s", n.Figure, n.Measured, n.Unit, asked, reached)
	if n.Scaled != "" {
		out += " (" + n.Scaled + ")"
	}
	return out
}

// String draws the whole report.
func (r ReturnReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d clients, %.0f messages/s, seed %d\n", r.Machine, r.Clients, r.Rate, r.Seed)
	for _, n := range r.Numbers {
		fmt.Fprintf(&b, "%s\n", n)
	}
	return b.String()
}

// Short is the error of a report in which something did not reach what it must, or was not measured.
func (r ReturnReport) Short() error {
	var missed []string
	for _, n := range r.Numbers {
		switch {
		case n.Absent != "" && (n.Must != 0 || n.Goal != 0):
			missed = append(missed, n.Figure+": not measured")
		case n.Absent == "" && n.Reached == "no":
			missed = append(missed, fmt.Sprintf("%s: %.2f %s, must be %g", n.Figure, n.Measured, n.Unit, n.Must))
		}
	}
	if len(missed) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrShort, strings.Join(missed, "; "))
}
