package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/generate"
)

func generateCommand() *cobra.Command {
	var order generate.Order
	var seed uint64
	var answers string
	c := &cobra.Command{
		Use: "generate", Short: "Print the estate of a company that does not exist, with faults planted in it or without", Args: cobra.NoArgs,
		Example: "  haechi estate generate --sites 3 --servers 32000 --services 134 --seed 41 > estate.yaml\n" +
			"  haechi estate generate --plant spof,rpo --answers answers.json > estate.yaml",
		Long: `Draws an estate: sites with what feeds and cools them, links, pools, stores, services, tools, teams, haechi's own towers. Equal flags give equal bytes.

Nothing in it is found by haechi audit above low, except what --plant breaks, one fault for each rule named: ` + strings.Join(generate.Rules(), ", ") + `. --answers writes what an audit has to find then, and nothing else above low.`,
		RunE: func(c *cobra.Command, _ []string) error {
			e, found, err := generate.Make(order, rand.New(rand.NewPCG(seed, 0)))
			if err != nil {
				return &misused{err}
			}
			if answers != "" {
				raw, err := json.MarshalIndent(found, "", "  ")
				if err == nil {
					err = os.WriteFile(answers, append(raw, '\n'), 0o644)
				}
				if err != nil {
					return fmt.Errorf("write the answers: %w", err)
				}
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "# %s\n%s", drawnBy(order, seed), generate.Text(e))
			return err
		},
	}
	c.Flags().IntVar(&order.Sites, "sites", 3, "data centres")
	c.Flags().IntVar(&order.Servers, "servers", 32_000, "servers over all of them")
	c.Flags().IntVar(&order.Services, "services", 134, "services, the company's own tools among them")
	c.Flags().Uint64Var(&seed, "seed", 1, "another seed draws another company")
	c.Flags().StringSliceVar(&order.Plant, "plant", nil, "`rules` of the audit to break, separated by commas")
	c.Flags().StringVar(&answers, "answers", "", "`file` for what an audit must find, as JSON")
	return c
}

// drawnBy is the command that prints the same again.
func drawnBy(o generate.Order, seed uint64) string {
	s := fmt.Sprintf("haechi estate generate --sites %d --servers %d --services %d --seed %d", o.Sites, o.Servers, o.Services, seed)
	if len(o.Plant) > 0 {
		s += " --plant " + strings.Join(o.Plant, ",")
	}
	return s
}
