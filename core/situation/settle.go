package situation

import (
	"fmt"
	"time"
)

// memory is what a subject was believed to be, and since when.
type memory struct {
	state State
	since time.Time
	clean time.Time     // since when nothing speaks against it; zero: something does
	dark  time.Time     // since when nobody can tell; zero: somebody can
	wait  time.Duration // how long it must be clean before it is up again
	gone  time.Time     // when it was last gone; zero: never
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
// as nobody knows better; good news counts when it has lasted; and knowing nothing
// for a moment is no news.
func (f *Fold) settle(v Verdict, now finding, at time.Time) Verdict {
	m := f.memory[v.Subject]
	m.clean = began(m.clean, now.state == Up, at)
	m.dark = began(m.dark, now.state == Unknown, at)
	state, because := m.next(now, at, f.profile)
	switch {
	case state == Up:
		m.wait = 0
	case state == Suspect:
		m.wait = max(m.wait, f.profile.Silence)
	case state != Unknown:
		m.wait = f.profile.Settle
	}
	if state != m.state {
		m.state, m.since = state, at
	}
	if gone(state) {
		m.gone = at
	}
	f.memory[v.Subject] = m
	v.State, v.Since, v.Because, v.LastGone = state, m.since, because, m.gone
	return v
}

// began keeps the time at which something that still holds began to hold.
func began(since time.Time, holds bool, at time.Time) time.Time {
	switch {
	case !holds:
		return time.Time{}
	case since.IsZero():
		return at
	}
	return since
}

func (m memory) next(now finding, at time.Time, p Profile) (State, []string) {
	switch {
	case gone(m.state) && !now.seen && !gone(now.state):
		return m.state, append(now.because, fmt.Sprintf("%s since %s, and no majority sees it again", m.state, m.since.UTC().Format("15:04:05.000")))
	case now.state == Unknown && m.state != "" && at.Sub(m.dark) < p.Silence:
		return m.state, append(now.because, fmt.Sprintf("%s until now; nobody can tell for %s", m.state, round(at.Sub(m.dark))))
	case now.state == Up && at.Sub(m.clean) < m.wait:
		return Suspect, append(now.because, fmt.Sprintf("seen again for %s; it is up when that has lasted %s", round(at.Sub(m.clean)), m.wait))
	}
	return now.state, now.because
}
