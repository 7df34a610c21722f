package graph

import (
	"bytes"
	"fmt"
	"html"
	"slices"
	"strings"
)

// colours of each kind: of the field and of its border.
var colours = map[string][2]string{
	"name":     {"#e0f2fe", "#0369a1"},
	"service":  {"#dbeafe", "#1d4ed8"},
	"store":    {"#ede9fe", "#6d28d9"},
	"member":   {"#f5f3ff", "#6d28d9"},
	"team":     {"#fce7f3", "#be185d"},
	"channel":  {"#fdf2f8", "#be185d"},
	"external": {"#fee2e2", "#b91c1c"},
	"observer": {"#f1f5f9", "#64748b"},
	"pool":     {"#dcfce7", "#15803d"},
	"host":     {"#f1f5f9", "#334155"},
	"tower":    {"#ffffff", "#0f172a"},
	"domain":   {"#fef3c7", "#b45309"},
	"link":     {"#f5f5f4", "#57534e"},
}

// kinds in the order of the legend.
var kinds = []string{"name", "service", "store", "member", "team", "channel", "external", "observer", "pool", "host", "tower", "domain", "link"}

// lines says how each style is drawn, and what it means.
var lines = [...]struct{ dash, width, head, says string }{
	requires: {"", "1.5", "full", "requires"},
	oneOf:    {"", "1", "hollow", "requires one of several"},
	wants:    {"7 4", "1.2", "hollow", "wants"},
	after:    {"1.5 4", "1.5", "hollow", "starts after"},
}

const look = `text{font:12px system-ui,"Nanum Gothic","Noto Sans CJK KR",sans-serif;fill:#0f172a}` +
	`.title{font-size:17px;font-weight:600}.site{font-size:14px;font-weight:600;paint-order:stroke;stroke:#f8fafc;stroke-width:5px}.quiet{fill:#475569;font-weight:400}` +
	`.edge{fill:none;stroke:#334155;stroke-opacity:.6}a:hover rect{stroke-width:3}`

// drawing collects the picture's text.
type drawing struct {
	bytes.Buffer
	o Options
}

func (p *picture) svg(o Options) []byte {
	d := &drawing{o: o}
	bottom := p.y(len(p.rows)) - rowStep + height + margin
	if len(p.rows) > p.over || len(p.sites) > 0 {
		bottom += margin
	}
	links := 0
	for _, l := range p.links {
		links = max(links, l.row+1)
	}
	width := max(p.width, 660)
	tall := bottom + float64(links)*(height+2*gap) + d.legendHeight(p, width)
	title := p.title
	if o.Of != "" {
		title += ": what " + o.Of + " needs, and what needs it"
	}
	d.put(`<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" role="img">`, width, tall, width, tall)
	d.put("<title>%s</title><style>%s</style>", html.EscapeString(title), look)
	d.put(`<defs><marker id="full" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="10" markerHeight="10" markerUnits="userSpaceOnUse" orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="#334155"/></marker>`)
	d.put(`<marker id="hollow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="10" markerHeight="10" markerUnits="userSpaceOnUse" orient="auto-start-reverse"><path d="M1 1 7 4 1 7z" fill="#fff" stroke="#334155"/></marker></defs>`)
	d.put(`<rect width="100%%" height="100%%" fill="#fff"/>`)
	d.put(`<text class="title" x="%d" y="28">%s</text>`, margin, html.EscapeString(title))
	for _, s := range p.sites {
		d.box(p, s, bottom-margin)
	}
	for i := range p.edges {
		d.edge(p, p.edges[len(p.edges)-1-i]) // the strongest kinds are read first: draw them last
	}
	for _, s := range p.sites {
		d.put(`<text class="site" x="%.1f" y="%.1f">%s <tspan class="quiet">%s</tspan></text>`, p.left[s.name]+12, p.y(p.over)-heading+20, html.EscapeString(s.label), html.EscapeString(s.says))
	}
	for i, row := range p.rows {
		for _, n := range row {
			if n.name != "" {
				d.node(n, n.x-n.width/2, p.y(i), n.label)
			}
		}
	}
	for _, l := range p.links {
		d.node(l, l.x-l.width/2, bottom+float64(l.row)*(height+2*gap), l.says)
	}
	d.legend(p, bottom+float64(links)*(height+2*gap), width)
	d.put("</svg>")
	return d.Bytes()
}

// y is the upper edge of a row.
func (p *picture) y(row int) float64 {
	y := float64(margin + heading + row*rowStep)
	if row >= p.over {
		y += heading
	}
	return y
}

func (d *drawing) put(format string, args ...any) {
	fmt.Fprintf(d, format+"\n", args...)
}

// linked draws something within a link, if the component has one.
func (d *drawing) linked(component string, inner func()) {
	to := ""
	if d.o.Link != nil {
		to = d.o.Link(component)
	}
	if to == "" {
		inner()
		return
	}
	d.put(`<a href="%s">`, html.EscapeString(to))
	inner()
	d.put("</a>")
}

