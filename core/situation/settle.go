package situation

import (
	"fmt"
	"time"
)

// memory is what a subject was believed to be, and since when.
type memory struct {
	state    State
	since    time.Time
	clean    time.Time // since when nothing spoke against it; zero: something does
	troubled bool      // was not up since it was last up; it has to settle
}

// finding is what the views say at one instant, without memory.
type finding struct {
	state   State
	seen    bool // a majority sees it, whatever others say
	because []string
}

// gone says that a majority holds the site or thing for silent.
func gone(s State) bool { return s == Lost || s == Isolated || s == Dead }

// settle turns a finding into a verdict. Bad news counts at once and for as long
// as nobody knows better; good news counts when it has lasted.
func (f *Fold) settle(v Verdict, now finding, at time.Time) Verdict {
	m := f.memory[v.Subject]
	state, because := m.next(now, at, f.profile.Settle)
	if now.state != Up {
		m.clean = time.Time{}
	} else if m.clean.IsZero() {
		m.clean = at
	}
	switch {
	case state == Up:
		m.troubled = false
	case state != Unknown:
		m.troubled = true
	}
	if state != m.state {
		m.state, m.since = state, at
	}
	f.memory[v.Subject] = m
	v.State, v.Since, v.Because = state, m.since, because
	return v
}

func (m memory) next(now finding, at time.Time, settle time.Duration) (State, []string) {
	switch now.state {
	case Unknown, Suspect:
		if gone(m.state) && !now.seen {
			return m.state, append(now.because, fmt.Sprintf("%s since %s, and no majority sees it again", m.state, m.since.UTC().Format("15:04:05.000")))
		}
	case Up:
		if !m.troubled {
			return Up, now.because
		}
		clean := time.Duration(0)
		if !m.clean.IsZero() {
			clean = at.Sub(m.clean)
		}
		if clean < settle {
			return Suspect, append(now.because, fmt.Sprintf("seen again for %s; it is up when that has lasted %s", round(clean), settle))
		}
	}
	return now.state, now.because
}
