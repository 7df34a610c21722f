package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if may := outputs(c); !slices.Contains(may, o.output) {
				return fmt.Errorf("--output is %q; it is %s", o.output, either(may))
			}
			if err := c.ValidateRequiredFlags(); err != nil { // which cobra would look at too late
				return err
			}
			begun()
			return nil
		},
		Args: cobra.ArbitraryArgs, RunE: parent,
	}
	root.PersistentFlags().StringVar(&o.config, "config", "", "client's `file`: towers and certificate (default $HAECHI_CONFIG, then ~/.config/haechi/config.yaml)")
	root.PersistentFlags().StringVarP(&o.output, "output", "o", "text", "text or json")
	root.SetGlobalNormalizationFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "format" { // what many other programs call it
			name = "output"
		}
		return pflag.NormalizedName(name)
	})
	root.AddGroup(
		&cobra.Group{ID: seeing, Title: "See what is, and what would be:"},
		&cobra.Group{ID: acting, Title: "Act:"},
		&cobra.Group{ID: describing, Title: "Describe and prepare:"},
		&cobra.Group{ID: serving, Title: "Serve, and try:"},
	)
	add(root, seeing, statusCommand(o), planCommand(o), auditCommand(o), blastCommand(o), simulateCommand(o), compareCommand(o), replayCommand(o), runsCommand(o), runCommand(o), historyCommand(o), journalCommand(o), doctorCommand(o))
	add(root, acting, evacuateCommand(o), failoverCommand(o), failbackCommand(o), rejoinCommand(o), countOutCommand(o), serveCommand(o), adoptCommand(o), salvageCommand(o), verifyCommand(o), pauseCommand(o), resumeCommand(o),
		armCommand(o), disarmCommand(o), holdCommand(o), reseatCommand(o), waiveCommand(o))
	add(root, describing, estateCommand(o), pkiCommand(o))
	add(root, serving, towerCommand(o), observerCommand(), labCommand())
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

// drawn is the annotation of a command that knows more outputs than text and json.
const drawn = "outputs"

// draws has a command offer these outputs.
func (o *options) draws(c *cobra.Command, kinds ...string) {
	c.Annotations = map[string]string{drawn: strings.Join(kinds, " ")}
	c.Flags().StringVarP(&o.output, "output", "o", "text", either(kinds)+"; --format is the same")
}

func outputs(c *cobra.Command) []string {
	if more, ok := c.Annotations[drawn]; ok {
		return strings.Fields(more)
	}
	return []string{"text", "json"}
}

// either lists words as alternatives.
func either(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// draw writes by what --output says, and says so where the command cannot draw that.
func (o *options) draw(c *cobra.Command, by map[string]func(io.Writer) error) error {
	f, ok := by[o.output]
	if !ok {
		return &misused{fmt.Errorf("--output %s: this is drawn as %s", o.output, either(slices.Sorted(maps.Keys(by))))}
	}
	w := bufio.NewWriter(c.OutOrStdout())
	if err := f(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

func asJSON(v any) func(io.Writer) error {
	return func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
}

// plainly is for what cannot fail but in its writer.
func plainly(f func(io.Writer)) func(io.Writer) error {
	return func(w io.Writer) error {
		f(w)
		return nil
	}
}

// show writes v as JSON, or by text for people.
func (o *options) show(c *cobra.Command, v any, text func(w io.Writer)) error {
	return o.draw(c, map[string]func(io.Writer) error{"json": asJSON(v), "text": plainly(text)})
}
