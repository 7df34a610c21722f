package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/haechi/haechi/core/audit"
)

//go:embed audit.html
var auditPage string

// View is an audit as a page shows it.
type View struct {
	audit.Report
	Counts  []tile
	Entries []Entry
	Taken   []audit.Finding
	Lapsed  []audit.Finding
	Notes   []string // accepted risks that answer to nothing
	Grid    grid
	Small   grid         // the same for what is smaller than a site, where that was asked for
	Rules   []audit.Rule // those that found something, in the order of docs/audit.md
}

// tile is one number at the top of the page.
type tile struct {
	Severity audit.Severity
	Count    int
}

// HTML draws an audit as one page that needs nothing beside it, no script either.
func HTML(w io.Writer, r audit.Report) error {
	t, err := template.New("audit").Funcs(template.FuncMap{
		"upper": strings.ToUpper, "servers": servers, "plain": plain, "ticks": ticks, "day": day, "more": more, "told": Told,
	}).Parse(auditPage)
	if err != nil {
		return fmt.Errorf("report: the page of the audit: %w", err)
	}
	return t.Execute(w, Of(r))
}

// Of sorts an audit into what a page shows.
func Of(r audit.Report) View {
	p := View{Report: r, Entries: entries(open(r)), Taken: taken(r), Lapsed: lapsed(r), Grid: gridOf(r), Small: smallGrid(r)}
	for _, s := range audit.Severities() {
		p.Counts = append(p.Counts, tile{s, countOf(open(r), s)})
	}
	for _, a := range r.Unused {
		p.Notes = append(p.Notes, unused(a))
	}
	found := map[audit.Rule]bool{}
	for _, f := range r.Findings {
		found[f.Rule] = true
	}
	for _, rule := range audit.Rules() {
		if found[rule] {
			p.Rules = append(p.Rules, rule)
		}
	}
	return p
}

// ticks draws what stands between backticks as code.
func ticks(s string) template.HTML {
	parts := strings.Split(template.HTMLEscapeString(s), "`")
	for i := 1; i < len(parts); i += 2 {
		parts[i] = "<code>" + parts[i] + "</code>"
	}
	return template.HTML(strings.Join(parts, "")) //nolint:gosec // escaped above
}

// Mark tells states apart without colour.
func (c cell) Mark() string {
	switch c.State {
	case "up":
		return "●"
	case "degraded":
		return "◐"
	}
	return "✕"
}

// Calm is the part of a grid in which everything is up.
func (g grid) Calm() grid { return grid{Losses: g.Losses, Hurt: g.Fine} }

// More are the others of a part, listed in full.
func (p Part) More() string { return p.also(0) }

// Long says whether these are so many that they are folded away.
func (p Part) Long() bool { return len(p.Others) > few }
