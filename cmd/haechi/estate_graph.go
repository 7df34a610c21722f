package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/tower/report/graph"
)

func graphEstateCommand() *cobra.Command {
	var o graph.Options
	c := &cobra.Command{
		Use: "graph FILE…", Short: "Draw what stands where and needs what, as SVG", Args: cobra.MinimumNArgs(1),
		Example: "  haechi estate graph estate.yaml >estate.svg\n  haechi estate graph estate/ --of talk --depth 2 >talk.svg",
		Long: `Draws the components of an estate, those of a site in its box, and lines from each to what it requires, wants or starts
after. --of draws one component with what it needs and what needs it, --depth only so many steps of that each way.`,
		RunE: func(c *cobra.Command, args []string) error {
			if o.Depth < 0 || o.Depth > 0 && o.Of == "" {
				return &misused{fmt.Errorf("--depth %d: a number of steps from the component that --of names; 0 for all", o.Depth)}
			}
			_, e, err := described(args)
			if err != nil {
				return err
			}
			svg, err := graph.SVG(e, o)
			if err != nil {
				return &misused{err}
			}
			_, err = c.OutOrStdout().Write(svg)
			return err
		},
	}
	c.Flags().StringVar(&o.Of, "of", "", "the `component` to centre on")
	c.Flags().IntVar(&o.Depth, "depth", 0, "how many steps from it are drawn; 0 for all")
	return c
}
