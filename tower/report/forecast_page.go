package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/haechi/haechi/core/simulate"
)

//go:embed parts.html
var partsHTML string // styles, tables and charts that pages share

//go:embed forecast.html
var forecastHTML string

// pageOf parses a page with the parts that pages share.
func pageOf(name, text string) (*template.Template, error) {
	t, err := template.New(name).Funcs(template.FuncMap{"rich": rich, "cells": cells}).Parse(partsHTML)
	if err != nil {
		return nil, err
	}
	return t.Parse(text)
}

// ForecastPage draws a forecast as one HTML page that needs nothing else.
func ForecastPage(w io.Writer, f simulate.Forecast) error {
	t, err := pageOf("forecast", forecastHTML)
	if err != nil {
		return err
	}
	model, err := json.MarshalIndent(f.Model, "", "  ")
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{
		"Title": fmt.Sprintf("%s without %s", f.Estate, strings.Join(f.Lose, " and ")),
		"Lead":  fmt.Sprintf("%d simulated losses, seed %d, estate %.12s", f.Runs, f.Seed, f.Hash),
		"Model": string(model),
		"Chapters": []chapter{
			{Title: "Until it serves again, until it has servers enough", Lead: append(stakes(f), fmt.Sprintf("%d of %d services are gone or short of servers for a while", len(touched(f)), len(f.Services))), Table: backTable(f)},
			{Title: "Until all services have servers enough that come to have them", Chart: histogramChart(f.Histogram)},
			{Title: "What the last service waits for", Table: wayTable(f.Critical)},
			{Title: "The run in the middle", Lead: []string{"Filled is what the last service waited for."}, Chart: ganttChart(longest(f.Typical, mostBars))},
		},
	})
}

func backTable(f simulate.Forecast) *table {
	t := &table{Head: []string{"service", "", "tier", "serves p50", "p95", "p99", "enough p50", "p95", "p99"}, Left: 2}
	for _, s := range touched(f) {
		t.Rows = append(t.Rows, []string{s.Name, strings.TrimSpace(remark(s)), fmt.Sprint(s.Tier), span(s.P50), span(s.P95), span(s.P99),
			span(s.Whole.P50), span(s.Whole.P95), span(s.Whole.P99)})
	}
	return t
}

func wayTable(shares []simulate.Share) *table {
	t := &table{Head: []string{"what", "in so many runs", "in the median"}, Left: 1}
	for _, s := range shares[:min(len(shares), 2*mostOnWay)] {
		t.Rows = append(t.Rows, []string{s.What, often(s.Share), span(s.Seconds)})
	}
	return t
}

// histogramChart draws how many runs took how long.
func histogramChart(bins []simulate.Bin) *chart {
	if len(bins) < 2 {
		return nil
	}
	const left, right, top, bottom = 60.0, 20.0, 14.0, 40.0
	c := &chart{Wide: 760, High: 260, Alt: "how many runs took how long"}
	most := 0
	for _, b := range bins {
		most = max(most, b.Runs)
	}
	first, last := bins[0].From, bins[len(bins)-1].To
	x := func(s float64) float64 { return left + (s-first)/(last-first)*(c.Wide-left-right) }
	y := func(n float64) float64 { return c.High - bottom - n/float64(most)*(c.High-top-bottom) }
	for n := 0.0; n <= float64(most); n += nice(float64(most), 5) {
		c.line("grid", left, y(n), c.Wide-right, y(n))
		c.text(left-8, y(n)+4, "end", "tick", thousands(int(n)))
	}
	for i, b := range bins {
		c.Rects = append(c.Rects, rect{x(b.From), y(float64(b.Runs)), max(1, x(b.To)-x(b.From)-1), c.High - bottom - y(float64(b.Runs)), "alone", fmt.Sprintf("%s to %s: %d runs", span(b.From), span(b.To), b.Runs)})
		if i%4 == 0 {
			c.text(x(b.From), c.High-bottom+18, "middle", "tick", span(b.From))
		}
	}
	c.text(c.Wide-right, c.High-bottom+18, "end", "tick", span(last))
	return c
}

// ganttChart draws what took from when to when.
func ganttChart(bars []simulate.Bar) *chart {
	if len(bars) == 0 {
		return nil
	}
	const left, right, row = 260.0, 20.0, 22.0
	c := &chart{Wide: 900, High: row*float64(len(bars)) + 40, Alt: "what took from when to when"}
	end := 0.0
	for _, b := range bars {
		end = max(end, b.To)
	}
	x := func(s float64) float64 { return left + s/end*(c.Wide-left-right) }
	for i := range 6 {
		at := end * float64(i) / 5
		c.line("grid", x(at), 4, x(at), c.High-30)
		c.text(x(at), c.High-12, "middle", "tick", span(at))
	}
	for i, b := range bars {
		y := 4 + row*float64(i)
		class := "last"
		if b.Critical {
			class = "alone"
		}
		c.Rects = append(c.Rects, rect{x(b.From), y + 3, max(2, x(b.To)-x(b.From)), row - 8, class, fmt.Sprintf("%s: %s to %s", b.What, span(b.From), span(b.To))})
		c.text(left-8, y+row/2+3, "end", "label", strings.TrimRight(padded(b.What, 36), " "))
	}
	return c
}
