package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

func labCommand() *cobra.Command {
	return &cobra.Command{
		Use: "lab …", Short: "Three sites on this machine, with real servers and fires (haechi-lab)",
		DisableFlagParsing: true, // all that follows is haechi-lab's
		RunE: func(_ *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find haechi-lab: %w", err)
			}
			lab := filepath.Join(filepath.Dir(self), "haechi-lab")
			if err := syscall.Exec(lab, append([]string{"haechi lab"}, args...), os.Environ()); err != nil {
				return fmt.Errorf("start %s: %w; the lab is a program of its own that stands beside this one: make build", lab, err)
			}
			return nil
		},
	}
}
