package web

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"
)

// Size of the chart in its own units.
const (
	chartWide = 960.0
	chartHigh = 220.0
	chartLeft = 70.0
	chartFoot = 30.0
	chartTop  = 12.0
)

// chart draws the rate as a filled line. A time of which nobody knows anything is
// hatched, and a stretch of zero is marked with how long it lasted: that is the gap.
func chart(n Now) template.HTML {
	c := canvas{rate: n.Rate, at: n.At, top: ceiling(n.Rate)}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 0 %g %g" role="img" aria-label="acknowledged messages a second">`, chartWide, chartHigh)
	b.WriteString(`<defs><pattern id="unknown" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch" width="3" height="8"/></pattern></defs>`)
	c.grid(&b)
	for _, s := range stretches(n.Rate) {
		switch s.kind {
		case known:
			c.area(&b, s)
		case unknown:
			c.hatch(&b, s)
		}
	}
	for _, s := range gaps(n.Rate) {
		c.gap(&b, s)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers and our own words only
}

// ceiling is the value at the top of the chart: the next 1, 2 or 5 times a power of ten.
func ceiling(r Rate) float64 {
	most := 10.0
	for _, v := range r.PerSecond {
		if v != nil {
			most = max(most, *v)
		}
	}
	ten := math.Pow(10, math.Floor(math.Log10(most)))
	for _, f := range []float64{1, 1.5, 2, 3, 4, 5, 6, 8} {
		if f*ten >= most {
			return f * ten
		}
	}
	return 10 * ten
}

type kind int

const (
	known kind = iota
	unknown
)

// stretch is a row of neighbouring points of one kind: from, up to but without to.
type stretch struct {
	kind     kind
	from, to int
}

// stretches cuts the points where knowing begins or ends.
func stretches(r Rate) (out []stretch) {
	for i, v := range r.PerSecond {
		k := known
		if v == nil {
			k = unknown
		}
		if len(out) == 0 || out[len(out)-1].kind != k {
			out = append(out, stretch{k, i, i})
		}
		out[len(out)-1].to = i + 1
	}
	return out
}

// gaps finds where nothing was acknowledged although something was before.
func gaps(r Rate) (out []stretch) {
	from, before := -1, false
	for i, v := range r.PerSecond {
		zero := v != nil && *v == 0
		switch {
		case zero && before && from < 0:
			from = i
		case !zero && from >= 0:
			out = append(out, stretch{known, from, i})
			from = -1
		}
		before = before || v != nil && *v > 0
	}
	if from >= 0 {
		out = append(out, stretch{known, from, len(r.PerSecond)})
	}
	return out
}

type canvas struct {
	rate Rate
	at   time.Time
	top  float64
}

func (c canvas) x(i float64) float64 {
	return chartLeft + (chartWide-chartLeft-8)*i/max(1, float64(len(c.rate.PerSecond)))
}

func (c canvas) y(v float64) float64 {
	return chartHigh - chartFoot - (chartHigh-chartFoot-chartTop)*v/c.top
}

// grid draws three levels and a mark every 30 seconds.
func (c canvas) grid(b *strings.Builder) {
	for _, part := range []float64{0, 0.5, 1} {
		y := c.y(part * c.top)
		fmt.Fprintf(b, `<line class="grid" x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f"/><text x="%.0f" y="%.1f" text-anchor="end">%.0f</text>`,
			chartLeft, chartWide-8, y, y, chartLeft-10, y+6, part*c.top)
	}
	step := time.Duration(c.rate.StepMS) * time.Millisecond
	if step <= 0 {
		return
	}
	whole := time.Duration(len(c.rate.PerSecond)) * step
	for back := time.Duration(0); back <= whole; back += 30 * time.Second {
		x := c.x(float64((whole - back) / step))
		say, anchor := fmt.Sprintf("%d s", -int(back.Seconds())), "middle"
		if back == 0 {
			say, anchor = "now", "end"
		}
		fmt.Fprintf(b, `<text x="%.1f" y="%.0f" text-anchor="%s">%s</text>`, x, chartHigh-6, anchor, say)
	}
}

func (c canvas) area(b *strings.Builder, s stretch) {
	var line strings.Builder
	for i := s.from; i < s.to; i++ {
		y := c.y(*c.rate.PerSecond[i])
		fmt.Fprintf(&line, "L%.1f %.1fL%.1f %.1f", c.x(float64(i)), y, c.x(float64(i+1)), y)
	}
	path := "M" + line.String()[1:]
	fmt.Fprintf(b, `<path class="fill" d="%sL%.1f %.1fL%.1f %.1fZ"/><path class="line" d="%s"/>`,
		path, c.x(float64(s.to)), c.y(0), c.x(float64(s.from)), c.y(0), path)
}

func (c canvas) hatch(b *strings.Builder, s stretch) {
	x, wide := c.x(float64(s.from)), c.x(float64(s.to))-c.x(float64(s.from))
	fmt.Fprintf(b, `<rect class="nobody" x="%.1f" y="%.0f" width="%.1f" height="%.0f" fill="url(#unknown)"/>`, x, chartTop, wide, chartHigh-chartFoot-chartTop)
}

func (c canvas) gap(b *strings.Builder, s stretch) {
	x, wide := c.x(float64(s.from)), c.x(float64(s.to))-c.x(float64(s.from))
	fmt.Fprintf(b, `<rect class="gap" x="%.1f" y="%.0f" width="%.1f" height="%.0f"/>`, x, chartTop, wide, chartHigh-chartFoot-chartTop)
	long := time.Duration(s.to-s.from) * time.Duration(c.rate.StepMS) * time.Millisecond
	middle := min(max(x+wide/2, chartLeft+30), chartWide-38) // so that the words stay inside
	fmt.Fprintf(b, `<text class="gaptext" x="%.1f" y="%.0f" text-anchor="middle">%s</text>`, middle, chartHigh/2, span(long))
}
