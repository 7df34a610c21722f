// Command haechi is the tower and the command line: one small file for each
// subcommand. What it knows it asks of the towers, or of the packages that know.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/haechi/haechi/core/estate"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "haechi:", err)
		os.Exit(code(err))
	}
}

// run does what args say.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	begun := false
	root := newRoot(func() { begun = true })
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !begun {
		return &misused{err}
	}
	return err
}

// misused is a call that cannot be understood.
type misused struct{ error }

func (e *misused) Unwrap() error { return e.error }

// code is what the shell sees: 1, it was refused or failed; 2, the call or a file in it is wrong.
func code(err error) int {
	if _, ok := errors.AsType[*misused](err); ok {
		return 2
	}
	if _, ok := errors.AsType[*estate.Invalid](err); ok {
		return 2
	}
	return 1
}
