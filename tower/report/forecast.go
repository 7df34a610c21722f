package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/haechi/haechi/core/simulate"
)

// Forecast draws a forecast for a terminal.
func Forecast(w io.Writer, f simulate.Forecast) {
	fmt.Fprintf(w, "%s without %s: %d runs, seed %d\n\n", f.Estate, strings.Join(f.Lose, " and "), f.Runs, f.Seed)
	backs(w, f)
	fmt.Fprintln(w)
	for _, line := range stakes(f) {
		write(w, "", line)
	}
	bars(w, f.Histogram)
	way(w, f.Critical)
	gantt(w, f.Typical)
}

// stakes says which writes may be lost.
func stakes(f simulate.Forecast) []string {
	if len(f.Writes) == 0 {
		return []string{"writes at stake: none; every store that moves is sealed first"}
	}
	var out []string
	for _, s := range f.Writes {
		how := "nobody knows how much"
		if s.Seconds > 0 {
			how = span(s.Seconds) + " of writes"
		}
		out = append(out, fmt.Sprintf("writes at stake: %s of %s, since %s", how, s.Store, s.Why))
	}
	return out
}

// backs is the table of services that are touched.
func backs(w io.Writer, f simulate.Forecast) {
	touched := touched(f)
	if len(touched) == 0 {
		fmt.Fprintf(w, "none of %d services is gone for a moment\n", len(f.Services))
		return
	}
	wide := len("service")
	for _, s := range touched {
		wide = max(wide, utf8.RuneCountInString(s.Name))
	}
	fmt.Fprintf(w, "%-*s  tier  %22s  %22s\n", wide, "", "serves again", "has servers enough")
	fmt.Fprintf(w, "%-*s        %7s%8s%8s  %7s%8s%8s\n", wide, "service", "p50", "p95", "p99", "p50", "p95", "p99")
	for _, s := range touched {
		fmt.Fprintf(w, "%-*s  %4d  %7s%8s%8s  %7s%8s%8s%s\n", wide, s.Name, s.Tier,
			span(s.P50), span(s.P95), span(s.P99), span(s.Whole.P50), span(s.Whole.P95), span(s.Whole.P99), remark(s))
	}
	if n := len(f.Services) - len(touched); n > 0 {
		fmt.Fprintf(w, "%d more services are there all the time\n", n)
	}
}

// touched are the services that are gone, or short of servers, for a moment at least.
func touched(f simulate.Forecast) []simulate.Service {
	return slices.DeleteFunc(slices.Clone(f.Services), func(s simulate.Service) bool { return s.P99 == 0 && s.Whole.P99 == 0 })
}

// remark is what else has to be said of a service.
func remark(s simulate.Service) string {
	var out []string
	if s.Over {
		out = append(out, "over its RTO of "+span(*s.RTO))
	}
	if s.Short > 0 {
		out = append(out, fmt.Sprintf("%.0f servers short", s.Short))
	}
	if s.Never > 0 && s.Never < 1 { // of what never does "never" stands there
		out = append(out, fmt.Sprintf("does not come back in %.1f %% of the runs", 100*s.Never))
	}
	if len(out) == 0 {
		return ""
	}
	return "  " + strings.Join(out, "; ")
}

// span is a time in seconds as people read it; -1 is never.
func span(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case s < 0:
		return "never"
	case s == 0:
		return "0"
	case d < 10*time.Second:
		return fmt.Sprintf("%.2fs", s)
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0fs", s)
	case d < 10*time.Minute:
		return fmt.Sprintf("%.1fm", d.Minutes())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0fm", d.Minutes())
	case d < 1000*time.Hour:
		return fmt.Sprintf("%.1fh", d.Hours())
	}
	return fmt.Sprintf("%.0fd", d.Hours()/24)
}

