package report

import (
	"fmt"
	"strings"

	"github.com/haechi/haechi/core/replay"
)

// chart is a picture as SVG: what is drawn first lies below.
type chart struct {
	Wide, High float64
	Alt        string
	Rects      []rect
	Paths      []pathOf
	Dots       []dot
	Words      []word
}

type rect struct {
	X, Y, W, H float64
	Class, Tip string
}

type pathOf struct{ D, Class string }

type dot struct {
	X, Y, R    float64
	Class, Tip string
}

type word struct {
	X, Y          float64
	Anchor, Class string
	Text          string
}

func (c *chart) line(class string, xy ...float64) {
	var d strings.Builder
	for i := 0; i < len(xy); i += 2 {
		mark := "L"
		if i == 0 {
			mark = "M"
		}
		fmt.Fprintf(&d, "%s%.1f %.1f", mark, xy[i], xy[i+1])
	}
	c.Paths = append(c.Paths, pathOf{d.String(), class})
}

func (c *chart) text(x, y float64, anchor, class, s string) {
	c.Words = append(c.Words, word{x, y, anchor, class, s})
}

// nice is a step of a scale that makes about so many of them.
func nice(most float64, about int) float64 {
	step := 1.0
	for {
		for _, m := range []float64{1, 2, 5} {
			if most/(step*m) <= float64(about) {
				return step * m
			}
		}
		step *= 10
	}
}

// curve draws what came back over time, with what was published.
func curve(r replay.Report, l words) *chart {
	const left, right, top, bottom = 60.0, 20.0, 34.0, 44.0
	c := &chart{Wide: 760, High: 320}
	lastHour, most, systems := 0.0, 0.0, false
	for _, read := range r.Readings {
		for _, p := range read.Curve {
			lastHour, most = max(lastHour, p.Hour), max(most, float64(p.Count))
		}
	}
	for _, x := range r.Readings[0].Compared {
		systems = systems || x.What == replay.Systems
	}
	if lastHour == 0 || most == 0 {
		return nil
	}
	x := func(h float64) float64 { return left + h/lastHour*(c.Wide-left-right) }
	y := func(n float64) float64 { return c.High - bottom - n/(most*1.05)*(c.High-top-bottom) }
	unit, per := l.say("hours", "시간"), 1.0
	if lastHour > 400 {
		unit, per = l.say("days", "일"), 24
	}
	for n := 0.0; n <= most*1.05; n += nice(most, 5) {
		c.line("grid", left, y(n), c.Wide-right, y(n))
		c.text(left-8, y(n)+4, "end", "tick", thousands(int(n)))
	}
	for h := 0.0; h <= lastHour/per; h += nice(lastHour/per, 8) {
		c.line("grid", x(h*per), top, x(h*per), c.High-bottom)
		c.text(x(h*per), c.High-bottom+18, "middle", "tick", fmt.Sprintf("%.0f", h))
	}
	c.text(c.Wide-right, c.High-8, "end", "tick", fmt.Sprintf(l.say("%s since the start", "시작부터의 %s"), unit))
	what := l.say("servers back", "돌아온 서버")
	if systems {
		what = l.say("systems back", "돌아온 시스템")
	}
	c.Alt = what
	shown := r.Readings
	if !systems {
		shown = shown[:1] // power and boots are the same in all readings
	}
	c.text(left, 18, "start", "label", what)
	at := left + 150
	for i, read := range shown {
		xy := []float64{}
		for _, p := range read.Curve {
			xy = append(xy, x(p.Hour), y(float64(p.Count)))
		}
		class := fmt.Sprintf("curve c%d", i)
		c.line(class, xy...)
		c.line(class, at, 14, at+26, 14)
		name := l.say("simulated", "시뮬레이션")
		if len(shown) > 1 {
			name += " " + letter(i)
		}
		c.text(at+32, 18, "start", "label", name)
		at += 150
	}
	c.Dots = append(c.Dots, dot{at + 6, 14, 5, "published", ""})
	c.text(at+18, 18, "start", "label", l.say("published", "공개된 값"))
	for _, p := range r.Readings[0].Compared {
		if p.What == replay.Servers || p.What == replay.Systems {
			c.Dots = append(c.Dots, dot{x(p.Hour), y(p.Published), 5, "published", fmt.Sprintf("%s: %s", l.of(p.Title), amount(p.What, p.Published))})
		}
	}
	return c
}

