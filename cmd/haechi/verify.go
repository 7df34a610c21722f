package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/verify"
	"github.com/haechi/haechi/tower/web"
)

func verifyCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "verify STORE", Short: "Compare what all members of a store hold; changes nothing", Args: cobra.ExactArgs(1),
		Long: `Compares every table and sequence of a store on all its members, while they go on, and has each member
read its own pages and indexes. It ends with a list of what was compared and of every row that differs, and
with status 1 where any does. Who is right a person decides: nothing is changed.

It takes a fifth of a processor of each member at most, unless the store's settings say otherwise. haechi run
pause leaves it off in the middle, haechi run resume goes on from there.`,
	}
	noWait := c.Flags().Bool("no-wait", false, "do not follow the run")
	c.RunE = func(c *cobra.Command, args []string) error {
		towers, err := o.client()
		if err != nil {
			return err
		}
		var started web.Started
		if err := towers.send(c.Context(), http.MethodPost, "verify", map[string]string{"store": args[0]}, &started); err != nil {
			return err
		}
		if *noWait {
			return o.show(c, started, startedText(started))
		}
		r, err := o.followed(c, towers, string(started.Run), drawVerified)
		if err != nil {
			return err
		}
		if err := endedWell(r); err != nil {
			return err
		}
		return sameOrNot(args[0], r)
	}
	return c
}

// sameOrNot is an error unless all members were compared, and hold the same.
func sameOrNot(store string, r web.Run) error {
	switch s := summary(r); {
	case s == nil:
		return fmt.Errorf("%s has ended, and this tower does not say what it found: haechi run show %s", r.ID, r.ID)
	case s.Differs():
		return fmt.Errorf("the members of %s do not hold the same, see above; who is right a person decides: nothing was changed", store)
	case !s.Settled():
		return fmt.Errorf("no difference is proven on %s, and not everything could be settled, see above: compare again when less is written", store)
	case len(s.Without()) > 0:
		return fmt.Errorf("those members of %s that were compared hold the same, and not all were, see above: compare again once they count and answer", store)
	}
	return nil
}

// summary is what a run's comparison came to; nil: it has none.
func summary(r web.Run) *verify.Summary {
	for _, s := range r.Steps {
		if s.Report != nil {
			return s.Report
		}
	}
	return nil
}

func drawVerified(w io.Writer, r web.Run) {
	fmt.Fprintf(w, "%s: %s in %s\n", r.ID, r.Status, lasted(r))
	s := summary(r)
	if s == nil {
		return
	}
	fmt.Fprintf(w, "\n%s compared with %s, begun %s\n\n", strings.Join(s.Followers, ", "), s.Primary, s.Begun.Local().Format(time.DateTime))
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "DATABASE\tTABLES\tROWS\tMB\tSEQUENCES")
	for _, db := range slices.Sorted(maps.Keys(s.Databases)) {
		d := s.Databases[db]
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\n", db, d.Tables, d.Rows, d.Blocks*8>>10, d.Sequences)
	}
	fmt.Fprintln(t, "\nMEMBER\tPAGES\tINDEXES")
	for _, m := range slices.Sorted(maps.Keys(s.Checks)) {
		fmt.Fprintf(t, "%s\t%d\t%d\n", m, s.Checks[m].Pages, s.Checks[m].Indexes)
	}
	_ = t.Flush() // a pipe that was closed: the reader has seen enough
	drawFound(w, s)
}

// drawFound lists what differs, and what was not compared.
func drawFound(w io.Writer, s *verify.Summary) {
	if len(s.Found) == 0 {
		fmt.Fprintln(w, "\nno difference")
	} else {
		fmt.Fprintln(w)
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		fmt.Fprintln(t, "DIFFERENCE\tMEMBER\tWHERE\tKEY\tAT\tWHY")
		for _, f := range s.Found {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", f.Kind, f.Member, f.Table, f.Key, f.At, f.Why)
		}
		_ = t.Flush()
		for _, table := range slices.Sorted(maps.Keys(s.More)) {
			fmt.Fprintf(w, "%s: more differs than is named here\n", table)
		}
	}
	for _, l := range s.LeftOut {
		fmt.Fprintf(w, "not compared: %s: %s\n", l.Name, l.Why)
	}
}
