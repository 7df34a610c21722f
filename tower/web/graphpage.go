package web

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/tower/report/graph"
)

// graphPage is what the template of the page Graph draws.
type graphPage struct {
	Estate  string
	Version uint64
	Of      string   // what is in the middle; empty: everything
	Depth   int      // steps each way
	Depths  []int    // to choose from
	Choices []string // names of components, for the field
	Refusal string
	Drawing template.HTML
}

// steps are how far the graph may be followed at once; the first is the page's own.
var steps = []int{2, 1, 3, 5}

// graph draws what stands where and needs what, as a picture that can be walked.
func (p *page) graph(w http.ResponseWriter, r *http.Request) {
	v := graphPage{Of: r.URL.Query().Get("of"), Depth: steps[0], Depths: []int{1, 2, 3, 5}}
	if d, err := strconv.Atoi(r.URL.Query().Get("depth")); err == nil && d > 0 && d <= 9 {
		v.Depth = d
	}
	names := p.desk.Audit().Names
	v.Choices = names[:min(len(names), mostChoices)]
	status, err := p.drawGraph(r, w.Header(), &v)
	if err == nil {
		err = p.send(w, status, "graph", v)
	}
	if err != nil {
		p.log.Error("draw the page Graph", "error", err)
		http.Error(w, "the page could not be drawn; the tower's log says why, and haechi estate graph draws a file", http.StatusInternalServerError)
	}
}

// drawGraph draws the estate in force into v. The picture's own styles are let through by their hash.
func (p *page) drawGraph(r *http.Request, h http.Header, v *graphPage) (status int, err error) {
	raw, version, err := p.desk.Estate(r.Context())
	if err != nil {
		return 0, err
	}
	if len(raw) == 0 {
		v.Refusal = "no estate was applied yet: haechi estate apply FILE"
		return http.StatusOK, nil
	}
	e, err := estate.Unmarshal(raw)
	if err != nil {
		return 0, err
	}
	v.Estate, v.Version = e.Name, version
	o := graph.Options{Of: v.Of, Link: func(component string) string {
		return "/graph?" + url.Values{"of": {component}, "depth": {strconv.Itoa(v.Depth)}}.Encode()
	}}
	if v.Of != "" {
		o.Depth = v.Depth
	}
	picture, err := graph.SVG(e, o)
	if err != nil {
		v.Refusal = err.Error()
		return http.StatusNotFound, nil
	}
	if style := styled.FindSubmatch(picture); style != nil {
		sum := sha256.Sum256(style[1])
		h.Set("Content-Security-Policy", policy("'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'"))
	}
	v.Drawing = template.HTML(picture) //nolint:gosec // graph escapes what is the estate's
	return http.StatusOK, nil
}

var styled = regexp.MustCompile(`(?s)<style>(.*?)</style>`)
