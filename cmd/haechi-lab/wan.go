package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/wan"
)

// wanPriority is the router's real-time priority: below the kernel's own
// threads, above everything that it carries packets for.
const wanPriority = 20

func wanCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "wan FILE",
		Short:  "carry packets between the places (haechi-lab up starts it)",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runWAN(cmd.Context(), args[0], cmd.ErrOrStderr())
		},
	}
}

func runWAN(ctx context.Context, path string, log io.Writer) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var file lab.RouterFile
	if err := json.Unmarshal(b, &file); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	realtime := fmt.Sprintf("SCHED_RR %d", wanPriority)
	if err := wan.Realtime(wanPriority); err != nil {
		realtime = err.Error()
	}
	fmt.Fprintln(log, "wan:", realtime)
	r, err := wan.Open(wan.Config{Places: file.Places, Seed: file.Seed, Link: func(from, to string) wan.Link {
		return file.Links[wan.Direction{From: from, To: to}.String()]
	}})
	if err != nil {
		return err
	}
	if err := os.Remove(file.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	socket, err := net.Listen("unix", file.Socket)
	if err != nil {
		return err
	}
	if err := os.Chmod(file.Socket, 0o600); err != nil {
		return err
	}
	server := &http.Server{Handler: r.Handler(realtime), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(socket) }() // ends with Close
	err = r.Run(ctx)
	return errors.Join(err, server.Close())
}
