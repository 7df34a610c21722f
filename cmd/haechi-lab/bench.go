package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/lab/bench"
)

func benchCommand(name *string) *cobra.Command {
	cmd, o := benching(name, bench.Haechi, &cobra.Command{
		Use:   "bench --out FILE",
		Short: "many fires and evacuations, measured as clients see them",
		Args:  cobra.NoArgs,
	}, 20)
	cmd.Flags().IntVar(&o.Evacuations, "evacuations", 20, "evacuations in each profile")
	cmd.Flags().StringSliceVar(&o.Profiles, "profiles", []string{"fast", "default"}, "profiles, by comma")
	cmd.Flags().DurationVar(&o.Rest, "rest", 20*time.Second, "how long to look at what haechi costs at rest; 0 leaves it out")
	return cmd
}

func benchPatroniCommand(name *string) *cobra.Command {
	cmd, _ := benching(name, bench.Patroni, &cobra.Command{
		Use:   "bench-patroni --out FILE",
		Short: "the same fires for Debian's Patroni, beside haechi's",
		Args:  cobra.NoArgs,
	}, 10)
	return cmd
}

// benching adds what both benches have in common.
func benching(name *string, do func(context.Context, bench.Options) (bench.Report, error), cmd *cobra.Command, fires int) (*cobra.Command, *bench.Options) {
	o := &bench.Options{}
	var verbose bool
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Lab.Name = *name
		o.Say = func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), time.Now().Format(time.TimeOnly), line) }
		if verbose {
			o.Lab.Progress = o.Say
		}
		if o.Seed == 0 {
			o.Seed = rand.Uint64N(1_000_000) + 1
		}
		report, err := do(cmd.Context(), *o)
		if err != nil {
			return err
		}
		fmt.Fprint(cmd.OutOrStdout(), report)
		return report.Short()
	}
	f := cmd.Flags()
	f.StringVar(&o.Out, "out", "", "`file` for the report, as JSON")
	f.IntVar(&o.Fires, "fires", fires, "fires for each profile or setting")
	f.Uint64Var(&o.Seed, "seed", 0, "seed of everything; 0 takes another each time")
	f.BoolVar(&o.Resume, "resume", false, "go on with the report in the file, if it is of the same seed, load and machine")
	f.IntVar(&o.Clients, "clients", 200, "number of clients")
	f.Float64Var(&o.Rate, "rate", 500, "messages a second over all clients")
	f.StringVar(&o.Lab.Dir, "dir", "/var/tmp/haechi-lab-bench", "directory of everything, on a disk")
	f.BoolVar(&verbose, "verbose", false, "tell how each lab is raised")
	return cmd, o
}

func benchReturnCommand(name *string) *cobra.Command {
	o := bench.ReturnOptions{}
	var verbose bool
	cmd := &cobra.Command{
		Use:   "bench-return --out FILE",
		Short: "how a burned site comes back: salvage, rejoin, comparison, users, the primary's way home",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Lab.Name = *name
			o.Say = func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), time.Now().Format(time.TimeOnly), line) }
			if verbose {
				o.Lab.Progress = o.Say
			}
			if o.Seed == 0 {
				o.Seed = rand.Uint64N(1_000_000) + 1
			}
			report, err := bench.Return(cmd.Context(), o)
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), report)
			return report.Short()
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Out, "out", "", "`file` for the report, as JSON")
	f.Uint64Var(&o.Seed, "seed", 0, "seed of everything; 0 takes another each time")
	f.Float64Var(&o.GB, "gb", 10, "gigabytes of the large database, on each of three members; what is asked is for 10, and the table says what was less")
	f.StringSliceVar(&o.Only, "only", nil, "do these parts alone, named by themselves or by a row; the others stay in FILE as they were. They are: "+bench.ReturnParts())
	f.IntVar(&o.Rows, "rows", 1000, "rows that only the burned member holds")
	f.IntVar(&o.Clients, "clients", 0, "number of clients; 0: as many as this machine bears, 200 or 40")
	f.Float64Var(&o.Rate, "rate", 0, "messages a second over all clients; 0: as many as this machine bears, 500 or 120")
	f.StringVar(&o.Lab.Dir, "dir", "/var/tmp/haechi-lab-bench", "directory of everything, on a disk")
	f.BoolVar(&verbose, "verbose", false, "tell how each lab is raised")
	return cmd
}

func benchAuditCommand() *cobra.Command {
	var o bench.AuditOptions
	cmd := &cobra.Command{
		Use:   "bench-audit --out FILE",
		Short: "what the audit and the simulation cost, and what they find of planted faults; needs no lab",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			o.Haechi = filepath.Join(filepath.Dir(self), "haechi")
			o.Say = func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), time.Now().Format(time.TimeOnly), line) }
			report, err := bench.Audit(cmd.Context(), o)
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), report)
			return report.Short()
		},
	}
	cmd.Flags().StringVar(&o.Out, "out", "", "`file` for the report, as JSON")
	cmd.Flags().StringVar(&o.Dir, "dir", filepath.Join(os.TempDir(), "haechi-bench-audit"), "directory for generated estates, removed at the end")
	cmd.Flags().IntVar(&o.Times, "times", 5, "how often each call is made; the median counts")
	return cmd
}
