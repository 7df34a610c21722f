package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/count"
	"github.com/haechi/haechi/core/history"
	"github.com/haechi/haechi/core/situation"
)

func historyCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "history STORE", Short: "The life of a store: who was primary when and why, what was lost, salvaged, compared", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			towers, err := o.client()
			if err != nil {
				return err
			}
			var life history.Life
			if err := towers.get(c.Context(), "stores/"+url.PathEscape(args[0])+"/history", &life); err != nil {
				return err
			}
			return o.show(c, life, func(w io.Writer) { drawLife(w, life) })
		},
	}
}

func drawLife(w io.Writer, l history.Life) {
	fmt.Fprintf(w, "%s: %s\n", l.Store, comparedText(l))
	if l.Gap != "" {
		fmt.Fprintf(w, "not all is told: %s\n", l.Gap)
	}
	if len(l.Reigns) == 0 {
		fmt.Fprintf(w, "no primary is known from a run: adopt it (haechi adopt %s)\n", l.Store)
		return
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "\nEPOCH\tTIMELINE\tPRIMARY\tFROM\tUNTIL\tBY\tWHY")
	for _, r := range l.Reigns {
		until := "now"
		if !r.Until.IsZero() {
			until = moment(r.Until)
		}
		fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\t%s %s\t%s\n", r.Epoch, r.Timeline, r.Primary, moment(r.From), until, r.Run, r.Kind, strings.Join(r.Because, "; "))
	}
	if len(l.Events) > 0 {
		fmt.Fprintln(t, "\nWHEN\tWHAT\tMEMBERS\tBY\t\t\t")
	}
	for _, e := range l.Events {
		by := string(e.Run)
		if len(e.By) > 0 {
			by += " " + strings.Join(e.By, ", ")
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", moment(e.At), e.What, strings.Join(e.Members, ","), by, strings.ReplaceAll(e.Text, "\n", "; "))
	}
	if len(l.Salvages) > 0 {
		fmt.Fprintln(t, "\nSALVAGE\tMEMBER\tROWS\tSTATE\tKEPT BY\t\t")
	}
	for _, s := range l.Salvages {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\n", s.ID, s.Member, s.Rows, salvageText(s), holders(s))
	}
	_ = t.Flush()
}

// comparedText says what is known of whether all members hold the same.
func comparedText(l history.Life) string {
	switch {
	case l.Differs != "":
		return "its members do not hold the same: " + l.Differs
	case !l.Verified.IsZero():
		return "all members held the same at " + moment(l.Verified)
	}
	if len(l.Reigns) <= 1 {
		return "its members were not compared yet: haechi verify " + string(l.Store)
	}
	return "its members were not compared since one of them came back: haechi verify " + string(l.Store)
}

func salvageText(s situation.Salvage) string {
	switch s.State {
	case situation.SalvageApplied:
		return fmt.Sprintf("applied (%s) by %s", count.Of(s.Applied, "row"), strings.Join(s.By, ", "))
	case situation.SalvageDiscarded:
		return "discarded by " + strings.Join(s.By, ", ")
	case situation.SalvageOpen:
		if s.Applied > 0 {
			return fmt.Sprintf("open: %s applied, the rest to be decided", count.Of(s.Applied, "row"))
		}
		return "open: to be decided"
	case situation.SalvageEmpty:
		return "nothing to decide"
	}
	return string(s.State)
}

func holders(s situation.Salvage) string {
	var out []string
	for _, h := range s.Holders {
		out = append(out, string(h))
	}
	return strings.Join(out, ",")
}

// moment is an instant in the reader's own time.
func moment(at time.Time) string { return at.Local().Format("2006-01-02 15:04:05.000") }
