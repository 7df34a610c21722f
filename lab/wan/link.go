// Package wan is the network between the lab's places: a user-space router
// over one TUN device for each place, with delay, jitter, loss, bandwidth and
// cuts for each direction by itself, changed while it runs. The kernel here
// has no netem; and a router of our own can also say how late it was.
//
// [Network] is the arithmetic: no clock, no chance of its own, no devices.
// [Router] moves packets. [Client] speaks to a running router.
package wan

import (
	"errors"
	"fmt"
	"time"
)

// Link is what one direction between two places does to packets.
type Link struct {
	Delay  time.Duration `json:"delay"`  // one way
	Jitter time.Duration `json:"jitter"` // uniform, added to Delay; order is kept as on a real line
	Loss   float64       `json:"loss"`   // share of packets that vanish, 0 to 1
	Rate   int64         `json:"rate"`   // bits a second; 0 means unlimited
	Cut    bool          `json:"cut"`    // nothing passes; what is under way is gone
}

// Validate reports every field that no line can have.
func (l Link) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf(field+": "+format, args...))
	}
	if l.Delay < 0 || l.Delay > time.Minute {
		bad("delay", "%v is not between 0 and 1m", l.Delay)
	}
	if l.Jitter < 0 || l.Jitter > time.Minute {
		bad("jitter", "%v is not between 0 and 1m", l.Jitter)
	}
	if !(l.Loss >= 0 && l.Loss <= 1) {
		bad("loss", "%v is not between 0 and 1", l.Loss)
	}
	if l.Rate < 0 {
		bad("rate", "%d is negative; 0 means unlimited", l.Rate)
	}
	return errors.Join(errs...)
}

// String draws the link as people speak of it: "1ms", "200ms±5ms 5% 10Mbit/s", "cut".
func (l Link) String() string {
	if l.Cut {
		return "cut"
	}
	s := l.Delay.String()
	if l.Jitter > 0 {
		s += "±" + l.Jitter.String()
	}
	if l.Loss > 0 {
		s += fmt.Sprintf(" %g%%", l.Loss*100)
	}
	if l.Rate > 0 {
		s += fmt.Sprintf(" %gMbit/s", float64(l.Rate)/1e6)
	}
	return s
}

// Buffer is how long a rate-limited line may hold packets before it drops the
// next one, as a router's queue would.
const Buffer = 100 * time.Millisecond

// line is one direction with its memory of what is under way.
type line struct {
	Link
	busy time.Duration // until then the sender is still putting earlier bits on the line
	last time.Duration // when the packet before arrives; a later one never overtakes it
}

// admit says when a packet of size bytes that is offered at now arrives, or
// that it does not. Chance, in [0,1), comes from draw, which is asked only when
// the link needs it.
func (l *line) admit(now time.Duration, size int, draw func() float64) (due time.Duration, fate Fate) {
	switch {
	case l.Cut:
		return 0, DroppedByCut
	case l.Loss > 0 && draw() < l.Loss:
		return 0, DroppedByLoss
	}
	sent := now
	if l.Rate > 0 {
		start := max(now, l.busy)
		if start-now > Buffer {
			return 0, DroppedByQueue
		}
		sent = start + time.Duration(int64(size)*8*int64(time.Second)/l.Rate)
		l.busy = sent
	}
	due = sent + l.Delay
	if l.Jitter > 0 {
		due += time.Duration(draw() * float64(l.Jitter))
	}
	due = max(due, l.last)
	l.last = due
	return due, Carried
}

// change puts a new link in place. What is under way keeps its time of arrival,
// except that a shorter delay does not let new packets overtake it.
func (l *line) change(to Link) {
	if to.Rate != l.Rate || to.Cut {
		l.busy = 0
	}
	if to.Cut {
		l.last = 0 // nothing is under way any more
	}
	l.Link = to
}

// Fate is what became of a packet that was offered.
type Fate int

// The fates.
const (
	Carried        Fate = iota + 1
	DroppedByCut        // the line is cut
	DroppedByLoss       // chance
	DroppedByQueue      // the line is slower than what is offered
	Stray               // not an IPv4 packet from one place to another
)
