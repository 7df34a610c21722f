package main

import (
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/tower"
)

// towerCommand runs one tower until it is told to stop.
func towerCommand(o *options) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "tower --config FILE", Short: "Run a tower on this host; init, snapshot, restore, recover", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return parent(cmd, args)
			}
			cfg, err := tower.ReadConfig(file)
			if err != nil {
				return err
			}
			beFrugal()
			return tower.Run(cmd.Context(), cfg, logger())
		},
	}
	cmd.Flags().StringVar(&file, "config", "/etc/haechi/tower.yaml", "the tower's own file")
	cmd.AddCommand(towerInitCommand(), towerSnapshotCommand(o), towerRestoreCommand(), towerRecoverCommand())
	return cmd
}

// observerCommand looks from a user network until it is told to stop.
func observerCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "observer --config FILE", Short: "Look from where users are, and tell the towers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := tower.ReadObserverConfig(file)
			if err != nil {
				return err
			}
			beFrugal()
			return tower.Observe(cmd.Context(), cfg, logger())
		},
	}
	cmd.Flags().StringVar(&file, "config", "/etc/haechi/observer.yaml", "the observer's own file")
	return cmd
}

// beFrugal spares a processor that a tower or an observer shares with what it watches over, unless
// GOMAXPROCS or GOGC say otherwise. Both wait nearly all the time, and with more than one processor
// each event wakes a second thread that finds nothing to do: measured, a sixth of what they cost at
// rest. What blocks in the kernel, such as a write to disk, gives the processor up. Memory is collected
// more seldom: a tenth less, for 25 MB.
func beFrugal() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(300)
	}
}

func logger() *slog.Logger {
	level := slog.LevelInfo
	if os.Getenv("HAECHI_DEBUG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
