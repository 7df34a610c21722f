package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/response"
)

func failbackCommand(o *options) *cobra.Command {
	order := starting(o, &cobra.Command{
		Use: "failback STORE", Short: "Move a store's primary to where the estate declares it, once all is whole again", Args: cobra.ExactArgs(1),
		Example: "  haechi failback talk-db --check\n  haechi failback talk-db",
	}, "failback", func(args []string) any { return map[string]string{"store": args[0]} })
	check := order.Flags().Bool("check", false, "only say what speaks for and against it")
	move := order.RunE
	order.RunE = func(c *cobra.Command, args []string) error {
		if !*check {
			return move(c, args)
		}
		towers, err := o.client()
		if err != nil {
			return err
		}
		var f response.Failback
		if err := towers.get(c.Context(), "failback?"+url.Values{"store": {args[0]}}.Encode(), &f); err != nil {
			return err
		}
		return o.show(c, f, func(w io.Writer) { drawFailback(w, f) })
	}
	return order
}

func drawFailback(w io.Writer, f response.Failback) {
	if f.From == f.To {
		fmt.Fprintf(w, "%s: %s\n", f.Store, strings.Join(f.Against, "; "))
		return
	}
	fmt.Fprintf(w, "%s: %s -> %s", f.Store, f.From, f.To)
	if f.Possible() {
		fmt.Fprintf(w, ": possible, when a person says so (haechi failback %s)\n", f.Store)
	} else {
		fmt.Fprintln(w, ": not now")
	}
	for _, part := range []struct {
		word string
		said []string
	}{{"against", f.Against}, {"for", f.For}, {"costs", f.Costs}} {
		for _, s := range part.said {
			fmt.Fprintf(w, "  %-8s %s\n", part.word, s)
		}
	}
}

func rejoinCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "rejoin STORE MEMBER", Short: "Bring one member back to its store: read, made a follower, counted, compared", Args: cobra.ExactArgs(2),
		Example: "  haechi rejoin talk-db pangyo\n  haechi rejoin talk-db anyang --anew",
	}
	anew := c.Flags().Bool("anew", false, "copy it from its primary, also where it follows and counts: what differs there is lost")
	return starting(o, c, "rejoin", func(args []string) any {
		return map[string]any{"store": args[0], "member": args[1], "anew": *anew}
	})
}

func countOutCommand(o *options) *cobra.Command {
	return starting(o, &cobra.Command{
		Use: "count-out STORE MEMBER", Short: "Count no more on a member that is gone for good, so that the next loss can be borne", Args: cobra.ExactArgs(2),
		Example: "  haechi count-out talk-db pangyo",
		Long: `A member that holds writes has to be heard before another one is promoted. Where it is gone for good, count it
out; then put another member into the estate in its place and apply that: it is copied from the primary, and counts, by itself.
One that is counted out and comes back is read for what only it holds before anything on it is rewritten.`,
	}, "count-out", func(args []string) any { return map[string]string{"store": args[0], "member": args[1]} })
}
