package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/lab"
)

// acting is a command that does one fault in the lab that is up, and prints its proof.
func acting(name *string, cmd *cobra.Command, words func(args []string) []string) *cobra.Command {
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := lab.NewControl(lab.Options{Name: *name}.SocketFile()).Act(cmd.Context(), words(args)...)
		if err != nil {
			return err
		}
		if *output == "json" {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(p)
		}
		fmt.Fprintln(cmd.OutOrStdout(), p)
		return nil
	}
	return cmd
}

func outputFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("output", "o", "text", "text or json")
}

func fireCommand(name *string) *cobra.Command {
	return acting(name, &cobra.Command{
		Use:   "fire SITE",
		Short: "burn a site down: its lines first, then everything in it",
		Args:  cobra.ExactArgs(1),
	}, func(args []string) []string { return []string{"fire", args[0]} })
}

func healCommand(name *string) *cobra.Command {
	return acting(name, &cobra.Command{
		Use:   "heal",
		Short: "take back cuts, slow lines, full disks, locks and stops",
		Args:  cobra.NoArgs,
	}, func([]string) []string { return []string{"heal"} })
}

func faultCommand(name *string) *cobra.Command {
	var help strings.Builder
	w := tabwriter.NewWriter(&help, 0, 0, 2, ' ', 0)
	for _, a := range lab.Actions() {
		fmt.Fprintf(w, "  %s %s\t%s\n", a.Name, a.Args, a.Help)
	}
	_ = w.Flush() // into memory
	roles := strings.Trim(fmt.Sprint(lab.Roles()), "[]")
	return acting(name, &cobra.Command{
		Use:   "fault NAME [ARGUMENTS]",
		Short: "break something, with proof that it broke",
		Long:  "Break something, with proof that it broke:\n\n" + help.String() + "\nSites are pangyo, ansan and anyang; places are these and users; roles are " + roles + ".",
		Args:  cobra.MinimumNArgs(1),
	}, func(args []string) []string { return args })
}

func statusCommand(name *string) *cobra.Command {
	var output *string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "what stands and what does not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := lab.NewControl(lab.Options{Name: *name}.SocketFile()).Status(cmd.Context())
			if err != nil {
				return err
			}
			if *output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(s)
			}
			return printStatus(cmd, s)
		},
	}
	output = outputFlag(cmd)
	return cmd
}

func printStatus(cmd *cobra.Command, s lab.Status) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, site := range s.Sites {
		state := "stands"
		if site.Burned != nil {
			state = "burned " + site.Burned.Format(time.TimeOnly)
		}
		role := ""
		if site.Primary {
			role = "primary"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%v\n", site.Site, state, role, site.Running)
	}
	for _, line := range s.Lines {
		fmt.Fprintf(w, "%v\t%v\t%d packets\t%d dropped\n", line.Direction, line.Link, line.Counters.Packets, line.Counters.Cut+line.Counters.Lost+line.Counters.Queue)
	}
	fmt.Fprintf(w, "network late\t99%% %v\tmost %v\t\n", s.Late.P99, s.Late.Max)
	return w.Flush()
}

func depsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "deps",
		Short: "say what is missing on this machine; quick when nothing is",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return lab.Missing(nil) },
	}
}
