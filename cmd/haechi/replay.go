package main

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/replay"
	"github.com/haechi/haechi/core/simulate"
	"github.com/haechi/haechi/examples"
	"github.com/haechi/haechi/tower/forecast"
	"github.com/haechi/haechi/tower/report"
)

func replayCommand(o *options) *cobra.Command {
	var lang string
	var runs int
	var seed uint64
	var file bool
	c := &cobra.Command{
		Use: "replay NAME", Short: "An accident of the past again, and what would have helped", Args: cobra.MaximumNArgs(1),
		Example: "  haechi replay kakao-2022\n  haechi replay kakao-2022 --lang ko -o html > replay.html\n  haechi replay kakao-2022 --estate > estate.yaml && haechi audit estate.yaml",
		Long: `Lets an accident happen again in the simulation that haechi simulate uses, on the estate as it was, and says how near that comes to what was published, how it moves with each number that nobody published, and how many hours each remedy would have bought.

Every number says whether it is sourced, derived or assumed. docs/replay.md explains what it shows and where it does not hold.`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &misused{fmt.Errorf("which one? There are: %s", strings.Join(replays(), ", "))}
			}
			r, err := loadReplay(args[0])
			if err != nil {
				return err
			}
			if file {
				text, err := r.EstateFile(replay.Case{})
				fmt.Fprint(c.OutOrStdout(), text)
				return err
			}
			if lang != "en" && lang != "ko" {
				return &misused{fmt.Errorf("--lang %q: it is en or ko", lang)}
			}
			if c.Flags().Changed("runs") {
				r.Runs = runs
				err = manyRuns(runs)
			}
			if err != nil {
				return err
			}
			out, err := play(c, &r, seed)
			if err != nil {
				return err
			}
			return o.draw(c, map[string]func(io.Writer) error{
				"text":     plainly(func(w io.Writer) { report.Replay(w, out, lang) }),
				"json":     asJSON(out),
				"html":     func(w io.Writer) error { return report.ReplayPage(w, out, lang) },
				"markdown": plainly(func(w io.Writer) { report.ReplayMarkdown(w, out, lang) }),
			})
		},
	}
	c.Flags().StringVar(&lang, "lang", "en", "en or ko; the page holds both and shows this one first")
	c.Flags().IntVar(&runs, "runs", 0, "how many times each case happens (default: as the replay says)")
	c.Flags().Uint64Var(&seed, "seed", 1, "of all luck")
	c.Flags().BoolVar(&file, "estate", false, "only print the estate as it was")
	o.draws(c, "text", "json", "html", "markdown")
	return c
}

// play simulates all cases of a replay.
func play(c *cobra.Command, r *replay.Replay, seed uint64) (replay.Report, error) {
	bar := &progress{to: c.ErrOrStderr(), total: r.Cases() * r.Runs, began: time.Now()}
	defer bar.end()
	done := 0
	return r.Report(seed, func(s *simulate.Simulation) (simulate.Forecast, error) {
		f, err := forecast.Run(c.Context(), s, r.Runs, seed, func(n int) { bar.done(done + n) })
		done += r.Runs
		return f, err
	})
}

// replays names those that haechi carries with it.
func replays() []string {
	var out []string
	dirs, _ := fs.ReadDir(examples.Files, ".")
	for _, d := range dirs {
		out = append(out, d.Name())
	}
	return out
}

func loadReplay(name string) (replay.Replay, error) {
	if !slices.Contains(replays(), name) {
		return replay.Replay{}, &misused{fmt.Errorf("%q is no replay; there are: %s", name, strings.Join(replays(), ", "))}
	}
	return replay.Load(name, examples.Files.ReadFile)
}
