package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// initCommand stands for a machine's first process: whoever loses its parent
// below it becomes its child and is collected at once. Without it a database
// that an agent started and somebody killed would stay a zombie until the real
// first process looks, and a zombie's number counts as alive.
func initCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "init PROGRAM [ARGUMENTS]",
		Short:              "run a program and collect its orphans (haechi-lab up starts it)",
		Args:               cobra.MinimumNArgs(1),
		Hidden:             true,
		DisableFlagParsing: true,
		RunE:               func(_ *cobra.Command, args []string) error { return collect(args) },
	}
}

func collect(args []string) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a reaper: %w", err)
	}
	files := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	if _, err := os.StartProcess(args[0], args, &os.ProcAttr{Files: files}); err != nil {
		return err
	}
	for {
		_, err := unix.Wait4(-1, nil, 0, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			return nil // nobody is left
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("collect: %w", err)
		}
	}
}
