package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// String draws a step on one line:
//
//	02 choose talk-db [anyang ansan] after 1 (primary-lost) limit 1m0s
func (s Step) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%02d %s %s", s.ID, s.Verb, s.Component)
	if s.Site != "" {
		fmt.Fprintf(&b, " @%s", s.Site)
	}
	if len(s.Members) > 0 {
		fmt.Fprintf(&b, " [%s]", strings.Join(s.Members, " "))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Args)) {
		fmt.Fprintf(&b, " %s=%s", k, s.Args[k])
	}
	if len(s.After) > 0 {
		fmt.Fprintf(&b, " after %s", numbers(s.After))
	}
	fmt.Fprintf(&b, " (%s) limit %s", s.Reason, s.Limit)
	if s.Undo != "" {
		fmt.Fprintf(&b, " undo %s", s.Undo)
	}
	return b.String()
}

// String draws the plan, a line for each step and for each component that is stuck.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", p.Kind, p.Subject)
	if len(p.Lost) > 0 {
		fmt.Fprintf(&b, " without %s", strings.Join(p.Lost, " "))
	}
	b.WriteByte('\n')
	for _, s := range p.Steps {
		fmt.Fprintln(&b, s)
	}
	for _, s := range p.Blocked {
		fmt.Fprintf(&b, "stuck %s (%s)\n", s.Component, s.Because)
	}
	return b.String()
}

// Describe draws the plan as a table for people: what would be done, after what, why,
// within what time, how it is checked and how it is taken back; then what cannot be
// planned, and the way out.
func Describe(p Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Plan %s %s, hash %.12s\n", p.Kind, p.Subject, p.Hash)
	for _, why := range p.Because {
		fmt.Fprintf(&b, "  because %s\n", why)
	}
	if len(p.Lost) > 0 {
		fmt.Fprintf(&b, "  nothing is needed from %s\n", strings.Join(p.Lost, ", "))
	}
	if len(p.Steps) > 0 {
		b.WriteByte('\n')
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "STEP\tWHAT\tON\tAFTER\tWHY\tWITHIN\tIS DONE WHEN\tUNDO")
		for _, s := range p.Steps {
			fmt.Fprintf(w, "%d\t%s %s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, s.Verb, s.Component, on(s),
				orDash(numbers(s.After)), s.Reason, s.Limit, s.Checks, orDash(string(s.Undo)))
		}
		w.Flush() // a strings.Builder never fails
	}
	for _, s := range p.Blocked {
		fmt.Fprintf(&b, "\nStuck: %s (%s)\n  why  %s\n  out  %s\n", s.Component, s.Because, s.Why, s.Out)
	}
	return b.String()
}

// on says which members a step touches; of a name, which site's answers are meant.
func on(s Step) string {
	switch s.Verb {
	case Withdraw, Announce:
		return fmt.Sprintf("%s's answers, at %s", s.Site, strings.Join(s.Members, " "))
	case Watch:
		return fmt.Sprintf("%s's gateways", s.Site)
	}
	return orDash(strings.Join(s.Members, " "))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// numbers joins step IDs.
func numbers(ids []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ","), "[]")
}