// bars draws a histogram, without its empty end.
func bars(w io.Writer, bins []simulate.Bin) {
	most := 0
	for _, b := range bins {
		most = max(most, b.Runs)
	}
	if most == 0 || len(bins) < 2 {
		return
	}
	fmt.Fprintln(w, "\nuntil all services have servers enough that come to have them")
	for _, b := range bins {
		if b.Runs > 0 {
			fmt.Fprintf(w, "  %7s - %-7s %7d  %s\n", span(b.From), span(b.To), b.Runs, strings.Repeat("#", 1+b.Runs*50/most))
		}
	}
}

// mostOnWay is how many things on the critical path are listed.
const mostOnWay = 8

func way(w io.Writer, shares []simulate.Share) {
	if len(shares) == 0 {
		return
	}
	fmt.Fprintln(w, "\nwhat the last service waits for")
	for i, s := range shares {
		if i == mostOnWay {
			fmt.Fprintf(w, "  … and %d more\n", len(shares)-i)
			break
		}
		fmt.Fprintf(w, "  %-50s in %s of the runs, %s in the median\n", s.What, often(s.Share), span(s.Seconds))
	}
}

// often draws a share of the runs; what was seldom is not drawn as never.
func often(share float64) string {
	if share > 0 && share < 0.005 {
		return "<1 %"
	}
	return fmt.Sprintf("%3.0f %%", 100*share)
}

// mostBars and ganttWide bound the chart of the run in the middle.
const (
	mostBars  = 40
	ganttWide = 40
)

// gantt draws the run in the middle: the longest bars, in the order of their beginnings.
func gantt(w io.Writer, all []simulate.Bar) {
	if len(all) == 0 {
		return
	}
	end := 0.0
	for _, b := range all {
		end = max(end, b.To)
	}
	show := longest(all, mostBars)
	fmt.Fprintf(w, "\nthe run in the middle, %s long; # is what the last service waited for\n", span(end))
	for _, b := range show {
		from, to := int(b.From/end*ganttWide), int(b.To/end*ganttWide)
		mark := "-"
		if b.Critical {
			mark = "#"
		}
		line := strings.Repeat(" ", from) + strings.Repeat(mark, max(1, to-from))
		fmt.Fprintf(w, "  %s %8s %8s  %s\n", padded(b.What, 36), span(b.From), span(b.To), line)
	}
	if n := len(all) - len(show); n > 0 {
		fmt.Fprintf(w, "  … and %d shorter ones\n", n)
	}
}

// longest keeps the critical bars and then the longest, in their order.
func longest(all []simulate.Bar, most int) []simulate.Bar {
	if len(all) <= most {
		return all
	}
	by := slices.Clone(all)
	slices.SortStableFunc(by, func(a, b simulate.Bar) int {
		if a.Critical != b.Critical {
			if a.Critical {
				return -1
			}
			return 1
		}
		return int((b.To - b.From - a.To + a.From) * 1000)
	})
	least := by[most-1]
	n := 0
	return slices.DeleteFunc(slices.Clone(all), func(b simulate.Bar) bool {
		keep := (b.Critical || !least.Critical && b.To-b.From >= least.To-least.From) && n < most
		if keep {
			n++
		}
		return !keep
	})
}

// Besides draws steps as they went, beside what was foreseen of them.
func Besides(w io.Writer, steps []simulate.Beside) {
	wide := len("step")
	for _, s := range steps {
		wide = max(wide, utf8.RuneCountInString(s.What))
	}
	fmt.Fprintf(w, "  %-*s  %10s  %9s  %9s\n", wide, "step", "done after", "p50", "p95")
	for _, s := range steps {
		took, remark := span(s.Took), ""
		switch {
		case s.Took < 0:
			took, remark = "-", "  not done"
		case s.Late:
			remark = "  later than in 95 of 100"
		}
		fmt.Fprintf(w, "  %-*s  %10s  %9s  %9s%s\n", wide, s.What, took, span(s.P50), span(s.P95), remark)
	}
}
