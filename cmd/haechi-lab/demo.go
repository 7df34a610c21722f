package main

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/demo"
)

func demoCommand(name *string) *cobra.Command {
	o := demo.Options{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "raise three sites, burn one, show what happens, and count",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Lab.Name = *name
			o.Out, o.Err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if o.Lab.Seed == 0 {
				o.Lab.Seed = rand.Uint64N(1_000_000) + 1
			}
			o.Raise = func(ctx context.Context, l lab.Options) (func(context.Context) error, error) {
				daemon, err := up(ctx, l, false, !o.Stay, l.Progress)
				if daemon == 0 {
					return nil, err
				}
				l.Progress = func(string) {}
				return func(ctx context.Context) error { return lower(ctx, l, daemon) }, err
			}
			return demo.Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar((*string)(&o.Lose), "lose", string(lab.Pangyo), "the `site` that burns: pangyo, ansan or anyang")
	f.IntVar(&o.Clients, "clients", 0, "number of clients; 0: as many as the machine bears, 200 at most")
	f.Float64Var(&o.Rate, "rate", 0, "messages a second over all clients; 0: as many as the machine bears, 500 at most")
	f.Uint64Var(&o.Lab.Seed, "seed", 0, "seed of the network's and the clients' chance; 0 takes another each time")
	f.StringVar(&o.Lab.Profile, "profile", "fast", "how quick haechi is to believe: default or fast")
	f.StringVar(&o.Lab.Dir, "dir", lab.DefaultDir, "directory of everything, on a disk")
	f.BoolVar(&o.Full, "full", false, "go on after the fire: power, salvage, rejoin, comparison, users, and the primary's way home")
	f.BoolVar(&o.Stay, "stay", false, "leave the lab up afterwards")
	f.BoolVar(&o.JSON, "json", false, "end with one JSON object on standard output; all else goes to standard error")
	f.StringVar(&o.Acks, "acks", "", "`file` for one line \"id room time\" for each acknowledgement")
	return cmd
}

// addresses are where a browser finds what stands in the lab.
func addresses() (out []string) {
	out = append(out, fmt.Sprintf("\nhaechi  http://127.0.0.1:%d/", lab.PagePort), fmt.Sprintf("talk    http://127.0.0.1:%d/   (from whichever site answers)", lab.TalkPort),
		fmt.Sprintf("lab     http://127.0.0.1:%d/   (set fire here)", lab.OwnPort))
	for _, p := range lab.Sites() {
		out = append(out, fmt.Sprintf("talk    http://127.0.0.1:%d/   (%s alone)", p.TalkPort(), p))
	}
	return out
}
