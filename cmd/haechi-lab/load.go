package main

import (
	"github.com/spf13/cobra"

	"github.com/haechi/haechi/lab/talk"
)

func loadCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "load [FLAGS]",
		Short:              "send messages through talk as many clients (load -h lists its flags)",
		Hidden:             true,
		DisableFlagParsing: true, // talk has its own
		RunE: func(cmd *cobra.Command, args []string) error {
			return talk.LoadMain(cmd.Context(), args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
}
