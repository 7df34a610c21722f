// Package report draws what haechi found for people: as text, Markdown and HTML, and as SARIF for
// code review. It decides nothing.
package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/count"
)

// Entry is one cause with all that hangs on it: one fault is one thing to read.
type Entry struct {
	Cause    string // or, of what is said of many, how many these are
	Worst    audit.Severity
	Findings int
	Parts    []Part // what each rule says of it, worst first
}

// Head is the cause with how much hangs on it.
func (e Entry) Head() string {
	if e.Findings == 1 || general(e.Parts[0].First) {
		return e.Cause
	}
	return fmt.Sprintf("%s: %d findings", e.Cause, e.Findings)
}

// Part is what one rule says of a cause: the first finding in full, the others by name.
type Part struct {
	Rule   audit.Rule
	First  audit.Finding
	Others []audit.Finding
	Do     string // what would help; empty where the next part says the same
}

// entries groups findings, worst first, then those on which most hangs. What is said of many
// components in the same words, with nothing lost, is one entry, too.
func entries(fs []audit.Finding) []Entry {
	by := map[string][]audit.Finding{}
	for _, f := range fs { // they come worst first
		by[group(f)] = append(by[group(f)], f)
	}
	var out []Entry
	for _, g := range slices.Sorted(maps.Keys(by)) {
		e := Entry{Cause: by[g][0].Cause, Worst: by[g][0].Severity, Findings: len(by[g]), Parts: parts(by[g])}
		if n := len(by[g]); n > 1 && general(by[g][0]) {
			e.Cause = fmt.Sprintf("%d components", n)
		}
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b Entry) int {
		return cmp.Or(
			cmp.Compare(slices.Index(audit.Severities(), a.Worst), slices.Index(audit.Severities(), b.Worst)),
			cmp.Compare(b.Findings, a.Findings),
		)
	})
	return out
}

// group is what the findings of one entry have in common: their cause, or what would help.
func group(f audit.Finding) string {
	if general(f) {
		return "\x00" + string(f.Rule) + f.Remedy
	}
	return f.Cause
}

// general says whether a finding is about its component alone, and its remedy does not even name it.
func general(f audit.Finding) bool {
	return len(f.Scenario) == 0 && f.Cause == f.Component && (f.Rule == audit.Untested || f.Rule == audit.Backup || f.Rule == audit.Stale)
}

func parts(fs []audit.Finding) []Part {
	var out []Part
	for _, f := range fs {
		i := slices.IndexFunc(out, func(p Part) bool { return p.Rule == f.Rule })
		if i < 0 {
			out = append(out, Part{Rule: f.Rule, First: f})
			continue
		}
		out[i].Others = append(out[i].Others, f)
	}
	for i := range out {
		if i+1 == len(out) || out[i].First.Remedy != out[i+1].First.Remedy {
			out[i].Do = out[i].First.Remedy
		}
	}
	return out
}

// also lists the others of a part by name, with their severity where it is another than the first's.
// Of more than most it counts the rest; 0 lists all.
func (p Part) also(most int) string {
	names := make([]string, len(p.Others))
	for i, f := range p.Others {
		names[i] = f.Component
		if f.Severity != p.First.Severity {
			names[i] += " (" + string(f.Severity) + ")"
		}
	}
	return some(names, most)
}

// Told is what a finding says, with how often else it shows.
func Told(f audit.Finding) string {
	switch {
	case f.Others == 0:
		return f.Message
	case f.Rule == audit.SharedFate:
		return fmt.Sprintf("%s; the same goes for %s", f.Message, count.Of(f.Others, "other"))
	}
	return fmt.Sprintf("%s (the same in %s)", f.Message, count.Of(f.Others, "other scenario"))
}

// some joins names; of more than most it counts the rest; 0 joins all.
func some(names []string, most int) string {
	if most > 0 && len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// open and taken part the findings that somebody has accepted from the others.
func open(r audit.Report) []audit.Finding { return r.Open(audit.Low) }

func taken(r audit.Report) []audit.Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f audit.Finding) bool { return f.Accepted == nil })
}

// lapsed lists the findings that somebody had accepted, until a day that is past.
func lapsed(r audit.Report) []audit.Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f audit.Finding) bool { return f.Lapsed == nil })
}

// tally counts what is open by severity, and what is accepted.
func tally(r audit.Report) string {
	fs := open(r)
	if len(r.Findings) == 0 {
		return "nothing found"
	}
	var out []string
	for _, s := range audit.Severities() {
		out = append(out, fmt.Sprintf("%d %s", countOf(fs, s), s))
	}
	if n := len(taken(r)); n > 0 {
		out = append(out, fmt.Sprintf("%d accepted", n))
	}
	return strings.Join(out, ", ")
}

func countOf(fs []audit.Finding, s audit.Severity) int {
	n := 0
	for _, f := range fs {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// grid is how services do after the loss of each site.
type grid struct {
	Losses []string // sites, then the accidents that the estate names
	Hurt   []row    // services that are not up whichever is lost
	Fine   []row
}

type row struct {
	Service string
	Cells   []cell
}

// cell is how one service does when one site is lost.
type cell struct {
	State   string
	Missing float64 // servers
}

func gridOf(r audit.Report) grid {
	after := maps.Clone(r.Survives)
	maps.Copy(after, r.Accidents)
	return gridFor(append(slices.Sorted(maps.Keys(r.Survives)), slices.Sorted(maps.Keys(r.Accidents))...), after)
}

// smallGrid is how services do after the loss of each thing smaller than a site that touches any.
func smallGrid(r audit.Report) grid { return gridFor(slices.Sorted(maps.Keys(r.Parts)), r.Parts) }

// gridFor puts losses beside each other. A service that a loss does not speak of is up.
func gridFor(losses []string, after map[string]audit.Survival) grid {
	g := grid{Losses: losses}
	seen := map[string]bool{}
	for _, s := range after {
		for n := range s.Services {
			seen[n] = true
		}
	}
	for _, n := range slices.Sorted(maps.Keys(seen)) {
		x, hurt := row{Service: n}, false
		for _, s := range g.Losses {
			c := cell{State: cmp.Or(after[s].Services[n], "up"), Missing: after[s].Shortfall[n]}
			x.Cells, hurt = append(x.Cells, c), hurt || c.State != "up"
		}
		if hurt {
			g.Hurt = append(g.Hurt, x)
		} else {
			g.Fine = append(g.Fine, x)
		}
	}
	return g
}

// servers draws a number of servers as people say it.
func servers(x float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", x), ".0") }

// more is how many others are.
func more(n int) string {
	if n == 1 {
		return "1 more is"
	}
	return fmt.Sprintf("%d more are", n)
}
