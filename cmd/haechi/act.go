package main

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/tower/web"
)

func evacuateCommand(o *options) *cobra.Command {
	return starting(o, &cobra.Command{
		Use: "evacuate SITE", Short: "Empty a living site: stores, then traffic", Args: cobra.ExactArgs(1),
	}, "evacuate", func(args []string) any { return map[string]string{"site": args[0]} })
}

func failoverCommand(o *options) *cobra.Command {
	var to string
	c := starting(o, &cobra.Command{
		Use: "failover STORE", Short: "Move a store's primary, nothing else", Args: cobra.ExactArgs(1),
	}, "failover", func(args []string) any { return map[string]string{"store": args[0], "to": to} })
	c.Flags().StringVar(&to, "to", "", "the `member` that becomes primary (default: the best one)")
	return c
}

func adoptCommand(o *options) *cobra.Command {
	return starting(o, &cobra.Command{
		Use: "adopt STORE", Short: "Take an existing cluster under haechi's epochs", Args: cobra.ExactArgs(1),
	}, "adopt", func(args []string) any { return map[string]string{"store": args[0]} })
}

func serveCommand(o *options) *cobra.Command {
	return starting(o, &cobra.Command{
		Use: "serve SITE", Short: "Let a site answer users again that was emptied, lost or cut off", Args: cobra.ExactArgs(1),
	}, "serve", func(args []string) any { return map[string]string{"site": args[0]} })
}

// starting makes a command that opens a run, and follows it to its end. {} in the path stands for
// the first argument.
func starting(o *options, c *cobra.Command, path string, in func(args []string) any) *cobra.Command {
	noWait := c.Flags().Bool("no-wait", false, "do not follow the run")
	c.RunE = func(c *cobra.Command, args []string) error {
		towers, err := o.client()
		if err != nil {
			return err
		}
		var started web.Started
		if err := towers.send(c.Context(), http.MethodPost, strings.Replace(path, "{}", url.PathEscape(args[0]), 1), in(args), &started); err != nil {
			return err
		}
		if *noWait {
			return o.show(c, started, startedText(started))
		}
		return o.follow(c, towers, string(started.Run))
	}
	return c
}
