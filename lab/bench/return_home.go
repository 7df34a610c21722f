package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/talk"
	"github.com/haechi/haechi/lab/trial"
)

// home returns a site as the demo does.
func (b *returns) home(ctx context.Context) (err error) {
	l, down, err := b.raise(ctx, b.options())
	if err != nil {
		return err
	}
	defer down(&err)
	c, err := b.one(ctx, l, "home", 15, 3*time.Minute)
	if err != nil {
		return err
	}
	b.is("whole", float64(c.back.Whole), b.scaled(), c.trouble)
	b.is("failback", float64(c.back.FailbackPause), b.scaled(), c.trouble)
	b.is("counts", float64(c.back.Counted), b.scaled(), c.trouble)
	return nil
}

// large returns one whose database is large, with many rows that only it held.
func (b *returns) large(ctx context.Context) (err error) {
	l, err := b.largeLab(ctx)
	if err != nil {
		return err
	}
	c, err := b.one(ctx, l, "large", b.Rows, time.Hour)
	if err != nil || c.trouble != "" {
		err = errors.Join(err, b.letGo()) // nothing more is to be measured there
	}
	if err != nil {
		return err
	}
	exact := -1.0
	switch {
	case c.back.Exact:
		exact = 100
	case c.back.Salvaged != trial.Never:
		exact = 0
	}
	rows := fmt.Sprintf("%d rows, %d of them planted; %d were salvaged", c.back.Alone, c.back.Planted, c.back.Rows)
	b.is("exact", exact, rows, some(c.back.Wrong), b.scaled(), c.trouble)
	b.is("salvage", float64(c.back.Salvaged), fmt.Sprintf("from the site's power; the step itself %.1f s", took(c.back, plan.Salvage)), b.scaled(), c.trouble)
	if by := how(c.back); strings.Contains(by, "by a rewind") {
		b.is("rejoin", took(c.back, plan.Rejoin), by, b.scaled(), c.trouble)
	} else {
		b.cannot("rejoin", cmp.Or(by, c.trouble, "no member rejoined"))
	}
	b.living(c)
	return nil
}

// some is the begin of a list.
func some(all []string) string {
	if len(all) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:3], "; "), len(all)-3)
	}
	return strings.Join(all, "; ")
}

// living adds what clients saw while a member rejoined.
func (b *returns) living(c cameBack) {
	during, before, what := c.around()
	if before.rate == 0 || during.rate == 0 {
		why := cmp.Or(c.trouble, "clients were not served before it, or not while it went on")
		b.cannot("writes", why)
		b.cannot("latency", why)
		return
	}
	b.is("writes", 100*during.rate/before.rate, what, fmt.Sprintf("%.0f/s before, %.0f/s then", before.rate, during.rate), b.scaled())
	b.is("latency", float64(during.middle)/float64(before.middle), what,
		fmt.Sprintf("%v before, %v then; of the slowest hundredth %v and %v", ms(before.middle), ms(during.middle), ms(before.slow), ms(during.slow)), b.scaled())
}