// box draws a site around what stands in it.
func (d *drawing) box(p *picture, s *node, bottom float64) {
	top := p.y(p.over) - heading
	d.linked(s.name, func() {
		d.put(`<g><title>site %s</title><rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="10" fill="#f8fafc" stroke="#94a3b8" stroke-width="%d"/></g>`,
			html.EscapeString(s.name), p.left[s.name], top, p.right[s.name]-p.left[s.name], bottom-top, d.weight(s))
	})
}

func (d *drawing) weight(n *node) int {
	if n.name == d.o.Of {
		return 3
	}
	return 1
}

func (d *drawing) node(n *node, x, y float64, label string) {
	c := colours[n.kind]
	round := 5
	if slices.Contains([]string{"external", "channel", "team", "observer"}, n.kind) {
		round = height / 2 // what stands in no site of ours
	}
	d.linked(n.name, func() {
		d.put(`<g><title>%s</title><rect x="%.1f" y="%.1f" width="%.1f" height="%d" rx="%d" fill="%s" stroke="%s" stroke-width="%d"/><text x="%.1f" y="%.1f" text-anchor="middle">%s</text></g>`,
			html.EscapeString(strings.TrimSuffix(n.kind+" "+n.name+": "+n.says, ": ")), x, y, n.width, height, round, c[0], c[1], d.weight(n), x+n.width/2, y+17, html.EscapeString(label))
	})
}

// edge draws a line from a component down, or up, to what it leans on.
func (d *drawing) edge(p *picture, x *edge) {
	if x.from.kind == "link" || x.to.kind == "link" {
		return // links stand apart, and say what they join
	}
	top, bottom := x.from, x.to
	up := bottom.kind != "site" && top.row > bottom.row
	if up {
		top, bottom = bottom, top
	}
	var path strings.Builder
	ax, ay := top.x, p.y(top.row)+height
	fmt.Fprintf(&path, "M%.1f %.1f", ax, ay)
	to := func(bx, by float64) {
		fmt.Fprintf(&path, "C%.1f %.1f %.1f %.1f %.1f %.1f", ax, (ay+by)/2, bx, (ay+by)/2, bx, by)
		ax, ay = bx, by
	}
	for _, n := range x.bends {
		y := p.y(n.row)
		to(n.x, y)
		fmt.Fprintf(&path, "V%.1f", y+height)
		ay = y + height
	}
	switch {
	case bottom.kind == "site":
		to((p.left[bottom.name]+p.right[bottom.name])/2, p.y(p.over)-heading)
	case top.row == bottom.row: // closes a ring
		to((top.x+bottom.x)/2, ay+rowStep/4)
		to(bottom.x, p.y(bottom.row)+height)
	default:
		to(bottom.x, p.y(bottom.row))
	}
	d.stroke(path.String(), x.style, up)
}

func (d *drawing) stroke(path string, s style, up bool) {
	l := lines[s]
	end := "end"
	if up {
		end = "start"
	}
	dash := ""
	if l.dash != "" {
		dash = ` stroke-dasharray="` + l.dash + `"`
	}
	d.put(`<path class="edge" d="%s" stroke-width="%s"%s marker-%s="url(#%s)"/>`, path, l.width, dash, end, l.head)
}

// legendHeight is what the legend takes below everything.
func (d *drawing) legendHeight(p *picture, width float64) float64 {
	quiet := &drawing{o: d.o}
	return quiet.legend(p, 0, width) + margin
}

// legend explains lines and colours, those only that are there. It returns where it ends.
func (d *drawing) legend(p *picture, y, width float64) float64 {
	x := float64(margin)
	y += gap
	next := func(w float64) {
		if x > margin && x+w > width-margin {
			x, y = margin, y+height
		}
	}
	used := map[style]bool{}
	for _, e := range p.edges {
		used[e.style] = true
	}
	for s, l := range lines {
		w := 52 + wide(l.says)*letter + gap
		if !used[style(s)] {
			continue
		}
		next(w)
		d.stroke(fmt.Sprintf("M%.1f %.1fh40", x, y+height/2), style(s), false)
		d.put(`<text x="%.1f" y="%.1f">%s</text>`, x+48, y+17, l.says)
		x += w
	}
	x, y = margin, y+height
	there := map[string]bool{}
	for _, n := range p.nodes {
		there[n.kind] = true
	}
	for _, k := range kinds {
		w := 36 + wide(k)*letter + gap
		if !there[k] {
			continue
		}
		next(w)
		d.put(`<rect x="%.1f" y="%.1f" width="18" height="12" rx="3" fill="%s" stroke="%s"/><text x="%.1f" y="%.1f">%s</text>`, x, y+7, colours[k][0], colours[k][1], x+24, y+17, k)
		x += w
	}
	return y + height
}
