package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/tower/web"
)

func doctorCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "What is missing or unsafe, and what to do about it", Args: cobra.NoArgs,
		Long: `It asks every tower about itself and everything that it sees: hosts, members, towers,
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
	return towers.doctor(c.Context())
}

// doctor asks every tower, since each knows its own certificate and disk, and joins what they
// say. A tower that does not answer is a finding; if none does, that is an error.
func (c *client) doctor(ctx context.Context) (all []web.Finding, err error) {
	var silent []error
	said := map[string]bool{}
	for _, tower := range c.towers {
		var found []web.Finding
		if err := c.ask(ctx, tower, http.MethodGet, "doctor", "", nil, &found); err != nil {
			silent = append(silent, fmt.Errorf("tower at %s: %w", tower, err))
			all = append(all, web.Finding{Subject: tower, Level: web.Warn, Text: "this tower does not answer: " + err.Error(),
				Do: "look at its log, and whether you reach it; what only it knows (its certificate, its disk) is not told here"})
			continue
		}
		all = append(all, slices.DeleteFunc(slices.Clone(found), func(f web.Finding) bool { return said[sense(f)] })...)
		for _, f := range found {
			said[sense(f)] = true
		}
	}
	if len(silent) == len(c.towers) {
		return nil, fmt.Errorf("no tower answers; what they watch over goes on without them:\n%w", errors.Join(silent...))
	}
	return all, nil
}

var digits = regexp.MustCompile(`[0-9.]+`)

// sense is what a finding says, but for numbers: two towers that look at the same thing
// measure a little different.
func sense(f web.Finding) string { return f.Subject + ": " + digits.ReplaceAllString(f.Text, "#") }

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
