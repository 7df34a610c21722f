package main

import (
	"github.com/spf13/cobra"

	"github.com/haechi/haechi/lab/talk"
)

func judgeCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "judge [FLAGS]",
		Short:              "look for every acknowledged message of a load's log (judge -h lists its flags)",
		Hidden:             true,
		DisableFlagParsing: true, // talk has its own
		RunE: func(cmd *cobra.Command, args []string) error {
			return talk.JudgeMain(cmd.Context(), args, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
}
