package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/lab"
)

// labFlags are the options of commands that raise a lab.
func labFlags(cmd *cobra.Command, o *lab.Options, noPorts *bool) {
	cmd.Flags().StringVar(&o.Dir, "dir", lab.DefaultDir, "directory of everything, on a disk")
	cmd.Flags().StringVar(&o.Profile, "profile", "default", "how quick haechi is to believe: default or fast")
	cmd.Flags().Uint64Var(&o.Seed, "seed", 1, "seed of the network's chance")
	cmd.Flags().BoolVar(&o.Disarmed, "disarmed", false, "do not arm: haechi only says what it would do")
	cmd.Flags().Func("only", "raise only these, by comma: tower, agent, postgres, named, gateway, observer", func(s string) error {
		for _, r := range strings.Split(s, ",") {
			o.Only = append(o.Only, lab.Role(r))
		}
		return nil
	})
	cmd.Flags().StringToStringVar(&o.Others, "other", nil, "programs of another release in one place: pangyo/haechi=DIR, or pangyo/haechi-agent=DIR (scripts/build-at makes DIR)")
	cmd.Flags().BoolVar(noPorts, "no-ports", false, "open no ports on the machine's loopback")
}

func upCommand(name *string) *cobra.Command {
	var o lab.Options
	var noPorts bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "raise three sites and keep them up",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Name = *name
			say := func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) }
			if _, err := up(cmd.Context(), o, noPorts, false, say); err != nil || noPorts {
				return err
			}
			for _, line := range addresses() {
				say(line)
			}
			return nil
		},
	}
	labFlags(cmd, &o, &noPorts)
	return cmd
}

// up starts the daemon in a session of its own and shows what it says until the
// lab is up. A tethered one ends with this process, however that ends. It returns the
// daemon's process also where the lab did not come up; 0 where none was started.
func up(ctx context.Context, o lab.Options, noPorts, tether bool, say func(string)) (daemon int, err error) {
	if err := lab.Free(o); err != nil {
		return 0, err
	}
	if os.Geteuid() != 0 {
		return 0, fmt.Errorf("network namespaces and real-time priority need root: run it as root, or through sudo")
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return 0, err
	}
	log, err := os.Create(o.Dir + "/serve.log")
	if err != nil {
		return 0, err
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	args := []string{"serve", "--name", o.Name, "--dir", o.Dir, "--profile", o.Profile, "--seed", fmt.Sprint(o.Seed),
		fmt.Sprintf("--disarmed=%v", o.Disarmed), fmt.Sprintf("--no-ports=%v", noPorts), fmt.Sprintf("--tether=%v", tether)}
	if o.Only != nil {
		args = append(args, "--only", strings.Trim(strings.ReplaceAll(fmt.Sprint(o.Only), " ", ","), "[]"))
	}
	for at, dir := range o.Others {
		args = append(args, "--other", at+"="+dir)
	}
	child := exec.Command(self, args...)
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if tether {
		if _, err := child.StdinPipe(); err != nil { // never written; its end is ours
			return 0, err
		}
	}
	if err := child.Start(); err != nil {
		return 0, fmt.Errorf("start the daemon: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	err = follow(ctx, o, ended, say)
	if who, held := lab.Held(o); err == nil && held && who.PID != child.Process.Pid {
		err = lab.Free(o) // another was raised in the same instant, and that one was heard
	}
	return child.Process.Pid, err
}

// follow waits for the daemon's socket, then shows its progress.
func follow(ctx context.Context, o lab.Options, ended <-chan error, say func(string)) error {
	control := lab.NewControl(o.SocketFile())
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(o.SocketFile()); err == nil {
			err := control.Follow(ctx, say)
			if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) { // it ended in the middle of what it said
				return why(o, <-ended)
			}
			if err != lab.ErrNotUp {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-ended:
			return why(o, err)
		}
	}
}

// why is the reason for which the daemon ended: what it said last.
func why(o lab.Options, err error) error {
	b, _ := os.ReadFile(o.Dir + "/serve.log") // without it the exit status has to do
	return fmt.Errorf("the daemon ended (%v): %s", err, b)
}

func serveCommand(name *string) *cobra.Command {
	var o lab.Options
	var noPorts, tether bool
	cmd := &cobra.Command{
		Use:    "serve",
		Short:  "raise the lab and keep it in the foreground (haechi-lab up starts it)",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Name = *name
			o.Progress = func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) }
			ctx := cmd.Context()
			if tether {
				ctx = untilCut(ctx, cmd.InOrStdin())
			}
			return lab.Serve(ctx, o, !noPorts)
		},
	}
	labFlags(cmd, &o, &noPorts)
	cmd.Flags().BoolVar(&tether, "tether", false, "end when standard input ends")
	return cmd
}

// untilCut ends when whoever holds the other end of in is gone.
func untilCut(ctx context.Context, in io.Reader) context.Context {
	ctx, cut := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, in) // an error is an end too
		cut()
	}()
	return ctx
}