// bought draws what each remedy buys, alone and last.
func bought(r replay.Report, i int, l words) *chart {
	read, ends := r.Readings[i], r.Ends()
	const left, right, row, gap = 190.0, 66.0, 15.0, 14.0
	c := &chart{Wide: 760, Alt: l.say("hours bought", "산 시간")}
	yy := 26.0
	c.Rects = append(c.Rects, rect{left, 8, 22, 11, "alone", ""}, rect{left + 150, 8, 22, 11, "last", ""})
	c.text(left+28, 18, "start", "label", l.say("alone", "혼자"))
	c.text(left+178, 18, "start", "label", l.say("last", "마지막"))
	for _, e := range ends {
		most := 0.0
		for _, b := range read.Remedies {
			most = max(most, b.Alone[e.ID], b.Last[e.ID])
		}
		most = max(most, read.Compared[at(read, e.ID)].Simulated)
		yy += 24
		c.text(0, yy, "start", "head", fmt.Sprintf(l.say("%s: %s without any", "%s: 대책 없이 %s"), l.of(e.Title), amount(e.What, read.Compared[at(read, e.ID)].Simulated)))
		yy += 10
		for _, b := range read.Remedies {
			for n, x := range []float64{b.Alone[e.ID], b.Last[e.ID]} {
				wide := max(0, x) / most * (c.Wide - left - right)
				class := []string{"alone", "last"}[n]
				c.Rects = append(c.Rects, rect{left, yy, max(wide, 1), row - 2, class, fmt.Sprintf("%s: %s h", l.of(b.Title), tenth(x))})
				c.text(left+max(wide, 1)+6, yy+row-4, "start", "tick", tenth(x))
				yy += row
			}
			c.text(left-10, yy-row+4, "end", "label", l.of(b.Title))
			yy += gap / 2
		}
	}
	c.High = yy + 6
	return c
}

// swing draws how the ends move with each number that is halved and doubled.
func swing(r replay.Report, l words) *chart {
	read, ends := r.Readings[0], r.Ends()
	if len(ends) == 0 {
		return nil
	}
	const left, right, row = 365.0, 40.0, 24.0
	c := &chart{Wide: 760, Alt: l.say("halved and doubled", "절반과 두 배")}
	yy := 26.0
	c.Dots = append(c.Dots, dot{left + 6, 14, 5, "half", ""}, dot{left + 100, 14, 5, "double", ""})
	c.text(left+18, 18, "start", "label", l.say("half", "절반"))
	c.text(left+112, 18, "start", "label", l.say("double", "두 배"))
	c.line("mark", left+206, 8, left+206, 20)
	c.text(left+216, 18, "start", "label", l.say("published", "공개된 값"))
	for _, e := range ends {
		most := e.Published
		for _, m := range read.Moved {
			most = max(most, m.Half[e.ID], m.Double[e.ID])
		}
		x := func(h float64) float64 { return left + h/most*(c.Wide-left-right) }
		yy += 26
		c.text(0, yy, "start", "head", l.of(e.Title))
		top := yy + 8
		yy += 8
		for _, m := range read.Moved {
			if m.Remedy != "" {
				continue
			}
			yy += row
			a, b := m.Half[e.ID], m.Double[e.ID]
			name := l.of(m.Title)
			if m.Number == "" {
				name = l.say("all else (defaults)", "그 밖의 기본값")
			}
			c.text(left-14, yy, "end", "label", name)
			c.line("range", x(a), yy-4, x(b), yy-4)
			c.Dots = append(c.Dots, dot{x(a), yy - 4, 5, "half", fmt.Sprintf("%.1f h", a)}, dot{x(b), yy - 4, 5, "double", fmt.Sprintf("%.1f h", b)})
		}
		c.line("mark", x(e.Published), top, x(e.Published), yy+6)
		yy += 8
		for h := 0.0; h <= most; h += nice(most, 8) {
			c.text(x(h), yy+12, "middle", "tick", fmt.Sprintf("%.0f h", h))
		}
		yy += 14
	}
	c.High = yy + 10
	return c
}
