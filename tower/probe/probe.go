// Package probe looks at targets on a schedule and says what it sees. One look
// does not wait for the one before it, so a link that loses packets or is slow hides
// nothing; and the prober knows when it was itself stopped, so that it does not take
// its own stall for the silence of others.
package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// Looker looks once at one kind of target. It may be called by several goroutines at
// once, also for one target.
type Looker interface {
	// Look returns nil as soon as the target has answered anything at all, with what it says
	// of itself; nil facts are no news, and what it said before stands. It ends with ctx at the latest. A refused
	// connection is [syscall.ECONNREFUSED]; an answer that fell silent in its middle is [Partly].
	Look(ctx context.Context, t situation.Target) (facts map[string]string, err error)
}

// Partly is an answer of which the rest did not come in time, or that was heard before its look. It shows life when
// it began, not when its look ended: a site that is cut off in between would count as heard for that much longer.
type Partly struct {
	At    time.Time         // when the first of it was heard
	Facts map[string]string // of what was heard; nil as for [Looker]
	Err   error             // what became of the rest
}

func (p *Partly) Error() string { return "only a part of the answer: " + p.Err.Error() }
func (p *Partly) Unwrap() error { return p.Err }

// LookFunc is a function that looks.
type LookFunc func(ctx context.Context, t situation.Target) (map[string]string, error)

// Look calls f.
func (f LookFunc) Look(ctx context.Context, t situation.Target) (map[string]string, error) {
	return f(ctx, t)
}

// Config says who looks at what. All but Site and Log are required.
type Config struct {
	Observer string        // its name in the estate
	Site     estate.SiteID // empty: stands where users are
	Boot     string        // differs for each start of this process
	Profile  situation.Profile
	Targets  func() []situation.Target // asked again once each Profile.Every
	Lookers  map[situation.Kind]Looker // targets of other kinds are not looked at
	Out      func(situation.View)      // gets each view; must not block, and must not change it
	Log      *slog.Logger
}

// outstanding is how many looks at one target may be under way: as many as begin until the first of them is given
// up. With fewer a target that is heard again would be silent for longer than it was.
func outstanding(p situation.Profile) int { return int((p.Timeout + p.Every - 1) / p.Every) }

// pulse is how long the loop sleeps at most. What it oversleeps is its lateness. Looks at the targets
// of one site are as far apart, where there are enough: closer would be more even, and wake the machine more often.
const pulse = 75 * time.Millisecond

// next is the instant for which time comes round again after every, by the wall clock, that is
// at least half of that away. So all observers look at the same instants, as far as their clocks agree:
// what they ask each other, and what they tell, comes together, and wakes a machine once.
func next(now time.Time, every, phase time.Duration) time.Time {
	from := now.Add(every / 2)
	past := (time.Duration(from.UnixNano()) - phase) % every
	return from.Add((every - past) % every)
}

// Prober looks. Make one with [New].
type Prober struct {
	c    Config
	poke chan struct{} // something has to be told, or planned, sooner than was thought
	tell time.Time     // when the next view is due
	seq  uint64
	wait sync.WaitGroup // for looks under way

	mu    sync.Mutex // guards what follows
	sheet sheet
	due   map[string]*schedule
}

// schedule is when one target is looked at.
type schedule struct {
	target situation.Target
	phase  time.Duration // of its looks within each Rest
	next   time.Time
	flying int
	begun  uint64
}

// result is how one look ended.
type result struct {
	target situation.Target
	number uint64 // of the looks at this target
	began  time.Time
	at     time.Time // it ended; for an answer when it was heard
	facts  map[string]string
	err    error
}

// New checks the configuration. Nothing is looked at before [Prober.Run].
func New(c Config) (*Prober, error) {
	err := c.Profile.Validate()
	if c.Observer == "" || c.Boot == "" || c.Targets == nil || c.Out == nil {
		err = errors.Join(err, errors.New("probe: Observer, Boot, Targets and Out are all needed"))
	}
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Prober{c: c, poke: make(chan struct{}, 1), due: map[string]*schedule{}}, nil
}

// Run looks until ctx ends and returns its cause. It waits for the looks under way, at most
// for the profile's Timeout. It is called once.
func (p *Prober) Run(ctx context.Context) error {
	defer p.wait.Wait()
	now := time.Now()
	p.sheet, p.tell = newSheet(p.c.Profile, now), now
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		// Counted from when this turn began, so that a stall within it shows, too.
		wake := p.wake(now)
		timer.Reset(time.Until(wake))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		case <-p.poke:
		}
		now = time.Now()
		p.turn(ctx, wake, now)
	}
}

// turn does what is due. wake is when the loop meant to be here at the latest.
func (p *Prober) turn(ctx context.Context, wake, now time.Time) {
	if view, ok := p.advance(ctx, wake, now); ok {
		p.c.Out(view)
	}
}

