package bench

import (
	"fmt"
	"strings"
)

// String draws one row of the table.
func (n ReturnNumber) String() string {
	asked := fmt.Sprintf("must %g, goal %g", n.Must, n.Goal)
	if n.Must == 0 && n.Goal == 0 {
		asked = "to compare with"
	}
	if n.Absent != "" {
		return fmt.Sprintf("%-64s %13s  %-20s NOT MET, not measured: %s", n.Figure, "–", asked, n.Absent)
	}
	reached := map[string]string{"goal": "goal met", "must": "must met", "no": "NOT MET", "": ""}[n.Reached]
	out := fmt.Sprintf("%-64s %10.2f %-2s  %-20s %s", n.Figure, n.Measured, n.Unit, asked, reached)
	if n.Note != "" {
		out += " (" + n.Note + ")"
	}
	return strings.TrimRight(out, " ")
}

// String draws the whole report.
func (r ReturnReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d clients, %.0f messages/s, seed %d\n", r.Machine, r.Clients, r.Rate, r.Seed)
	for _, n := range r.Numbers {
		fmt.Fprintf(&b, "%s\n", n)
	}
	if r.Patroni != nil {
		fmt.Fprintf(&b, "\nPatroni (%s) says of its rewind:\n", r.Patroni.Settings)
		for _, line := range r.Patroni.Said {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	return b.String()
}

// Short is the error of a report in which something did not reach what it must, or was not measured.
func (r ReturnReport) Short() error {
	var missed []string
	for _, n := range r.Numbers {
		switch {
		case n.Absent != "":
			missed = append(missed, n.Figure+": not measured")
		case n.Reached == "no":
			missed = append(missed, fmt.Sprintf("%s: %.2f %s, must be %g", n.Figure, n.Measured, n.Unit, n.Must))
		}
	}
	if len(missed) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrShort, strings.Join(missed, "; "))
}
