package demo

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/haechi/haechi/lab/trial"
)

// Least is how many acknowledged messages make a demo worth believing.
const Least = 1500

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
	*Returned
}

// Returned is what a demo adds that also shows the return of the site.
type Returned struct {
	SalvagedRows  int           `json:"salvaged_rows"`
	SalvageExact  bool          `json:"salvage_exact"`
	Rejoin        trial.Seconds `json:"rejoin_s"` // from the power's return until the member counts again
	Whole         trial.Seconds `json:"whole_s"`  // and until nothing is missing
	Verified      bool          `json:"verified"`
	FailbackPause trial.Seconds `json:"failback_pause_s"`
	Redundancy    string        `json:"redundancy"` // "whole", or what is missing
}

// result takes what a demo shows out of all that was measured; back is nil where the site was not to return.
func result(f trial.Figures, back *trial.Back) Result {
	r := Result{
		OK: f.OK() && f.Acknowledged >= Least && f.AllServed != trial.Never, Seed: f.Seed, Site: string(f.Site),
		Acknowledged: f.Acknowledged, Lost: f.Lost, Duplicated: f.Duplicated, OutOfOrder: f.OutOfOrder,
		Verdict: f.Verdict, Sealed: f.Sealed, Promoted: f.Promoted, FirstAck: f.FirstAck, AllServed: f.AllServed,
		LongestPause: f.LongestPause, Run: f.Run, PlanHash: f.PlanHash,
	}
	if back != nil {
		r.OK = r.OK && back.OK(f.Site)
		r.Returned = &Returned{SalvagedRows: back.Rows, SalvageExact: back.Exact, Rejoin: back.Counted, Whole: back.Whole, Verified: back.Verified,
			FailbackPause: back.FailbackPause, Redundancy: redundancy(*back)}
	}
	return r
}

// redundancy says whether all is as redundant as declared, or what is missing.
func redundancy(b trial.Back) string {
	switch {
	case b.Whole == trial.Never:
		return "the site did not come back"
	case len(b.Missing) > 0:
		return strings.Join(b.Missing, "; ")
	}
	return "whole"
}

// board is the scoreboard, for somebody who has never seen one.
func board(f trial.Figures, back *trial.Back) string {
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
	if back != nil {
		returned(&b, row, f, *back)
	}
	fmt.Fprintf(&b, "\n  acknowledged messages, each letter a tenth of a second\n")
	for _, l := range chart(f.Bars, 1, 6.8) {
		fmt.Fprintf(&b, "  %s\n", l)
	}
	fmt.Fprintf(&b, "\n  %s\n", judgement(f, back))
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
func judgement(f trial.Figures, back *trial.Back) string {
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
	if back == nil {
		return "NOTHING WAS LOST."
	}
	switch {
	case !back.Exact:
		return "FAILED: what was salvaged is not what the burned member alone held."
	case back.Counted == trial.Never || redundancy(*back) != "whole":
		return "FAILED: " + redundancy(*back) + "."
	case !back.Verified:
		return "FAILED: the members were not compared, or do not hold the same."
	case !back.OK(f.Site):
		return "FAILED: the primary did not come home."
	}
	return "NOTHING WAS LOST, AND ALL IS AS IT WAS."
}

// returned are the lines of the scoreboard about the return.
func returned(b *strings.Builder, row func(what, value, note string), f trial.Figures, back trial.Back) {
	fmt.Fprintf(b, "\n  from the return of its power\n")
	for _, x := range []moment{
		{"haechi was sure that the site is up", back.Up},
		{"what only its database held lay in two sites", back.Salvaged},
		{"its database counted again", back.Counted},
		{"all users were sent there again", back.Home},
		{"nothing was missing any more", back.Whole},
	} {
		row(x.what, clock(x.at), "")
	}
	exact := "exactly what it alone held"
	if !back.Exact {
		exact = fmt.Sprintf("NOT WHAT IT ALONE HELD: %s", strings.Join(back.Wrong[:min(3, len(back.Wrong))], "; "))
	}
	row("rows salvaged, which no client was promised", thousands(back.Rows), exact)
	row("longest silence while the primary went home", clock(back.FailbackPause), "")
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
