package demo

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/haechi/haechi/lab/trial"
)

// Least is how many acknowledged messages make a demo worth believing.
const Least = 2000

// Result is what a demo ends with, for programs.
type Result struct {
	OK           bool          `json:"ok"`
	Seed         uint64        `json:"seed"`
	Site         string        `json:"site"`
	Acknowledged int           `json:"acknowledged"`
	Lost         int           `json:"lost"`
	Duplicated   int           `json:"duplicated"`
	OutOfOrder   int           `json:"out_of_order"`
	Verdict      trial.Seconds `json:"verdict_s"`
	Sealed       trial.Seconds `json:"sealed_s"`
	Promoted     trial.Seconds `json:"promoted_s"`
	FirstAck     trial.Seconds `json:"first_ack_s"`
	AllServed    trial.Seconds `json:"all_served_s"`
	LongestPause trial.Seconds `json:"longest_pause_s"`
	Run          string        `json:"run"`
	PlanHash     string        `json:"plan_hash"`
}

// result takes what a demo shows out of all that was measured.
func result(f trial.Figures) Result {
	return Result{
		OK: f.OK() && f.Acknowledged >= Least && f.AllServed != trial.Never, Seed: f.Seed, Site: string(f.Site),
		Acknowledged: f.Acknowledged, Lost: f.Lost, Duplicated: f.Duplicated, OutOfOrder: f.OutOfOrder,
		Verdict: f.Verdict, Sealed: f.Sealed, Promoted: f.Promoted, FirstAck: f.FirstAck, AllServed: f.AllServed,
		LongestPause: f.LongestPause, Run: f.Run, PlanHash: f.PlanHash,
	}
}

// board is the scoreboard, for somebody who has never seen one.
func board(f trial.Figures) string {
	var b strings.Builder
	row := func(what, value, note string) {
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("  %-44s %10s   %s", what, value, note), " "))
	}
	rule := "  " + strings.Repeat("─", 92)
	fmt.Fprintf(&b, "%s\n  %s burned at %s UTC\n%s\n", rule, strings.ToUpper(string(f.Site)), f.At.UTC().Format("15:04:05.000"), rule)
	row("messages that users were told are sent", thousands(f.Acknowledged), fmt.Sprintf("%d clients, %.0f a second", f.Clients, f.Rate))
	row("of these lost", thousands(f.Lost), "")
	row("there twice", thousands(f.Duplicated), "")
	row("out of order", thousands(f.OutOfOrder), "")
	if f.Changed > 0 {
		row("altered", thousands(f.Changed), "")
	}
	fmt.Fprintf(&b, "  every one was looked for in %s\n\n  from the fire\n", strings.Join(f.Judged, " and in "))
	for _, x := range inOrder(f) {
		row(x.what, clock(x.at), "")
	}
	row("longest silence between two acknowledgements", clock(f.LongestPause), "")
	fmt.Fprintf(&b, "\n  acknowledged messages, each letter a tenth of a second\n")
	for _, l := range chart(f.Bars, 1, 6.8) {
		fmt.Fprintf(&b, "  %s\n", l)
	}
	fmt.Fprintf(&b, "\n  %s\n", judgement(f))
	for _, t := range f.Trouble {
		fmt.Fprintf(&b, "  besides: %s\n", t)
	}
	if f.Run != "" {
		fmt.Fprintf(&b, "  run %s, plan %s, seed %d\n", f.Run, short(f.PlanHash), f.Seed)
	}
	return b.String() + rule + "\n"
}

// moment is one instant after the fire.
type moment struct {
	what string
	at   trial.Seconds
}

// inOrder are the moments of a fire as they came; those that never came are last.
func inOrder(f trial.Figures) []moment {
	all := []moment{
		{"haechi was sure of the loss", f.Verdict},
		{"the old side could acknowledge nothing more", f.Sealed},
		{"another member took over, confirmed", f.Promoted},
		{"first new message acknowledged", f.FirstAck},
		{fmt.Sprintf("all %d clients served", f.Clients), f.AllServed},
	}
	if moves := func(s trial.Step) bool { return s.Verb == "promote" }; f.Run != "" && !slices.ContainsFunc(f.Steps, moves) {
		all = slices.Delete(all, 1, 3) // the primary lived, and nothing had to move
	}
	slices.SortStableFunc(all, func(a, b moment) int {
		if never := b.at == trial.Never; never != (a.at == trial.Never) {
			return map[bool]int{true: -1, false: 1}[never]
		}
		return cmp.Compare(a.at, b.at)
	})
	return all
}

// judgement is the end in one sentence.
func judgement(f trial.Figures) string {
	switch {
	case f.Lost > 0:
		return fmt.Sprintf("FAILED: %d messages that users were told are sent are gone.", f.Lost)
	case !f.OK():
		return "FAILED: messages are there twice, out of order or altered."
	case f.AllServed == trial.Never:
		return "FAILED: not all clients were served again."
	case f.Acknowledged < Least:
		return fmt.Sprintf("NOT ENOUGH: fewer than %d messages were acknowledged, too few to say anything.", Least)
	}
	return "NOTHING WAS LOST."
}

// chart draws acknowledgements around the fire: some seconds before, some after.
func chart(b trial.Bars, before, after float64) []string {
	first := max(0, int((float64(b.From)-before)*10+.5))
	last := min(len(b.Count), int((float64(b.From)+after)*10+.5))
	if first >= last {
		return []string{"(nothing was recorded)"}
	}
	count := b.Count[first:last]
	// The crowd that waited would dwarf everything: the height is twice what is usual.
	usual, n := 0, 0
	for _, c := range b.Count[:min(len(b.Count), int(float64(b.From)*10))] {
		usual, n = usual+c, n+1
	}
	most := max(1, 2*usual/max(1, n))
	var bar, axis strings.Builder
	levels := []rune(" ▁▂▃▄▅▆▇█")
	for i, c := range count {
		level := 0
		if c > 0 {
			level = max(1, min(len(levels)-1, c*(len(levels)-1)/most))
		}
		bar.WriteRune(levels[level])
		switch at := i + first - int(float64(b.From)*10+.5); {
		case at == 0:
			axis.WriteRune('^')
		case at%10 == 0:
			axis.WriteRune('|')
		default:
			axis.WriteRune(' ')
		}
	}
	ticks := []rune(strings.Repeat(" ", len(count)+8))
	fire := int(float64(b.From)*10+.5) - first
	copy(ticks[max(0, fire-1):], []rune("fire"))
	for s := 1; fire+10*s < len(count); s++ {
		copy(ticks[fire+10*s-1:], []rune(fmt.Sprintf("+%ds", s)))
	}
	return []string{bar.String(), axis.String(), strings.TrimRight(string(ticks), " ")}
}

func clock(s trial.Seconds) string {
	if s == trial.Never {
		return "–"
	}
	return fmt.Sprintf("%.2f s", float64(s))
}

// thousands writes 12345 as 12,345.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

func short(hash string) string { return hash[:min(len(hash), 12)] }