func (p *Prober) advance(ctx context.Context, wake, now time.Time) (situation.View, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if late := now.Sub(wake); p.sheet.stall(late, now) {
		p.c.Log.Warn("stopped or starved; all silences are counted anew", "observer", p.c.Observer, "for", late)
	}
	regular := !now.Before(p.tell)
	if regular {
		pause := p.c.Profile.Every
		if p.sheet.well(now) {
			pause = p.c.Profile.Rest // what changes is told at once
		}
		p.tell = next(now, pause, 0)
		p.retargetLocked(now)
	}
	for _, s := range p.due {
		p.lookLocked(ctx, s, now)
	}
	if changed := p.sheet.changed(now); !changed && !regular {
		return situation.View{}, false
	}
	p.seq++
	return situation.View{
		Observer: p.c.Observer, Site: p.c.Site, Seq: p.seq, Boot: p.c.Boot,
		Late: p.sheet.late(now), Looks: p.sheet.looks(now),
	}, true
}

// lookLocked begins a look that is due, unless too many are under way.
func (p *Prober) lookLocked(ctx context.Context, s *schedule, now time.Time) {
	if now.Before(s.next) || s.flying >= outstanding(p.c.Profile) {
		return
	}
	s.next = next(now, min(p.c.Profile.Every, p.rest(s.target)), s.phase)
	s.flying++
	s.begun++
	t, number := s.target, s.begun
	p.wait.Go(func() { p.once(ctx, t, number) })
}

func (p *Prober) once(ctx context.Context, t situation.Target, number uint64) {
	ctx, cancel := context.WithTimeout(ctx, p.c.Profile.Timeout)
	defer cancel()
	began := time.Now()
	facts, err := p.c.Lookers[t.Kind].Look(ctx, t)
	at := time.Now()
	if part, ok := errors.AsType[*Partly](err); ok {
		facts, at, err = part.Facts, part.At, nil
	}
	if p.note(result{target: t, number: number, began: began, at: at, facts: facts, err: err}) {
		select {
		case p.poke <- struct{}{}:
		default: // the loop is about to run anyway
		}
	}
}

// note takes in how a look ended and says whether the loop has to know at once.
func (p *Prober) note(r result) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.due[r.target.ID]
	if s == nil || s.target != r.target {
		return false
	}
	s.flying--
	if r.err == nil && s.flying == 0 {
		s.next = next(r.began, p.rest(s.target), s.phase)
	}
	return p.sheet.note(r) || s.flying == outstanding(p.c.Profile)-1
}

// rest is the time between two looks at a target that answers.
func (p *Prober) rest(t situation.Target) time.Duration { return cmp.Or(t.Rest, p.c.Profile.Rest) }

// wake is when the loop has to run again: for a look, for a view, for a target that
// crosses a limit meanwhile, and at least once a pulse.
func (p *Prober) wake(now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := now.Add(pulse)
	sooner := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	sooner(p.tell)
	for _, s := range p.due {
		if s.flying < outstanding(p.c.Profile) {
			sooner(s.next)
		}
	}
	sooner(p.sheet.crosses(at))
	if at.Before(now) {
		return now
	}
	return at
}

// retargetLocked begins with new targets, those of each site spread over the time between two
// looks, so that each site is heard of all the time; and forgets those that are no more.
func (p *Prober) retargetLocked(now time.Time) {
	rest := p.c.Profile.Rest
	instants := int((rest + pulse - 1) / pulse)
	targets := slices.DeleteFunc(slices.Clone(p.c.Targets()), func(t situation.Target) bool { return p.c.Lookers[t.Kind] == nil })
	keep, beside, nth := make(map[string]bool, len(targets)), map[estate.SiteID]int{}, map[estate.SiteID]int{}
	for _, t := range targets {
		beside[t.Site]++
	}
	for _, t := range targets {
		keep[t.ID] = true
		slot := nth[t.Site] * instants / beside[t.Site]
		nth[t.Site]++
		if s := p.due[t.ID]; s != nil && s.target == t {
			continue
		}
		phase := rest * time.Duration(slot) / time.Duration(instants)
		p.due[t.ID] = &schedule{target: t, phase: phase, next: next(now.Add(-rest/2), rest, phase)}
		p.sheet.begin(t.ID, now)
	}
	for id := range p.due {
		if !keep[id] {
			delete(p.due, id)
			p.sheet.forget(id)
		}
	}
}

// refused says that a host answers for a thing that does not.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// explain shortens an error for people.
func explain(err error) string {
	switch {
	case refused(err):
		return "connection refused"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	}
	return fmt.Sprintf("%.120s", err.Error())
}
