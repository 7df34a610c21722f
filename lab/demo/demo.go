// Package demo shows a stranger what haechi is for: three sites, a fire in one of
// them, and a scoreboard. It tells what happens while it happens.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/talk"
	"github.com/haechi/haechi/lab/trial"
)

// Options say what to show.
type Options struct {
	Lab     lab.Options // Progress is set here
	Lose    lab.Place
	Full    bool    // also what comes after: the site comes back, and its primary goes home
	Clients int     // 0: as many as the machine bears, 200 at most
	Rate    float64 // messages a second; 0: as many as the machine bears, 500 at most
	Stay    bool    // leave the lab up
	JSON    bool    // end with one [Result] on Out; people read Err
	Acks    string  // file for one line for each acknowledgement
	Out     io.Writer
	Err     io.Writer

	// Raise raises the lab in a daemon that ends with this process unless Stay. What it
	// returns takes down what it started, also after an error; nil where it started nothing.
	Raise func(ctx context.Context, o lab.Options) (lower func(context.Context) error, err error)

	slow bool          // there are fewer clients, or messages, than on another machine
	page time.Duration // and what a page of memory costs on this one
}

// Validate says what cannot be shown.
func (o Options) Validate() error {
	var errs []error
	if !o.Lose.IsSite() {
		errs = append(errs, fmt.Errorf("--lose: %q is not a site; the sites are %v", o.Lose, lab.Sites()))
	}
	if o.Clients < 1 || o.Clients > 2000 {
		errs = append(errs, fmt.Errorf("--clients: %d is not between 1 and 2000", o.Clients))
	}
	if o.Rate < 50 || o.Rate > 5000 {
		errs = append(errs, fmt.Errorf("--rate: %v is not between 50 and 5000 messages a second: fewer make no demo in time, more than two cores can take", o.Rate))
	}
	return errors.Join(errs...)
}

// ErrFailed says that the demo ran and did not show what it should.
var ErrFailed = errors.New("the demo failed: see the scoreboard")

// Run shows it. It takes the lab that it raised down, however it ends, unless it is to
// stay. One that somebody else has up it does not touch.
func Run(ctx context.Context, o Options) (err error) {
	o.fit(trial.PageCost())
	if err := o.Validate(); err != nil {
		return err
	}
	if err := lab.Free(o.Lab); err != nil {
		return err
	}
	acks, err := o.openAcks()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, acks.Close()) }()
	people := o.Out
	if o.JSON {
		people = o.Err
	}
	s := newScript(people, terminal(people))
	greet(people, o)
	fmt.Fprint(people, o.audited(ctx))
	o.Lab.Progress = func(l string) {
		if !strings.HasPrefix(l, "    ") { // what commands printed
			s.now("lab", l)
		}
	}
	lower, err := o.Raise(ctx, o.Lab)
	defer func() {
		switch {
		case lower == nil: // nothing is ours
		case o.Stay && (err == nil || errors.Is(err, ErrFailed)):
			fmt.Fprint(people, stays(o))
		default:
			err = errors.Join(err, lower(context.WithoutCancel(ctx)))
		}
	}()
	if err != nil {
		return err
	}
	f, back, err := show(ctx, o, s, acks)
	if err != nil {
		return err
	}
	fmt.Fprintf(people, "\n%s", board(f, back))
	if o.JSON {
		if err := json.NewEncoder(o.Out).Encode(result(f, back)); err != nil {
			return err
		}
	}
	if !result(f, back).OK {
		return ErrFailed
	}
	return nil
}

