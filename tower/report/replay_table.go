package report

import (
	"fmt"
	"io"
	"strings"
)

// table has its numbers to the right, all but in the first Left columns.
type table struct {
	Head []string
	Left int
	Rows [][]string
}

// text sets a table in the width of a terminal: heads and the first column are broken where they must be.
func (t *table) text(w io.Writer) {
	wide := make([]int, len(t.Head))
	for _, row := range t.Rows {
		for i, c := range row {
			wide[i] = max(wide[i], columnsOf(c))
		}
	}
	rest := columns - 2
	for i, h := range t.Head {
		for word := range strings.FieldsSeq(h) {
			wide[i] = max(wide[i], columnsOf(word))
		}
		if i > 0 {
			rest -= wide[i] + 2
		}
	}
	wide[0] = min(wide[0], rest)
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		var cells [][]string
		lines := 1
		for i, c := range row {
			hang := ""
			if i == 0 {
				hang = "  "
			}
			cells = append(cells, broken(c, wide[i], hang))
			lines = max(lines, len(cells[i]))
		}
		for n := range lines {
			line := " "
			for i, c := range cells {
				part := ""
				if n < len(c) {
					part = c[n]
				}
				pad := strings.Repeat(" ", max(0, wide[i]-columnsOf(part)))
				if i < t.Left {
					line += " " + part + pad
				} else {
					line += "  " + pad + part
				}
			}
			fmt.Fprintln(w, strings.TrimRight(line, " "))
		}
	}
}

// broken breaks a text into lines of so many columns, between words; all but the first hang.
func broken(s string, wide int, hang string) []string {
	var out []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && columnsOf(line)+1+columnsOf(word) > wide {
			out = append(out, line)
			line = hang
		} else if line != "" {
			line += " "
		}
		line += word
	}
	return append(out, line)
}

func (t *table) markdown(w io.Writer) {
	cell := strings.NewReplacer("|", `\|`)
	row := func(cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	row(t.Head)
	var rule []string
	for i := range t.Head {
		if i < t.Left {
			rule = append(rule, "---")
		} else {
			rule = append(rule, "---:")
		}
	}
	row(rule)
	for _, r := range t.Rows {
		var cells []string
		for _, c := range r {
			cells = append(cells, cell.Replace(c))
		}
		row(cells)
	}
	fmt.Fprintln(w)
}
