package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// The groups of commands, in the order of `haechi help`.
const (
	seeing     = "see"
	acting     = "act"
	describing = "describe"
	serving    = "serve"
)

// newRoot builds the tree of commands. begun is called when a command was
// understood and starts: an error before that is the caller's.
func newRoot(begun func()) *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "haechi",
		Short: "Lose a data centre, lose no message",
		Long: `haechi watches over stores and services that stand in several data centres.
When one is lost it moves databases and traffic to the others, in the right order.`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if o.output != "text" && o.output != "json" {
				return fmt.Errorf("--output is %q; it is text or json", o.output)
			}
			begun()
			return nil
		},
		Args: cobra.ArbitraryArgs, RunE: parent,
	}
	root.PersistentFlags().StringVar(&o.config, "config", "", "client's `file`: towers and certificate (default $HAECHI_CONFIG, then ~/.config/haechi/config.yaml)")
	root.PersistentFlags().StringVarP(&o.output, "output", "o", "text", "text or json")
	root.AddGroup(
		&cobra.Group{ID: seeing, Title: "See what is, and what would be:"},
		&cobra.Group{ID: acting, Title: "Act:"},
		&cobra.Group{ID: describing, Title: "Describe and prepare:"},
		&cobra.Group{ID: serving, Title: "Serve, and try:"},
	)
	add(root, seeing, statusCommand(o), planCommand(o), runsCommand(o), runCommand(o), journalCommand(o), doctorCommand(o))
	add(root, acting, evacuateCommand(o), failoverCommand(o), serveCommand(o), adoptCommand(o), pauseCommand(o), resumeCommand(o),
		armCommand(o), disarmCommand(o), holdCommand(o))
	add(root, describing, estateCommand(o), pkiCommand(o))
	add(root, serving, towerCommand(), observerCommand(), labCommand())
	root.SetHelpCommandGroupID(describing)
	root.SetCompletionCommandGroupID(describing)
	return root
}

func add(to *cobra.Command, group string, all ...*cobra.Command) {
	for _, c := range all {
		c.GroupID = group
		to.AddCommand(c)
	}
}

// options are the flags that every command has.
type options struct {
	config string
	output string
}

// parent is what a command with subcommands does when it is called by itself.
func parent(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	text := fmt.Sprintf("%q is not a command of %q", args[0], c.CommandPath())
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return &misused{fmt.Errorf("%s; see %s --help", text, c.CommandPath())}
}

// show writes v as JSON, or by text for people.
func (o *options) show(c *cobra.Command, v any, text func(w io.Writer)) error {
	if o.output == "text" {
		text(c.OutOrStdout())
		return nil
	}
	enc := json.NewEncoder(c.OutOrStdout())
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
