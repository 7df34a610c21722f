// Haechi-lab raises three sites on one machine and hurts them.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "haechi-lab:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:           "haechi-lab",
		Short:         "three sites on one machine, with real servers, to set fire to",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.PersistentFlags().StringVar(&name, "name", "haechi", "name of the lab, so that several can be up")
	cmd.AddCommand(
		upCommand(&name), serveCommand(&name), downCommand(&name), statusCommand(&name),
		fireCommand(&name), faultCommand(&name), healCommand(&name), depsCommand(),
		wanCommand(), gatewayCommand(), initCommand(), loadCommand(), judgeCommand(), demoCommand(&name), benchCommand(&name), benchPatroniCommand(&name), benchReturnCommand(&name), benchAuditCommand(),
	)
	return cmd
}
