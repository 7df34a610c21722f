package web

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/tower/report"
)

//go:embed assets
var assets embed.FS

// Page returns the page Now at "/", its stream at "/stream", the same as one
// JSON object at "/now.json", and the pages Stores at "/stores", If at "/if" and Graph at "/graph". It only reads, so it needs no certificate. Open
// streams end when ctx does.
func Page(ctx context.Context, desk Desk, log *slog.Logger) http.Handler {
	p := &page{desk: desk, log: log, templates: parse()}
	h := newHub(ctx, desk.Now, p.sections)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.now)
	mux.HandleFunc("GET /stores", p.stores)
	mux.HandleFunc("GET /if", p.what)
	mux.HandleFunc("GET /graph", p.graph)
	mux.HandleFunc("GET /now.json", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, Describe(desk.Now())) })
	mux.HandleFunc("GET /stream", h.stream)
	mux.Handle("GET /assets/", http.FileServerFS(only(assets, ".css", ".js", ".svg")))
	return guarded(mux)
}

type page struct {
	desk      Desk
	log       *slog.Logger
	templates *template.Template
}

// columns are the parts of the page that change by themselves, each a template, by
// where they stand.
var columns = []column{
	{"top", []string{"band", "clock", "sites", "warnings", "missing", "audited"}},
	{"left", []string{"run", "stores"}},
	{"right", []string{"rate", "names", "journal"}},
}

type column struct {
	Place    string
	Sections []string
}

// now draws the whole page. What is sent here is what a reader without script sees.
func (p *page) now(w http.ResponseWriter, _ *http.Request) {
	n := Describe(p.desk.Now())
	sections, err := p.sections(n)
	if err == nil {
		err = p.write(w, n, sections)
	}
	if err != nil {
		p.log.Error("draw the page", "error", err)
		http.Error(w, "the page could not be drawn; the tower's log says why, and /now.json has the same facts", http.StatusInternalServerError)
	}
}

func (p *page) write(w http.ResponseWriter, n Now, sections map[string]string) error {
	return p.send(w, http.StatusOK, "page", struct {
		Now      Now
		Columns  []column
		Sections map[string]template.HTML
	}{n, columns, trusted(sections)})
}

// trusted are sections as a template takes them over.
func trusted(sections map[string]string) map[string]template.HTML {
	out := map[string]template.HTML{}
	for id, text := range sections {
		out[id] = template.HTML(text) //nolint:gosec // made by html/template just now
	}
	return out
}

// send draws a template whole before it answers with it.
func (p *page) send(w http.ResponseWriter, status int, name string, v any) error {
	var out bytes.Buffer
	if err := p.templates.ExecuteTemplate(&out, name, v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if _, err := out.WriteTo(w); err != nil {
		p.log.Debug("send the page", "error", err) // the reader went away
	}
	return nil
}

// sections draws the parts of the pages that change by themselves. A page takes those that it has.
func (p *page) sections(n Now) (map[string]string, error) {
	names := slices.Clone(kept)
	for _, c := range columns {
		names = append(names, c.Sections...)
	}
	out := map[string]string{}
	for _, name := range names {
		var b strings.Builder
		if err := p.templates.ExecuteTemplate(&b, name, n); err != nil {
			return nil, err
		}
		out[name] = b.String()
	}
	return out, nil
}

// guarded tells browsers to load nothing from anywhere else.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy(""))
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// policy lets a page load from its own tower alone, and more styles where they are named.
func policy(styles string) string {
	return "default-src 'none'; style-src " + strings.TrimSpace("'self' "+styles) + "; script-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'"
}

// only shows the files of these kinds; templates stay inside.
func only(all fs.FS, kinds ...string) fs.FS { return filtered{all, kinds} }

type filtered struct {
	fs.FS
	kinds []string
}

func (f filtered) Open(name string) (fs.File, error) {
	for _, kind := range f.kinds {
		if strings.HasSuffix(name, kind) {
			return f.FS.Open(name)
		}
	}
	return nil, fs.ErrNotExist
}

func parse() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"upper": strings.ToUpper, "words": stateWords, "list": list, "armed": armed, "lag": lag, "memberState": memberState, "memberWords": memberWords, "writes": writesWords, "sent": sent,
		"mark": func(state any) string { return mark(fmt.Sprint(state)) }, "tone": func(state any) string { return tone(fmt.Sprint(state)) },
		"iso":       func(at time.Time) string { return at.Format(time.RFC3339Nano) },
		"moment":    func(n Now, at time.Time) string { return at.In(n.At.Location()).Format("15:04:05 MST") },
		"clock":     func(n Now, at time.Time) string { return at.In(n.At.Location()).Format("15:04:05") },
		"fine":      func(n Now, at time.Time) string { return at.In(n.At.Location()).Format("15:04:05.000") },
		"day_clock": func(n Now, at time.Time) string { return at.In(n.At.Location()).Format("2006-01-02 15:04:05") },
		"reigns":    newestReigns, "events": newestEvents, "compared": compared, "comparedTone": comparedTone, "doing": doing, "canaryLag": canaryLag,
		"salvageTone": salvageTone, "salvageWords": salvageWords, "happened": happened, "happenedTone": whatTone, "sign": sign,
		"ago":  func(n Now, at time.Time) string { return span(n.At.Sub(at)) },
		"took": func(n Now, r Run) string { return span(took(n, r)) },
		"ms":   func(ms int64) string { return span(time.Duration(ms) * time.Millisecond) },
		"told": report.Told, "day": func(a *estate.Accepted) string { return a.Until.Format(time.DateOnly) }, "badge": badge, "foretold": foretold, "losses": losses,
		"seconds": seconds, "current": current, "chart": chart, "first": firstRun, "rest": restRuns, "newest": newest,
	}).ParseFS(assets, "assets/*.html"))
}
