package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/lab/talk"
)

func gatewayCommand() *cobra.Command {
	var c talk.GatewayConfig
	cmd := &cobra.Command{
		Use:    "gateway",
		Short:  "serve talk in one site (haechi-lab up starts it)",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			return talk.RunGateway(cmd.Context(), c)
		},
	}
	cmd.Flags().StringVar(&c.Listen, "listen", "", "host:port for HTTP")
	cmd.Flags().StringVar(&c.DSN, "dsn", "", "PostgreSQL's multi-host connection string")
	cmd.Flags().StringVar(&c.Site, "site", "", "name of the site")
	return cmd
}
