package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/tower/web"
)

func doctorCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "What is missing or unsafe, and what to do about it", Args: cobra.NoArgs,
		Long: `It asks the towers about everything that they see: hosts, members, towers,
certificates, premises. With --config naming a tower's, an agent's or an
observer's own file it looks at that host instead, without any tower.`,
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := o.examine(c)
			if err != nil {
				return err
			}
			if err := o.show(c, all, func(w io.Writer) { drawFindings(w, all) }); err != nil {
				return err
			}
			return worst(all)
		},
	}
}

func (o *options) examine(c *cobra.Command) ([]web.Finding, error) {
	if all, local := examineFile(o.config); local {
		return all, nil
	}
	towers, err := o.client()
	if err != nil {
		return nil, err
	}
	var all []web.Finding
	err = towers.get(c.Context(), "doctor", &all)
	return all, err
}

func drawFindings(w io.Writer, all []web.Finding) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, f := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Level, f.Subject, strings.ReplaceAll(f.Text, "\n", "; "))
		if f.Do != "" {
			fmt.Fprintf(t, "\t\twhat to do: %s\n", f.Do)
		}
	}
	_ = t.Flush()
}

// worst is an error if something is bad: scripts ask for it.
func worst(all []web.Finding) error {
	for _, f := range all {
		if f.Level == web.Bad {
			return errors.New("something is unsafe: see above")
		}
	}
	return nil
}