func ms(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// cameBack is a return and what clients saw of it.
type cameBack struct {
	back    trial.Back
	tally   talk.Tally
	trouble string // what went wrong of it, though parts may have been measured
}

// settle is how long clients are watched after a fire before the site comes back, and what is held
// against the time of the return.
const settle = 15 * time.Second

// one burns a site of a lab and brings it back. rows is how many only the burned member holds at
// least, patience how long each part of the return may take.
func (b *returns) one(ctx context.Context, l *lab.Lab, name string, rows int, patience time.Duration) (c cameBack, err error) {
	h, site, from := trial.Haechi{Lab: l}, lab.Pangyo, lab.Ansan
	if _, err := h.Ready(ctx, from); err != nil {
		return c, err
	}
	var planted lab.Planted
	t := trial.Trial{Lab: l, System: h, Site: site, Gone: true, Seed: b.Seed, Clients: b.Clients, Rate: b.Rate, Say: b.Say, Settle: settle,
		Fault: func(ctx context.Context) (cut lab.Proof, err error) {
			cut, planted, err = burnWithRows(ctx, l, site, rows)
			return cut, err
		},
		After: func(ctx context.Context) (err error) {
			c.back, err = trial.Comeback{Lab: l, System: h, Site: site, From: from, Store: "talk-db", Say: b.Say, Patience: patience,
				Power: func(ctx context.Context) (lab.Proof, error) {
					if err := l.Cool(site); err != nil {
						return lab.Proof{}, err
					}
					return l.Rebuild(ctx, site)
				}}.Run(ctx, planted)
			return err
		},
		Tally: func(seen talk.Tally) {
			c.tally = seen
			c.back.Measure(seen)
		},
	}
	f, err := t.Run(ctx)
	if err != nil {
		return c, err
	}
	if b.r.Backs == nil {
		b.r.Backs = map[string]trial.Back{}
	}
	b.r.Backs[name] = c.back
	if !f.OK() {
		return c, fmt.Errorf("%d lost, %d twice, %d out of order, %d altered, %d acknowledged: times of that say nothing", f.Lost, f.Duplicated, f.OutOfOrder, f.Changed, f.Acknowledged)
	}
	if !c.back.OK(site) {
		c.trouble = strings.Join(said([]string{"the return is not whole", some(f.Trouble), some(c.back.Missing), some(c.back.Wrong)}), ": ")
	}
	return c, nil
}

// burnWithRows cuts a site off, leaves so many rows there at least that nobody else holds, and burns it.
func burnWithRows(ctx context.Context, l *lab.Lab, site lab.Place, rows int) (cut lab.Proof, planted lab.Planted, err error) {
	if cut, err = l.Sever(ctx, site); err != nil {
		return cut, planted, err
	}
	if planted, err = l.PlantAlone(ctx, site, (rows+2)/3); err == nil {
		_, err = l.Fire(ctx, site)
	}
	return cut, planted, err
}

// step is the last step of a verb in the run that brought a site back.
func step(back trial.Back, v plan.Verb) (trial.PageStep, bool) {
	for _, s := range slices.Backward(back.Steps) {
		if s.Verb == string(v) {
			return s, true
		}
	}
	return trial.PageStep{}, false
}

// took is how long such a step took, in seconds; negative: there was none.
func took(back trial.Back, v plan.Verb) float64 {
	s, ok := step(back, v)
	if !ok {
		return -1
	}
	return s.Seconds
}

// how is by what a member rejoined, as haechi says; empty: nothing says it.
func how(back trial.Back) string {
	s, _ := step(back, plan.Rejoin)
	return s.Note
}

// leastWindow is how long a window has to be to say anything of a rate.
const leastWindow = 2 * time.Second

// around is what clients saw while the member rejoined, and before anything was done for that. Where it
// rejoined too quickly to tell, all from its salvage until it counted is looked at; what says which.
func (c cameBack) around() (during, before seen, what string) {
	join, ok := step(c.back, plan.Rejoin)
	if !ok {
		return seen{}, seen{}, ""
	}
	from, to := join.Started, join.End()
	what = "while it rejoined"
	if to.Sub(from) < leastWindow {
		what = "from its salvage until it counted"
		if s, ok := step(c.back, plan.Salvage); ok {
			from = s.Started
		}
		if s, ok := step(c.back, plan.Return); ok {
			to = s.End()
		}
	}
	what += fmt.Sprintf(", %.1f s", to.Sub(from).Seconds())
	return window(c.tally, from, to), window(c.tally, c.back.Began.Add(-settle), c.back.Began), what
}

// seen is what clients saw in a window.
type seen struct {
	rate         float64       // acknowledgements a second
	middle, slow time.Duration // from when a message was to be sent until it was acknowledged: the median, and what a hundredth exceeds
}

func window(y talk.Tally, from, to time.Time) seen {
	var waits []time.Duration
	for _, a := range y.Acks {
		if a.Acked.After(from) && !a.Acked.After(to) {
			waits = append(waits, a.Acked.Sub(a.Intended))
		}
	}
	if len(waits) == 0 || !to.After(from) {
		return seen{}
	}
	slices.Sort(waits)
	return seen{float64(len(waits)) / to.Sub(from).Seconds(), waits[len(waits)/2], waits[len(waits)*99/100]}
}
