package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/lab"
)

func downCommand(name *string) *cobra.Command {
	o := lab.Options{}
	cmd := &cobra.Command{
		Use:   "down",
		Short: "remove the lab, or what a killed one left behind",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Name = *name
			o.Progress = func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) }
			return down(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Dir, "dir", lab.DefaultDir, "directory of the lab, where no daemon is left to say")
	return cmd
}

// patience is how long a daemon may take to go by itself.
const patience = 20 * time.Second

// down asks the daemon to end, ends it if it does not, and removes what is left.
func down(ctx context.Context, o lab.Options) error {
	if who, held := lab.Held(o); held {
		o.Dir = who.Dir
		if err := lab.NewControl(o.SocketFile()).Down(ctx); err != nil && !errors.Is(err, lab.ErrNotUp) {
			o.Progress("the daemon does not listen: " + err.Error())
		} else if err != nil {
			return fmt.Errorf("a lab is up in %s, held by process %d, which is no daemon (a test or a demo): end that", who.Dir, who.PID)
		}
		if err := freed(ctx, o, patience); err != nil {
			o.Progress("the daemon does not end; it is killed")
			if err := syscall.Kill(who.PID, syscall.SIGKILL); err != nil {
				return fmt.Errorf("end process %d: %w", who.PID, err)
			}
			if err := freed(ctx, o, patience); err != nil {
				return err
			}
		}
	}
	l, err := lab.New(o)
	if err != nil {
		return err
	}
	if err := l.Down(ctx); err != nil {
		return err
	}
	o.Progress("nothing of the lab is left but its logs in " + l.Dir())
	return nil
}

// lower is down of the lab that a daemon of ours holds or has left behind; one that
// somebody else has up stays.
func lower(ctx context.Context, o lab.Options, daemon int) error {
	if who, held := lab.Held(o); held && who.PID != daemon {
		return nil
	}
	return down(ctx, o)
}

// freed waits until nobody holds the lab.
func freed(ctx context.Context, o lab.Options, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		who, held := lab.Held(o)
		if !held {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("process %d still holds the lab in %s: %w", who.PID, who.Dir, ctx.Err())
		}
	}
}
