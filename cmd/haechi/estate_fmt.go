package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/count"
	"github.com/haechi/haechi/core/estate"
)

func formatEstateCommand() *cobra.Command {
	var check, write bool
	c := &cobra.Command{
		Use: "fmt FILE…", Short: "Write files in their canonical form; comments stay, the meaning too", Args: cobra.MinimumNArgs(1),
		Example: "  haechi estate fmt -w estate/\n  haechi estate fmt --check estate.yaml",
		Long: `Puts sections and keys into the order of the format, with one way to indent and to space. Comments stay with
what they are about, and what stands on one line stays there.

Prints what it made of the files. With --write it changes them, with --check it changes nothing, names those that it would
change, and ends with 1 if there are any.`,
		RunE: func(c *cobra.Command, args []string) error {
			if check && write {
				return &misused{fmt.Errorf("--check changes nothing and --write does: take one of them")}
			}
			files, err := readFiles(args)
			if err != nil {
				return err
			}
			after := make([][]byte, len(files))
			var changed []string
			for i, f := range files { // all before one is written: a mistake in the last leaves the first alone
				if after[i], err = estate.Format(f); err != nil {
					return err
				}
				if !bytes.Equal(f.Data, after[i]) {
					changed = append(changed, f.Name)
				}
			}
			switch {
			case check && len(changed) > 0:
				fmt.Fprintln(c.OutOrStdout(), strings.Join(changed, "\n"))
				return fmt.Errorf("%s not formatted; haechi estate fmt --write does it", count.Of(len(changed), "file"))
			case check:
				return nil
			case write:
				return replace(c, files, after)
			}
			for i, f := range files {
				if len(files) > 1 {
					fmt.Fprintf(c.OutOrStdout(), "--- # %s\n", f.Name)
				}
				if _, err := c.OutOrStdout().Write(after[i]); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&check, "check", false, "change nothing, name files that are not formatted")
	c.Flags().BoolVarP(&write, "write", "w", false, "change the files")
	return c
}

// replace writes the files that change, and names them.
func replace(c *cobra.Command, files []estate.File, after [][]byte) error {
	for i, f := range files {
		if bytes.Equal(f.Data, after[i]) {
			continue
		}
		if err := replaceFile(filepath.FromSlash(f.Name), after[i]); err != nil {
			return fmt.Errorf("write %s: %w", f.Name, err)
		}
		fmt.Fprintln(c.OutOrStdout(), f.Name)
	}
	return nil
}

// replaceFile changes a file at once: whoever reads it, or loses power, has the old one or the new
// one whole. A link stays a link, and the file keeps its mode.
func replaceFile(name string, data []byte) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is no file that can be replaced; without --write its formatted text is printed")
	}
	return agent.WriteDurably(name, data, info.Mode().Perm())
}
