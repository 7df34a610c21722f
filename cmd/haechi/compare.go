package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/simulate"
	"github.com/haechi/haechi/tower/report"
)

var errNoSteps = errors.New("it names no loss, or no step")

func compareCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "compare FORECAST JOURNAL", Short: "A forecast that was kept, beside what happened; needs no tower", Args: cobra.ExactArgs(2),
		Example: "  haechi simulate --lose pangyo -o json estate.yaml > forecast.json\n  haechi journal -o json > journal.jsonl\n  haechi compare forecast.json journal.jsonl",
		Long: `Holds each run in a journal that is about the loss which a forecast (haechi simulate -o json) foresees beside that forecast, step by step, from the moment in which the run was on record.

A tower does so by itself with what it foresees while all is calm; haechi run show says it.`,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := readForecast(args[0])
			if err != nil {
				return err
			}
			entries, err := readJournal(args[1])
			if err != nil {
				return err
			}
			all, err := f.Compare(entries)
			if err != nil {
				return &misused{fmt.Errorf("%s: %w", args[1], err)}
			}
			return o.show(c, all, func(w io.Writer) { drawCompared(w, f, all) })
		},
	}
}

func readForecast(path string) (simulate.Forecast, error) {
	var f simulate.Forecast
	b, err := os.ReadFile(path)
	if err != nil {
		return f, &misused{err}
	}
	if err := json.Unmarshal(b, &f); err != nil || len(f.Lose) == 0 || len(f.Steps) == 0 {
		return f, &misused{fmt.Errorf("%s is no forecast with steps (%w); haechi simulate -o json prints one", path, cmp.Or(err, errNoSteps))}
	}
	return f, nil
}

func drawCompared(w io.Writer, f simulate.Forecast, all []simulate.Compared) {
	if len(all) == 0 {
		fmt.Fprintf(w, "no run in this journal is about the loss of %s, which the forecast foresees\n", strings.Join(f.Lose, " and "))
	}
	for _, x := range all {
		fmt.Fprintf(w, "%s of %s\n", x.Run, x.At.Local().Format(time.DateTime))
		report.Besides(w, x.Steps)
	}
}
