package report

import (
	_ "embed"
	"html/template"
	"io"
	"regexp"
	"strings"

	"github.com/haechi/haechi/core/replay"
)

//go:embed replay.html
var replayHTML string

// ReplayPage draws a replay as one HTML page that needs nothing else, in both languages; the one named
// is shown first.
func ReplayPage(w io.Writer, r replay.Report, lang string) error {
	t, err := pageOf("replay", replayHTML)
	if err != nil {
		return err
	}
	type half struct {
		Lang     string
		Title    string
		Preface  []string
		Sections []chapter
		Numbers  chapter
	}
	var halves []half
	for _, l := range []words{"ko", "en"} {
		halves = append(halves, half{string(l), l.of(r.Title), preface(r, l), chapters(r, l), numbers(r, l)})
	}
	return t.Execute(w, map[string]any{"Lang": lang, "Title": r.Title, "Halves": halves, "Replay": r.Replay})
}

// cells pairs the cells of a row with whether they stand to the left.
func cells(t *table, row []string) []sided {
	var out []sided
	for i, c := range row {
		out = append(out, sided{c, i < t.Left})
	}
	return out
}

// sided is a cell and where its text stands.
type sided struct {
	Text string
	Left bool
}

var marked = regexp.MustCompile("`([^`]*)`|\\*\\*([^*]*)\\*\\*|(https?://[^\\s;,)]+)")

// rich turns the little Markdown that texts hold into HTML: code, bold, addresses.
func rich(s string) template.HTML {
	var out strings.Builder
	for {
		m := marked.FindStringSubmatchIndex(s)
		if m == nil {
			out.WriteString(template.HTMLEscapeString(s))
			return template.HTML(out.String()) //nolint:gosec // every part is escaped
		}
		out.WriteString(template.HTMLEscapeString(s[:m[0]]))
		group := func(i int) string {
			if m[2*i] < 0 {
				return ""
			}
			return template.HTMLEscapeString(s[m[2*i]:m[2*i+1]])
		}
		switch {
		case m[2] >= 0:
			out.WriteString("<code>" + group(1) + "</code>")
		case m[4] >= 0:
			out.WriteString("<b>" + group(2) + "</b>")
		default:
			out.WriteString(`<a href="` + group(3) + `">` + group(3) + "</a>")
		}
		s = s[m[1]:]
	}
}
