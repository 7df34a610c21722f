package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/simulate"
	"github.com/haechi/haechi/tower/forecast"
	"github.com/haechi/haechi/tower/report"
)

func simulateCommand(o *options) *cobra.Command {
	var lose []string
	var runs int
	var seed uint64
	var model, history string
	c := &cobra.Command{
		Use: "simulate FILE…", Short: "How long it takes to come back: the runs that a loss would start, in virtual time", Args: cobra.MinimumNArgs(1),
		Example: "  haechi simulate --lose pangyo estate.yaml\n  haechi journal -o json > journal.jsonl\n  haechi simulate --lose pangyo --history journal.jsonl -o json estate.yaml > forecast.json",
		Long: `Lets a loss happen many times, each with other luck: what is decided, the plans and the machine that carries them out are those that act. How long steps take is drawn from the journal's history where it is given, else from published defaults (docs/simulate.md); equal seeds give equal bytes.

The JSON holds all that the forecast rests on, so that it can be held against what happens. --model reads a model as that JSON has it, in whole or in part.`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := manyRuns(runs); err != nil {
				return err
			}
			_, e, err := described(args)
			if err != nil {
				return err
			}
			m, err := modelFor(e, model, history, c.ErrOrStderr())
			if err != nil {
				return err
			}
			s, err := simulate.New(e, lose, m)
			if err != nil {
				return &misused{err}
			}
			bar := &progress{to: c.ErrOrStderr(), total: runs, began: time.Now()}
			f, err := forecast.Run(c.Context(), s, runs, seed, bar.done)
			bar.end()
			if err != nil {
				return err
			}
			return o.draw(c, map[string]func(io.Writer) error{
				"text": plainly(func(w io.Writer) { report.Forecast(w, f) }),
				"json": asJSON(f),
				"html": func(w io.Writer) error { return report.ForecastPage(w, f) },
			})
		},
	}
	c.Flags().StringSliceVar(&lose, "lose", nil, "the `component` that is lost at the start, for example a site; may be given more than once")
	c.Flags().IntVar(&runs, "runs", 1000, "how many times")
	c.Flags().Uint64Var(&seed, "seed", 1, "of all luck")
	c.Flags().StringVar(&model, "model", "", "a `file` with what acts take and how fast people are, as JSON")
	c.Flags().StringVar(&history, "history", "", "a `file` with a journal (haechi journal -o json), whose times count more than defaults")
	o.draws(c, "text", "json", "html")
	_ = c.MarkFlagRequired("lose")
	return c
}

// manyRuns refuses what cannot be simulated.
func manyRuns(n int) error {
	if n < 1 || n > forecast.Most {
		return &misused{fmt.Errorf("--runs %d: from 1 to %d can be simulated", n, forecast.Most)}
	}
	return nil
}

// modelFor is what the simulation draws from.
func modelFor(e estate.Estate, model, history string, told io.Writer) (simulate.Model, error) {
	m := simulate.Defaults(e)
	if history != "" {
		entries, err := readJournal(history)
		if err != nil {
			return m, err
		}
		var used map[string]int
		if m, used, err = m.Measured(entries); err != nil {
			return m, fmt.Errorf("%s: %w", history, err)
		}
		var said []string
		for what, n := range used {
			said = append(said, fmt.Sprintf("%s (%d times)", what, n))
		}
		slices.Sort(said)
		if len(said) == 0 {
			said = []string{fmt.Sprintf("nothing, since nothing was done %d times", simulate.LeastMeasured)}
		}
		fmt.Fprintf(told, "measured in %s: %s\n", history, strings.Join(said, ", "))
	}
	if model != "" {
		b, err := os.ReadFile(model)
		if err != nil {
			return m, &misused{err}
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err = d.Decode(&m); err == nil && len(bytes.TrimSpace(b[d.InputOffset():])) > 0 {
			err = errors.New("something follows the model")
		}
		if err != nil {
			return m, &misused{fmt.Errorf("%s: %w; a forecast (-o json) shows a whole model", model, err)}
		}
	}
	return m, nil
}

func readJournal(path string) ([]journal.Entry, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, &misused{err}
	}
	var out []journal.Entry
	for n := 1; len(bytes.TrimSpace(b)) > 0; n++ {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		b = rest
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var e journal.Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, &misused{fmt.Errorf("%s:%d: %w; it holds one entry a line, as haechi journal -o json prints them", path, n, err)}
		}
		out = append(out, e)
	}
	return out, nil
}

// progress shows how far something is that takes longer than people wait.
type progress struct {
	to    io.Writer
	total int
	began time.Time

	mu    sync.Mutex
	drawn time.Time
}

const drawEvery = 500 * time.Millisecond

func (p *progress) done(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.began) < patience/2 || now.Sub(p.drawn) < drawEvery {
		return
	}
	p.drawn = now
	const wide = 30
	full := wide * n / p.total
	left := time.Duration(float64(now.Sub(p.began)) / float64(n) * float64(p.total-n))
	fmt.Fprintf(p.to, "\r[%s%s] %d of %d, %s left ", strings.Repeat("#", full), strings.Repeat(".", wide-full), n, p.total, left.Round(time.Second))
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.drawn.IsZero() {
		fmt.Fprintf(p.to, "\r%s\r", strings.Repeat(" ", 70))
	}
}
