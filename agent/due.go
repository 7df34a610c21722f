package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrLate means that an order's time is over, or that whoever gave it is taken to have given
// it up. What it has not done by then it must not do.
var ErrLate = errors.New("nobody waits for this order any more")

const (
	// stillness is how long an agent must have stood still for its callers to be taken to have
	// given up: they hang up on one that is silent for so long.
	stillness = deadAfter
	// tick is how often the agent makes sure that it does not stand still.
	tick = stillness / 8
)

// clock is an agent's own. It counts from the agent's start and goes on while the process is
// stopped, so that the agent finds out afterwards that it was. It does not go on in a virtual
// machine that is frozen as a whole.
type clock struct {
	life string               // another one for each process
	now  func() time.Duration // since the start

	mu    sync.Mutex    // guards what follows
	last  time.Duration // when it was read last
	stood time.Duration // until when the agent stood still the last time
	still time.Duration // for how long
}

func newClock() *clock {
	start := time.Now()
	return &clock{life: rand.Text(), now: func() time.Duration { return time.Since(start) }}
}

// read returns the time and notes whether the agent stood still before.
func (c *clock) read() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if gap := now - c.last; gap >= stillness {
		c.stood, c.still = now, gap
	}
	c.last = now
	return now
}

// keep reads the clock until ctx ends: a gap is then a time in which nothing ran.
func (c *clock) keep(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		c.read()
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// over says why an order is too late; nil: it is not. It asks the clock and no timer, since
// after a stop the process may go on before its timers have run.
func (c *clock) over(o Order) error {
	now := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case o.Life != c.life:
		return fmt.Errorf("%w: it was sent to an agent that has started anew since", ErrLate)
	case c.stood > o.Sent:
		return fmt.Errorf("%w: after it was sent the agent stood still for %v", ErrLate, c.still.Round(time.Millisecond))
	case now >= o.Sent+o.Within:
		return fmt.Errorf("%w: its %v were over %v ago", ErrLate, o.Within.Round(time.Millisecond), (now - o.Sent - o.Within).Round(time.Millisecond))
	}
	return nil
}

type overKey struct{}

// WithOver returns a context for an order that is too late as soon as over says why.
func WithOver(ctx context.Context, over func() error) context.Context {
	return context.WithValue(ctx, overKey{}, over)
}

// Wanted returns why an order must do nothing more, and nil while it may go on. A unit asks
// before each effect that comes after a wait: the process may have been stopped meanwhile,
// and then ctx may not have ended yet though the time is over. The error is [ErrLate] where
// the time is over, and else the context's cause.
func Wanted(ctx context.Context) error {
	if over, ok := ctx.Value(overKey{}).(func() error); ok {
		if err := over(); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// limit bounds ctx by what an order says of its time. An order without a word about it, which
// the listener lets through only where nothing is changed, is bounded by ctx alone.
func (c *clock) limit(ctx context.Context, o Order) (context.Context, context.CancelFunc) {
	if o.Life == "" {
		return context.WithTimeoutCause(ctx, actLimit, ErrLate)
	}
	left := min(o.Sent+o.Within-c.read(), actLimit)
	ctx = WithOver(ctx, func() error { return c.over(o) })
	return context.WithTimeoutCause(ctx, left, fmt.Errorf("%w: its time is over", ErrLate))
}

// reading is what a caller knows of an agent's clock.
type reading struct {
	life  string
	clock time.Duration
	at    time.Time // when the caller had it; the agent's clock showed it a little before
}

// readingLasts is how long a reading is good for: meanwhile two clocks differ by less than a
// network delays an order.
const readingLasts = time.Minute

// stamp says in an order when it was sent and how long it may take, by the agent's clock. The
// agent's clock showed the reading before the caller had it, so the order ends rather
// too early than too late. Without a good reading it says nothing, and the agent
// answers with one.
func (r reading) stamp(o Order, now time.Time, within time.Duration) Order {
	o.Life, o.Sent, o.Within = "", 0, 0
	if age := now.Sub(r.at); r.life != "" && age < readingLasts {
		o.Life, o.Sent, o.Within = r.life, r.clock+age, within
	}
	return o
}
