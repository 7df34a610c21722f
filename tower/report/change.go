package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/count"
)

// ChangeText draws for a terminal what a change makes better or worse.
func ChangeText(w io.Writer, c audit.Change) {
	for _, s := range sections(c) {
		write(w, "", strings.ToUpper(s.title))
		for _, l := range s.lines {
			write(w, "  ", l.text)
			if l.do != "" {
				write(w, "    ", "do: "+l.do)
			}
		}
		fmt.Fprintln(w)
	}
	write(w, "", verdict(c))
}

// ChangeMarkdown draws the same for a comment on a change.
func ChangeMarkdown(w io.Writer, c audit.Change) {
	fmt.Fprintf(w, "## What the change does to what would be lost\n\n%s.\n", md(verdict(c)))
	for _, s := range sections(c) {
		fmt.Fprintf(w, "\n### %s\n\n", strings.ToUpper(s.title[:1])+s.title[1:])
		for _, l := range s.lines {
			fmt.Fprintf(w, "- %s\n", md(l.text))
			if l.do != "" {
				fmt.Fprintf(w, "  - **do:** %s\n", md(l.do))
			}
		}
	}
}

// section is one list of what changes.
type section struct {
	title string
	lines []line
}

type line struct{ text, do string }

// sections lists what changes, what is worse first; lists that are empty are left away.
func sections(c audit.Change) []section {
	var better, worse, other []line
	for _, x := range c.Changed {
		switch l := (line{text: changed(x)}); {
		case x.Worse():
			l.do = x.Is.Remedy
			worse = append(worse, l)
		case x.Was.Severity != x.Is.Severity || x.Was.Accepted == nil && x.Is.Accepted != nil:
			better = append(better, l)
		default:
			other = append(other, l)
		}
	}
	for _, m := range c.Moved {
		if m.Worse() {
			worse = append(worse, line{text: moved(m)})
		} else {
			better = append(better, line{text: moved(m)})
		}
	}
	all := []section{
		{"new", found(c.New, true)}, {"worse", worse}, {"found still, in another way", other}, {"better", better}, {"gone", found(c.Gone, false)},
	}
	return slices.DeleteFunc(all, func(s section) bool { return len(s.lines) == 0 })
}

func found(fs []audit.Finding, do bool) []line {
	var out []line
	for _, e := range entries(fs) {
		for _, p := range e.Parts {
			l := line{text: fmt.Sprintf("%s %s: %s", strings.ToUpper(string(p.First.Severity)), p.Rule, Told(p.First))}
			if p.First.Accepted != nil {
				l.text += " (accepted by " + p.First.Accepted.Owner + ")"
			}
			if len(p.Others) > 0 {
				l.text += "; also " + p.also(few)
			}
			if do {
				l.do = p.Do
			}
			out = append(out, l)
		}
	}
	return out
}

// changed says how a finding differs.
func changed(c audit.Changed) string {
	var how []string
	if c.Was.Severity != c.Is.Severity {
		how = append(how, fmt.Sprintf("%s instead of %s", c.Is.Severity, c.Was.Severity))
	}
	if c.Was.Cause != c.Is.Cause {
		how = append(how, fmt.Sprintf("its cause is %s, was %s", c.Is.Cause, c.Was.Cause))
	}
	switch {
	case c.Was.Accepted == nil && c.Is.Accepted != nil:
		how = append(how, "now accepted by "+c.Is.Accepted.Owner)
	case c.Was.Accepted != nil && c.Is.Accepted == nil:
		how = append(how, c.Was.Accepted.Owner+" no longer accepts it")
	}
	return fmt.Sprintf("%s of %s: %s; %s", c.Is.Rule, c.Is.Component, strings.Join(how, ", "), c.Is.Message)
}

// moved says how a service does otherwise.
func moved(m audit.Moved) string {
	return fmt.Sprintf("%s, when %s is lost: %s, was %s", m.Service, m.Site, fate(m.Is), fate(m.Was))
}

func fate(f audit.Fate) string {
	if f.Shortfall > 0 {
		return fmt.Sprintf("%s with %s servers missing", f.State, servers(f.Shortfall))
	}
	return f.State
}

// verdict counts what changes.
func verdict(c audit.Change) string {
	if c.Empty() {
		return "the audit finds the same as before"
	}
	worse := 0
	for _, x := range c.Changed {
		if x.Worse() {
			worse++
		}
	}
	parts := []string{fmt.Sprintf("%s new (%s), %d gone (%s)", count.Of(len(c.New), "finding"), bySeverity(c.New), len(c.Gone), bySeverity(c.Gone))}
	if worse > 0 {
		parts = append(parts, fmt.Sprintf("%d worse than before", worse))
	}
	better := 0
	for _, m := range c.Moved {
		if !m.Worse() {
			better++
		}
	}
	if n := len(c.Moved); n > 0 {
		parts = append(parts, fmt.Sprintf("when a site is lost %d times a service does worse, %d times better", n-better, better))
	}
	return strings.Join(parts, "; ")
}

func bySeverity(fs []audit.Finding) string {
	var out []string
	for _, s := range audit.Severities() {
		if n := countOf(fs, s); n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, s))
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}
