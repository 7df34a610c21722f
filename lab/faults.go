package lab

import (
	"context"
	"fmt"
	"time"
)

// Proof says that a fault happened, and how it is known.
type Proof struct {
	At   time.Time `json:"at"`   // from then on; by this machine's clock
	What string    `json:"what"` // for people: what was done and what shows it
}

// String draws the proof as a line of the demo.
func (p Proof) String() string { return p.At.Format("15:04:05.000") + " " + p.What }

func proof(at time.Time, format string, args ...any) Proof {
	return Proof{at, fmt.Sprintf(format, args...)}
}

// site refuses places where nothing stands that could break.
func site(p Place) error {
	if !p.IsSite() {
		return fmt.Errorf("%q is not a site; the sites are %v", p, sites)
	}
	return nil
}

// later adds what Heal has to take back. The caller holds l.mu.
func (l *Lab) later(undo func(context.Context) error) { l.undo = append(l.undo, undo) }
