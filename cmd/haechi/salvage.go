package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/count"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/web"
)

func salvageCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "salvage", Short: "What only a lost member held: list, show, apply, discard", RunE: parent,
		Long: `A member that was primary when its site was lost may hold rows that nobody else has. They are read
before anything on it is rewritten, and kept in two sites until people have decided about them.`,
	}
	c.AddCommand(listSalvagesCommand(o), showSalvageCommand(o), applySalvageCommand(o), discardSalvageCommand(o))
	return c
}

func listSalvagesCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "All salvages, newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			towers, err := o.client()
			if err != nil {
				return err
			}
			var all []situation.Salvage
			if err := towers.get(c.Context(), "salvages", &all); err != nil {
				return err
			}
			return o.show(c, all, func(w io.Writer) { drawSalvages(w, all) })
		},
	}
}

func drawSalvages(w io.Writer, all []situation.Salvage) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no member was ever read for what only it held")
		return
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "SALVAGE\tSTORE\tMEMBER\tROWS\tMAYBE TOLD SAVED\tSTATE\tREAD BY\tREAD")
	for _, s := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", s.ID, s.Store, s.Member, s.Rows, s.Told, salvageText(s), s.Method, s.At.Local().Format(time.DateTime))
	}
	_ = t.Flush()
}

// rowsShown is how many rows are shown unless more are asked for.
const rowsShown = 100

func showSalvageCommand(o *options) *cobra.Command {
	var from, limit int
	c := &cobra.Command{
		Use: "show ID", Short: "One salvage: its rows, and what stands in their places now (role operator or approver)", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if from < 1 || limit < 0 {
				return &misused{errors.New("--from counts from 1, --limit from 0 (all)")}
			}
			if o.output == "json" && !c.Flags().Changed("limit") {
				limit = 0 // whoever reads that wants no half of it
			}
			towers, err := o.client()
			if err != nil {
				return err
			}
			s, err := salvageRows(c.Context(), towers, args[0], from, limit)
			if err != nil {
				return err
			}
			return o.show(c, s, func(w io.Writer) { drawSalvage(w, s) })
		},
	}
	c.Flags().IntVar(&from, "from", 1, "the first `row` to show")
	c.Flags().IntVar(&limit, "limit", rowsShown, "how many rows to show; 0 for all, as with --output json")
	return c
}

// salvageRows asks for page after page until there are as many rows as wanted.
func salvageRows(ctx context.Context, towers *client, id string, from, limit int) (web.SalvageRows, error) {
	var out web.SalvageRows
	for next := from; next > 0 && (limit == 0 || len(out.Rows) < limit); {
		var page web.SalvageRows
		if err := towers.get(ctx, fmt.Sprintf("salvages/%s?from=%d", url.PathEscape(id), next), &page); err != nil {
			return out, err
		}
		page.Rows = append(out.Rows, page.Rows...)
		out, next = page, page.Next
	}
	if limit > 0 && len(out.Rows) > limit {
		out.Rows = out.Rows[:limit]
		out.Next = out.Rows[limit-1].N + 1
	}
	return out, nil
}

func drawSalvage(w io.Writer, shown web.SalvageRows) {
	s := shown.Salvage
	fmt.Fprintf(w, "%s: %s of %s, %s\n", s.ID, s.Member, s.Store, salvageText(s))
	fmt.Fprintf(w, "  timeline %d, which the primary left at %s; the member went on to %s\n", s.Timeline, s.Fork, s.End)
	fmt.Fprintf(w, "  %s, %s, read at %s; of %d a client may have been told that they are saved\n", count.Of(s.Rows, "row"), s.Method, s.At.Local().Format(time.DateTime), s.Told)
	if s.Applied > 0 {
		fmt.Fprintf(w, "  written back: %s\n", s.Written)
	}
	if len(s.By) > 0 && s.State == situation.SalvageOpen { // else its state says so
		fmt.Fprintf(w, "  by %s\n", strings.Join(s.By, ", "))
	}
	for _, u := range s.Unknown {
		fmt.Fprintf(w, "  not known: %s\n", u)
	}
	fmt.Fprintf(w, "  kept by %s\n", cmp.Or(holders(s), "nobody but "+string(s.Member)+" yet"))
	same := sameTold(shown.Rows)
	if same != "" {
		fmt.Fprintf(w, "  of each row: %s\n", same)
	}
	for _, r := range shown.Rows {
		drawSalvageRow(w, r, same)
	}
	if shown.Next > 0 {
		fmt.Fprintf(w, "more: haechi salvage show %s --from %d\n", s.ID, shown.Next)
	}
	switch {
	case s.State != situation.SalvageOpen:
	case s.Rows > 0:
		fmt.Fprintf(w, "to decide: haechi salvage apply %s --rows 1,3-5 (or --all); what nobody wants: haechi salvage discard %s\n", s.ID, s.ID)
	default:
		fmt.Fprintf(w, "to decide: haechi salvage discard %s\n", s.ID)
	}
}

