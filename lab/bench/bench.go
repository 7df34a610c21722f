package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/patroni"
	"github.com/haechi/haechi/lab/trial"
)

// Options say how much to try.
type Options struct {
	Lab         lab.Options // name and directory; the rest is set for each trial
	Fires       int
	Evacuations int      // of haechi only
	Profiles    []string // of haechi
	Seed        uint64   // the seed of each trial follows from it
	Resume      bool     // go on with the report in Out, if it is of the same seed
	Out         string   // file
	Rest        time.Duration
	Workload
	Say func(line string) // hears of every trial
}

// Validate says everything that is wrong.
func (o Options) Validate() error {
	var errs []error
	if o.Out == "" {
		errs = append(errs, errors.New("--out: is required: the file for the report"))
	}
	if o.Fires < 0 || o.Evacuations < 0 || o.Fires+o.Evacuations == 0 {
		errs = append(errs, errors.New("--fires, --evacuations: at least one of them is needed"))
	}
	for _, p := range o.Profiles {
		if p != "fast" && p != "default" {
			errs = append(errs, fmt.Errorf("--profiles: %q is neither default nor fast", p))
		}
	}
	return errors.Join(errs...)
}

// bench is one bench under way.
type bench struct {
	o      Options
	report Report
}

// Haechi does fires and evacuations of haechi in every profile.
func Haechi(ctx context.Context, o Options) (Report, error) {
	b, err := begin(o)
	if err != nil {
		return Report{}, err
	}
	for _, profile := range o.Profiles {
		b.report.Settings[haechiName(profile)] = "profile " + profile
		if err := b.rest(ctx, profile); err != nil {
			return b.report, err
		}
		for n := 1; n <= max(o.Fires, o.Evacuations); n++ {
			if n <= o.Fires {
				kind := []string{FireApart, FireTogether}[n%2]
				if err := b.one(ctx, haechiName(profile), kind, n, func(seed uint64) (trial.Figures, error) { return b.haechi(ctx, profile, kind, seed) }); err != nil {
					return b.report, err
				}
			}
			if n <= o.Evacuations {
				if err := b.one(ctx, haechiName(profile), Evacuation, n, func(seed uint64) (trial.Figures, error) { return b.haechi(ctx, profile, Evacuation, seed) }); err != nil {
					return b.report, err
				}
			}
		}
	}
	return b.report, nil
}

// Patroni does the same fires for Patroni, with its defaults and with its
// tightest settings, and for haechi in between, so that all have the same machine.
func Patroni(ctx context.Context, o Options) (Report, error) {
	if err := patroni.Missing(); err != nil {
		return Report{}, err
	}
	b, err := begin(o)
	if err != nil {
		return Report{}, err
	}
	b.report.Settings[haechiName("fast")] = "profile fast"
	all := []patroni.Settings{patroni.Tightest(), patroni.Defaults()}
	for _, s := range all {
		b.report.Settings[patroniName(s)] = s.String()
	}
	for n := 1; n <= o.Fires; n++ {
		if err := b.one(ctx, haechiName("fast"), FireTogether, n, func(seed uint64) (trial.Figures, error) { return b.haechi(ctx, "fast", FireTogether, seed) }); err != nil {
			return b.report, err
		}
		for _, s := range all {
			if err := b.one(ctx, patroniName(s), FireTogether, n, func(seed uint64) (trial.Figures, error) { return b.patroni(ctx, s, seed) }); err != nil {
				return b.report, err
			}
		}
	}
	return b.report, nil
}