// openAcks opens the file for the acknowledgements before anything burns, so that a
// fire is not for nothing.
func (o Options) openAcks() (*os.File, error) {
	if o.Acks == "" {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	f, err := os.Create(o.Acks)
	if err != nil {
		return nil, fmt.Errorf("--acks: %w; nothing was started: name a file that can be written", err)
	}
	return f, nil
}

// greet says first where to look.
func greet(to io.Writer, o Options) {
	fmt.Fprintf(to, "\n  haechi's page   http://127.0.0.1:%d/   open it now: it shows all of this live\n", lab.PagePort)
	fmt.Fprintf(to, "  talk            http://127.0.0.1:%d/   the messenger that users see, from whichever site answers\n", lab.TalkPort)
	fmt.Fprintf(to, "  the lab         http://127.0.0.1:%d/\n\n", lab.OwnPort)
	fmt.Fprintf(to, "  Three data centres on this machine. %s will burn. %d clients send %.0f messages a second;\n", strings.ToUpper(string(o.Lose)), o.Clients, o.Rate)
	fmt.Fprintf(to, "  whatever one of them is told is sent must still be there afterwards.\n")
	if o.slow {
		fmt.Fprintf(to, "  (Fewer than elsewhere: a page of memory takes this machine %v, so new processes are slow. --clients and --rate ask for more.)\n", o.page.Round(100*time.Nanosecond))
	}
	if o.Full {
		fmt.Fprintf(to, "  Then its power returns: what only its database held is salvaged, it rejoins, is compared, users come home, and so does the primary.\n")
	}
	fmt.Fprintln(to)
}

// audited is what haechi says on paper of the sites that are about to be raised. That it cannot is told and
// keeps nothing from burning.
func (o Options) audited(ctx context.Context) string {
	l, err := lab.New(o.Lab)
	if err != nil {
		return "" // raising it says so
	}
	r, took, err := l.Audit(ctx)
	if err != nil {
		return fmt.Sprintf("  What would be lost here nobody knows: %v\n\n", err)
	}
	return paper(r, took)
}

// paper draws an audit in a line, and what is bad in one each.
func paper(r audit.Report, took time.Duration) string {
	var b strings.Builder
	var by []string
	for _, s := range audit.Severities() {
		n := 0
		for _, f := range r.Open(s) {
			if f.Severity == s {
				n++
			}
		}
		by = append(by, fmt.Sprintf("%d %s", n, s))
	}
	fmt.Fprintf(&b, "  On paper first: haechi audit tries %d losses among %d components and finds %s, in %d ms.\n",
		r.Scenarios, r.Components, strings.Join(by, ", "), took.Milliseconds())
	for _, f := range r.Open(audit.High) {
		for i, row := range wrap(fmt.Sprintf("%s %s: %s; do: %s", strings.ToUpper(string(f.Severity)), f.Rule, f.Message, f.Remedy), 96) {
			fmt.Fprintf(&b, "  %s%s\n", strings.Repeat("  ", min(i, 1)), row)
		}
	}
	return b.String() + "\n"
}

func stays(o Options) string {
	how := fmt.Sprintf("with %s in ashes", o.Lose)
	if o.Full {
		how = "whole again"
	}
	return fmt.Sprintf("\n  The lab stays up, %s: http://127.0.0.1:%d/ shows it, http://127.0.0.1:%d/ hurts it more.\n  haechi lab down   takes it away.\n",
		how, lab.PagePort, lab.OwnPort)
}

func otherThan(lost lab.Place) lab.Place {
	return slices.DeleteFunc(lab.Sites(), func(p lab.Place) bool { return p == lost })[0]
}

// show is the fire, told by those who see it, and what comes after where that is to be shown.
func show(ctx context.Context, o Options, s *script, acks io.Writer) (trial.Figures, *trial.Back, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	o.Lab.Progress = nil
	l, err := lab.New(o.Lab)
	if err != nil {
		return trial.Figures{}, nil, err
	}
	from := otherThan(o.Lose)
	haechi := trial.Haechi{Lab: l}
	rest(ctx, haechi, s, "before messages flow")
	n, err := haechi.Ready(ctx, from)
	if err != nil {
		return trial.Figures{}, nil, err
	}
	for _, row := range opening(n) {
		s.say("haechi", "%s", row)
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	tale := newStory()
	all.Go(func() {
		haechi.Follow(ctx, from, func(n trial.Page) {
			for _, row := range tale.hear(n) {
				s.add(row)
			}
		})
	})
	all.Go(func() { s.run(ctx) })
	after := comeback{o: o, script: s, lab: l, haechi: haechi, from: from}
	t := trial.Trial{
		Lab: l, System: haechi, Site: o.Lose, Gone: true, Clients: o.Clients, Rate: o.Rate, Seed: o.Lab.Seed, Acks: acks,
		Settle: 4 * time.Second, Least: Least, Say: func(row string) { s.say("talk", "%s", row) },
		Fault: func(ctx context.Context) (lab.Proof, error) {
			rest(ctx, haechi, s, "before the fire")
			if _, err := haechi.Ready(ctx, from); err != nil {
				return lab.Proof{}, err
			}
			s.say("", "")
			p, err := after.burn(ctx)
			if err == nil {
				s.burn(p.At)
				s.add(line{at: p.At, word: "FIRE", text: p.What, loud: true})
			}
			return p, err
		},
		Watch: (&clients{script: s, number: o.Clients}).hear,
	}
	if o.Full {
		t.After, t.Tally = after.run, after.measure
	}
	f, err := t.Run(ctx)
	s.flush(time.Now().Add(time.Hour))
	return f, after.back, err
}

// rest waits until nothing of the start is under way any more, so that what is told after
// it is about the fire. A machine too busy to come to rest is told of, and burns all the same.
func rest(ctx context.Context, h trial.Haechi, s *script, when string) {
	if err := h.AtRest(ctx, 12*time.Second, 1500*time.Millisecond); err != nil && ctx.Err() == nil {
		s.say("lab", "this machine is busy: %s %v", when, err)
	}
}

// run prints until ctx ends.
func (s *script) run(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case at := <-tick.C:
			s.flush(at.Add(-holdBack))
		case <-ctx.Done():
			return
		}
	}
}

// clients tells what the load reports.
type clients struct {
	script *script
	number int
	silent bool // it was told that nothing is acknowledged
}

func (c *clients) hear(e talk.Event) {
	switch e.Kind {
	case "rate":
		if e.Acked == 0 && !c.silent && c.script.burning() {
			c.silent = true
			c.script.add(line{at: e.At, word: "talk", text: fmt.Sprintf("for a tenth of a second nobody was acknowledged anything; %d messages wait", e.InFlight)})
		}
	case "ack-first-after":
		c.script.add(line{at: e.At, word: "talk", loud: true, text: "first acknowledgement of a message that was first sent after the fire"})
	case "all-served-after":
		c.script.add(line{at: e.At, word: "talk", loud: true, text: fmt.Sprintf("all %d clients are served", c.number)})
	case "tally":
		c.script.say("end", "the clients stop: %s messages were acknowledged; now every one of them is looked for", thousands(e.Acked))
	}
}

// terminal says whether colours are wanted and understood.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
