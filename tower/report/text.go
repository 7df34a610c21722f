package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/width"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/count"
	"github.com/haechi/haechi/core/estate"
)

const (
	columns = 100 // how wide text for people is
	few     = 12  // names are listed; the rest is counted
)

// Text draws an audit for a terminal.
func Text(w io.Writer, r audit.Report) {
	write(w, "", fmt.Sprintf("%s: %s, %s; %s", r.Estate, count.Of(r.Components, "component"), count.Of(r.Scenarios, "scenario"), tally(r)))
	for _, e := range entries(open(r)) {
		textEntry(w, e)
	}
	textAccepted(w, r)
	fmt.Fprintln(w)
	textGrid(w, gridOf(r))
}

func textEntry(w io.Writer, e Entry) {
	fmt.Fprintln(w)
	write(w, fmt.Sprintf("%-10s", strings.ToUpper(string(e.Worst))), e.Head())
	for _, p := range e.Parts {
		write(w, "  ", string(p.Rule)+": "+Told(p.First))
		if len(p.Others) > 0 {
			write(w, "    ", "also "+p.also(few))
		}
		if p.Do != "" {
			write(w, "    ", "do: "+p.Do)
		}
		for _, f := range append([]audit.Finding{p.First}, p.Others...) {
			if l := f.Lapsed; l != nil {
				write(w, "    ", fmt.Sprintf("%s had accepted this of %s until %s, which is past", l.Owner, f.Component, day(*l)))
			}
		}
	}
}

// textAccepted shows what somebody has taken on, and what of that answers to nothing.
func textAccepted(w io.Writer, r audit.Report) {
	if len(taken(r))+len(r.Unused) == 0 {
		return
	}
	fmt.Fprintln(w)
	write(w, "", "ACCEPTED")
	for _, f := range taken(r) {
		write(w, "  ", fmt.Sprintf("%s: %s (%s)", f.Rule, Told(f), f.Severity))
		write(w, "    ", "accepted by "+f.Accepted.Owner+" until "+day(*f.Accepted)+": "+f.Accepted.Why)
	}
	for _, a := range r.Unused {
		write(w, "  ", unused(a))
	}
}

// unused says of an accepted risk that nothing found answers to it.
func unused(a estate.Accepted) string {
	return fmt.Sprintf("%s has accepted %s of %s, which is not found: correct the line, or take it away", a.Owner, a.Rule, a.Component)
}

func day(a estate.Accepted) string { return a.Until.Format("2006-01-02") }

// textGrid draws how services do after the loss of each site, those that are always up left out.
func textGrid(w io.Writer, g grid) {
	switch {
	case len(g.Losses) == 0 || len(g.Hurt)+len(g.Fine) == 0:
		return
	case len(g.Hurt) == 0:
		write(w, "", fmt.Sprintf("all %s are up after the loss of any one site (%s)", count.Of(len(g.Fine), "service"), strings.Join(g.Losses, ", ")))
		return
	}
	table := [][]string{append([]string{"when lost:"}, g.Losses...)}
	for _, x := range g.Hurt {
		line := []string{x.Service}
		for _, c := range x.Cells {
			line = append(line, c.text())
		}
		table = append(table, line)
	}
	textTable(w, table)
	if n := len(g.Fine); n > 0 {
		fmt.Fprintf(w, "%s up whichever site is lost\n", more(n))
	}
}

func (c cell) text() string {
	out := c.State
	if out != "up" {
		out = strings.ToUpper(out)
	}
	if c.Missing > 0 {
		out += " -" + servers(c.Missing)
	}
	return out
}

// textTable draws a table; columns that do not fit beside the others follow below, behind the first.
func textTable(w io.Writer, table [][]string) {
	wide := make([]int, len(table[0]))
	for _, line := range table {
		for i, c := range line {
			wide[i] = min(max(wide[i], columnsOf(c)), columns/2-2)
		}
	}
	for from := 1; from < len(wide); {
		to, used := from, wide[0]
		for to < len(wide) && (to == from || used+2+wide[to] <= columns) {
			used += 2 + wide[to]
			to++
		}
		for _, line := range table {
			out := padded(line[0], wide[0])
			for i := from; i < to; i++ {
				out += "  " + padded(line[i], wide[i])
			}
			fmt.Fprintln(w, strings.TrimRight(out, " "))
		}
		from = to
	}
}

// padded fills a text up to a width, and cuts what is longer.
func padded(s string, wide int) string {
	if columnsOf(s) > wide {
		head, _ := cut(s, wide-1)
		s = head + "…"
	}
	return s + strings.Repeat(" ", max(0, wide-columnsOf(s)))
}

// write wraps a paragraph into lines of at most the width of a terminal: the first behind what leads
// it, the others behind as much room and a bit.
func write(w io.Writer, lead, text string) {
	indent := strings.Repeat(" ", columnsOf(lead)+2)
	line, fresh := lead, true
	for _, word := range strings.Fields(plain(text)) {
		for word != "" {
			if !fresh && columnsOf(line)+1+columnsOf(word) > columns {
				fmt.Fprintln(w, line)
				line, fresh = indent, true
			}
			if !fresh {
				line += " "
			}
			head, rest := cut(word, columns-columnsOf(line))
			line, word, fresh = line+head, rest, false
		}
	}
	fmt.Fprintln(w, line)
}

// cut parts a text after so many columns.
func cut(s string, at int) (head, rest string) {
	used := 0
	for i, r := range s {
		if used += runeColumns(r); used > at {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

func columnsOf(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

// runeColumns is how many columns of a terminal a letter takes: Korean ones take two.
func runeColumns(r rune) int {
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// plain takes out what would steer a terminal or turn the direction of reading: it came out of a file.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && !slices.Contains([]rune{'\n', '\t'}, r) || unicode.Is(unicode.Bidi_Control, r) {
			return '·'
		}
		return r
	}, s)
}
