package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/count"
)

// Markdown draws an audit for a comment on a change.
func Markdown(w io.Writer, r audit.Report) {
	fmt.Fprintf(w, "## What would be lost: %s\n\n%s, %s: **%s**.\n", md(r.Estate), count.Of(r.Components, "component"), count.Of(r.Scenarios, "scenario"), tally(r))
	for _, e := range entries(open(r)) {
		markdownEntry(w, e)
	}
	if len(taken(r))+len(r.Unused) > 0 {
		fmt.Fprint(w, "\n### Accepted\n\n")
	}
	for _, f := range taken(r) {
		fmt.Fprintf(w, "- `%s` %s (%s) — accepted by %s until %s: %s\n", f.Rule, md(Told(f)), f.Severity, md(f.Accepted.Owner), day(*f.Accepted), md(f.Accepted.Why))
	}
	for _, a := range r.Unused {
		fmt.Fprintf(w, "- %s\n", md(unused(a)))
	}
	markdownGrid(w, gridOf(r))
}

func markdownEntry(w io.Writer, e Entry) {
	fmt.Fprintf(w, "\n### %s %s\n\n", strings.ToUpper(string(e.Worst)), md(e.Head()))
	for _, p := range e.Parts {
		fmt.Fprintf(w, "- `%s` %s\n", p.Rule, md(Told(p.First)))
		if len(p.Others) > 0 {
			fmt.Fprintf(w, "  - also %s\n", md(p.also(few)))
		}
		if p.Do != "" {
			fmt.Fprintf(w, "  - **do:** %s\n", md(p.Do))
		}
		for _, f := range append([]audit.Finding{p.First}, p.Others...) {
			if l := f.Lapsed; l != nil {
				fmt.Fprintf(w, "  - %s had accepted this of %s until %s, which is past\n", md(l.Owner), md(f.Component), day(*l))
			}
		}
	}
}

func markdownGrid(w io.Writer, g grid) {
	switch {
	case len(g.Losses) == 0 || len(g.Hurt)+len(g.Fine) == 0:
		return
	case len(g.Hurt) == 0:
		fmt.Fprintf(w, "\nAll %s are up after the loss of any one site (%s).\n", count.Of(len(g.Fine), "service"), md(strings.Join(g.Losses, ", ")))
		return
	}
	fmt.Fprintf(w, "\n### When a site is lost\n\n| service |")
	for _, s := range g.Losses {
		fmt.Fprintf(w, " %s |", md(s))
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---|", len(g.Losses)))
	for _, x := range g.Hurt {
		fmt.Fprintf(w, "| %s |", md(x.Service))
		for _, c := range x.Cells {
			fmt.Fprintf(w, " %s |", mdCell(c))
		}
		fmt.Fprintln(w)
	}
	if n := len(g.Fine); n > 0 {
		fmt.Fprintf(w, "\n%s up whichever site is lost.\n", more(n))
	}
}

func mdCell(c cell) string {
	if c.State == "up" {
		return "up"
	}
	return "**" + c.text() + "**"
}

// mdSigns keeps what a file says from being read as Markdown or HTML, or from calling people by name.
var mdSigns = strings.NewReplacer(
	"&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@<!-- -->", "\n", " ", "\r", " ",
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "|", `\|`, "#", `\#`, "~", `\~`,
)

func md(s string) string { return mdSigns.Replace(plain(s)) }