// begin takes up the report that is there, or a new one.
func begin(o Options) (*bench, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Lab.Progress == nil {
		o.Lab.Progress = func(string) {}
	}
	fresh := Report{Begun: time.Now(), Machine: thisMachine(), Seed: o.Seed, Clients: o.Clients, Rate: o.Rate, Settings: map[string]string{}, Rest: map[string]Rest{}}
	b := &bench{o: o, report: fresh}
	if o.Resume {
		old, err := Load(o.Out)
		if err != nil {
			return nil, err
		}
		if old.Seed == o.Seed && old.Clients == o.Clients && old.Rate == o.Rate && old.Machine == fresh.Machine {
			b.report.Begun, b.report.Trials, b.report.Rest = old.Begun, old.Trials, old.Rest
			if b.report.Rest == nil {
				b.report.Rest = map[string]Rest{}
			}
		}
	}
	o.Say(fmt.Sprintf("seed %d, %s, %d clients, %.0f messages/s; %d trials are done already", o.Seed, fresh.Machine, o.Clients, o.Rate, len(b.report.Trials)))
	return b, nil
}

// one does one trial unless it was done before, and writes the report. A trial
// in which nothing could be measured is counted as that; the others go on.
func (b *bench) one(ctx context.Context, system, kind string, n int, do func(seed uint64) (trial.Figures, error)) error {
	if b.report.has(system, kind, n) {
		return nil
	}
	seed := rand.New(rand.NewPCG(b.o.Seed, uint64(n))).Uint64N(1_000_000) + 1
	begun := time.Now()
	f, err := do(seed)
	for try := 1; errors.Is(err, errMoved) && try < 3; try++ { // nothing burned: arrange it anew
		f, err = do(seed)
	}
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err) // also what could not be taken down
	}
	t := Trial{System: system, Kind: kind, Number: n, Figures: f}
	if t.Figures.Seed = seed; err != nil {
		t.Failed = err.Error()
	}
	b.report.Trials = append(slices.DeleteFunc(b.report.Trials, func(old Trial) bool { return old.System == system && old.Kind == kind && old.Number == n }), t)
	b.o.Say(fmt.Sprintf("%s (%s)", t, time.Since(begun).Round(time.Second)))
	return b.report.save(b.o.Out)
}

// String is a line of progress.
func (t Trial) String() string {
	f := t.Figures
	if t.Failed != "" {
		return fmt.Sprintf("%-20s %-15s %2d  seed %-7d NOT MEASURED: %s", t.System, t.Kind, t.Number, f.Seed, t.Failed)
	}
	out := fmt.Sprintf("%-20s %-15s %2d  seed %-7d %6d acked, %d lost; verdict %s, sealed %s, writable %s, first ack %s, all served %s, longest pause %s",
		t.System, t.Kind, t.Number, f.Seed, f.Acknowledged, f.Lost+f.Duplicated+f.OutOfOrder+f.Changed,
		clock(f.Verdict), clock(f.Sealed), clock(f.Writable), clock(f.FirstAck), clock(f.AllServed), clock(f.LongestPause))
	for _, trouble := range f.Trouble {
		out += "; " + trouble
	}
	return out
}

// rest measures what haechi costs while nothing happens.
func (b *bench) rest(ctx context.Context, profile string) (err error) {
	if _, done := b.report.Rest[profile]; done || b.o.Rest == 0 {
		return nil
	}
	o := b.o.Lab
	o.Profile, o.Seed = profile, b.o.Seed
	l, down, err := raise(ctx, o)
	if err != nil {
		return err
	}
	defer down(&err)
	if _, err := (trial.Haechi{Lab: l}).Ready(ctx, lab.Pangyo); err != nil {
		return err
	}
	if err := wait(ctx, 10*time.Second); err != nil { // what starting costs is over
		return err
	}
	r, err := rest(ctx, l, b.o.Rest)
	if err != nil {
		return err
	}
	b.report.Rest[profile] = r
	b.o.Say(fmt.Sprintf("%s at rest, nobody sends anything, for %.0f s; the dearest tower %.0f MB, %.1f %% of a core; agent %.0f MB, %.1f %%; observer %.0f MB, %.1f %%",
		haechiName(profile), r.Seconds, r.Tower.MB, r.Tower.Percent, r.Agent.MB, r.Agent.Percent, r.Observer.MB, r.Observer.Percent))
	return b.report.save(b.o.Out)
}