// toldWords say what is known of whether a client was told that a row is saved.
func toldWords(r web.SalvageRow) string {
	if r.Told == "never" {
		return "no client was ever told that it is saved"
	}
	return "it is not known whether a client was told that it is saved: " + r.Because
}

// sameTold are the words that go for each of several rows, so that they are said once; empty: there are none.
func sameTold(rows []web.SalvageRow) string {
	if len(rows) < 2 {
		return ""
	}
	words := toldWords(rows[0])
	for _, r := range rows[1:] {
		if toldWords(r) != words {
			return ""
		}
	}
	return words
}

// drawSalvageRow shows one row; what was said of each already is not said again.
func drawSalvageRow(w io.Writer, r web.SalvageRow, said string) {
	written := ""
	if r.Written {
		written = ", written back"
	}
	fmt.Fprintf(w, "%5d  %s %s.%s.%s%s\n", r.N, r.Op, r.Database, r.Schema, r.Table, written)
	drawValues(w, "old", r.Old)
	drawValues(w, "new", r.New)
	stands := r.Stands
	if r.Why != "" {
		stands += ": " + r.Why
	}
	fmt.Fprintf(w, "         now  %s\n", stands)
	if r.Stands == web.StandsChanged {
		drawValues(w, "", r.Now)
	}
	if told := toldWords(r); told != said {
		fmt.Fprintf(w, "         %s\n", told)
	}
	if !r.At.IsZero() {
		fmt.Fprintf(w, "         committed %s\n", r.At.Local().Format("2006-01-02 15:04:05.000"))
	}
	if r.Note != "" {
		fmt.Fprintf(w, "         %s\n", r.Note)
	}
}

// valueShown is how much of a value a line shows.
const valueShown = 80

func drawValues(w io.Writer, what string, all []web.SalvageValue) {
	if len(all) == 0 {
		return
	}
	var out []string
	for _, v := range all {
		text := fmt.Sprintf("%q", v.Text)
		switch {
		case v.State != "":
			text = strings.ToUpper(v.State)
		case v.Bytes > 0 || len(v.Text) > valueShown:
			text = fmt.Sprintf("%q… (%d bytes)", strings.ToValidUTF8(v.Text[:min(len(v.Text), valueShown)], ""), max(v.Bytes, len(v.Text)))
		}
		out = append(out, v.Column+"="+text)
	}
	fmt.Fprintf(w, "         %-3s  %s\n", what, strings.Join(out, " "))
}

func applySalvageCommand(o *options) *cobra.Command {
	var rows string
	var all, overwrite bool
	c := starting(o, &cobra.Command{
		Use: "apply ID", Short: "Write rows back on the primary, in one transaction", Args: cobra.ExactArgs(1),
		Example: "  haechi salvage apply r-000012-k3f9-pangyo --rows 1,3-5\n  haechi salvage apply r-000012-k3f9-pangyo --all",
	}, "salvages/{}/apply", func([]string) any { return map[string]any{"rows": rows, "all": all, "overwrite": overwrite} })
	c.Flags().StringVar(&rows, "rows", "", "the `numbers` of the rows, for example 1,3-5")
	c.Flags().BoolVar(&all, "all", false, "all its rows")
	c.Flags().BoolVar(&overwrite, "overwrite", false, "also where somebody has changed the row on the primary since: what stands there is lost")
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if (rows == "") != all {
			return &misused{errors.New("either --rows or --all: look at them first with haechi salvage show " + args[0])}
		}
		if _, err := situation.ParseRows(rows); !all && err != nil {
			return &misused{fmt.Errorf("--rows: %w", err)}
		}
		return run(c, args)
	}
	return c
}

func discardSalvageCommand(o *options) *cobra.Command {
	return starting(o, &cobra.Command{
		Use: "discard ID", Short: "Give a salvage up; as many people as accept-data-loss names have to agree", Args: cobra.ExactArgs(1),
	}, "salvages/{}/discard", func([]string) any { return struct{}{} })
}
