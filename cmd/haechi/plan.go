package main

import (
	"errors"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/plan"
)

func planCommand(o *options) *cobra.Command {
	var lose, evacuate, failover, adopt, to string
	var reseat bool
	c := &cobra.Command{
		Use: "plan", Short: "What would be done, step by step; changes nothing", Args: cobra.NoArgs,
		Example: "  haechi plan --lose pangyo\n  haechi plan --failover talk-db --to ansan",
		RunE: func(c *cobra.Command, _ []string) error {
			q := url.Values{}
			for key, value := range map[string]string{"lose": lose, "evacuate": evacuate, "failover": failover, "adopt": adopt} {
				if value != "" {
					q.Set(key, value)
				}
			}
			if reseat {
				q.Set("reseat", plan.Towers)
			}
			if len(q) != 1 {
				return &misused{errors.New("what is to be planned? Give one of --lose SITE, --evacuate SITE, --failover STORE, --adopt STORE, --reseat")}
			}
			if to != "" {
				q.Set("to", to)
			}
			towers, err := o.client()
			if err != nil {
				return err
			}
			var p plan.Plan
			if err := towers.get(c.Context(), "plan?"+q.Encode(), &p); err != nil {
				return err
			}
			return o.show(c, p, func(w io.Writer) { _, _ = io.WriteString(w, plan.Describe(p)) })
		},
	}
	c.Flags().StringVar(&lose, "lose", "", "a `site` that would be lost")
	c.Flags().StringVar(&evacuate, "evacuate", "", "a living `site` to be emptied")
	c.Flags().StringVar(&failover, "failover", "", "a `store` whose primary moves")
	c.Flags().StringVar(&adopt, "adopt", "", "a `store` that comes under haechi")
	c.Flags().BoolVar(&reseat, "reseat", false, "the towers that should have other seats")
	c.Flags().StringVar(&to, "to", "", "with --failover: the `member` that becomes primary")
	return c
}
