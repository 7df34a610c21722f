package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/patroni"
	"github.com/haechi/haechi/lab/trial"
)

// firePatroni raises a lab with Patroni, burns the site of its leader and of
// etcd's leader at a random moment, and takes everything down.
func firePatroni(ctx context.Context, o lab.Options, s patroni.Settings, w workload, seed uint64, say func(string)) (f trial.Figures, err error) {
	o.Only, o.Profile, o.Seed = []lab.Role{lab.RoleNamed}, "fast", seed
	l, down, err := raised(ctx, o)
	if err != nil {
		return f, err
	}
	defer down(&err)
	c, err := patroni.Raise(ctx, l, s, say)
	if err != nil {
		return f, err
	}
	if err := l.OpenNames(ctx); err != nil {
		return f, err
	}
	site, err := c.Leader(ctx)
	if err != nil {
		return f, err
	}
	if err := c.MoveEtcdLeader(ctx, site); err != nil {
		return f, err
	}
	if err := c.Settled(ctx); err != nil {
		return f, err
	}
	chance := rand.New(rand.NewPCG(seed, 1))
	return trial.Trial{
		Lab: l, System: c, Site: site, Gone: true, Seed: seed, Clients: w.clients, Rate: w.rate, Say: say,
		Phase: time.Duration(chance.Int64N(int64(s.LoopWait) * int64(time.Second))), Patience: 3 * time.Minute,
		Fault: func(ctx context.Context) (lab.Proof, error) { return l.Fire(ctx, site) },
	}.Run(ctx)
}

// raised raises a lab in this process; down takes it down and adds its error.
func raised(ctx context.Context, o lab.Options) (l *lab.Lab, down func(*error), err error) {
	if l, err = lab.New(o); err != nil {
		return nil, nil, err
	}
	if err := l.Up(ctx); err != nil {
		return nil, nil, err
	}
	return l, func(err *error) {
		if wrong := l.Down(context.WithoutCancel(ctx)); wrong != nil && *err == nil {
			*err = wrong
		}
	}, nil
}

// workload is what clients do.
type workload struct {
	clients int
	rate    float64
}

func (w *workload) flags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&w.clients, "clients", 200, "number of clients")
	cmd.Flags().Float64Var(&w.rate, "rate", 500, "messages a second over all clients")
}

func (w workload) String() string {
	return fmt.Sprintf("%d clients, %.0f messages/s", w.clients, w.rate)
}

func benchPatroniCommand(name *string) *cobra.Command {
	var w workload
	var o lab.Options
	var fires int
	cmd := &cobra.Command{
		Use:  "bench-patroni",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Name = *name
			say := func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
			o.Progress = say
			for i := range fires {
				f, err := firePatroni(cmd.Context(), o, patroni.Tightest(), w, uint64(i+1), say)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%+v\n", f)
			}
			return nil
		},
	}
	w.flags(cmd)
	cmd.Flags().StringVar(&o.Dir, "dir", "/var/tmp/haechi-lab-bench", "directory of everything, on a disk")
	cmd.Flags().IntVar(&fires, "fires", 3, "fires for each setting")
	return cmd
}
