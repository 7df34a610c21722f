package web

import (
	"math"
	"time"
)

// RateMeter turns readings of counters into acknowledged messages a second, summed
// over all sources. It asks no clock. What a source counted between two readings is
// spread evenly over the time between them. A source that is not heard adds
// nothing; a time of which no source says anything is not known, which is not zero.
// It is not safe for use by several goroutines at once.
type RateMeter struct {
	step    time.Duration
	keep    int64 // slots
	last    map[string]reading
	slots   map[int64]float64 // counted in each slot
	covered map[int64]bool    // some source says something of it
}

type reading struct {
	at    time.Time
	count float64
}

// NewRateMeter makes a meter whose points stand for step each and reach back for keep.
func NewRateMeter(step, keep time.Duration) *RateMeter {
	return &RateMeter{
		step: step, keep: int64(keep / step),
		last: map[string]reading{}, slots: map[int64]float64{}, covered: map[int64]bool{},
	}
}

// Read takes one reading of a source's counter. A reading that is not newer than
// the last one of its source, or is no count, is ignored. A counter that went down
// has been restarted, and has counted from zero since the last reading.
func (m *RateMeter) Read(source string, at time.Time, count float64) {
	if count < 0 || math.IsNaN(count) || math.IsInf(count, 0) {
		return
	}
	before, seen := m.last[source]
	if seen && !at.After(before.at) {
		return
	}
	m.last[source] = reading{at, count}
	if !seen {
		return
	}
	delta := count - before.count
	if delta < 0 {
		delta = count
	}
	m.spread(before.at, at, delta)
	m.forget(at)
}

// spread divides what was counted over the slots between from and to.
func (m *RateMeter) spread(from, to time.Time, delta float64) {
	total := float64(to.Sub(from))
	first := max(m.slot(from), m.slot(to)-m.keep)
	for s := first; s <= m.slot(to); s++ {
		begin, end := m.start(s), m.start(s+1)
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		if part := end.Sub(begin); part > 0 {
			m.slots[s] += delta * float64(part) / total
			m.covered[s] = true
		}
	}
}

// forget drops what is older than anyone may ask for.
func (m *RateMeter) forget(at time.Time) {
	oldest := m.slot(at) - m.keep - settleSlots
	for s := range m.covered {
		if s < oldest {
			delete(m.slots, s)
			delete(m.covered, s)
		}
	}
	for name, r := range m.last {
		if m.slot(r.at) < oldest {
			delete(m.last, name)
		}
	}
}

// settleSlots is how many of the newest slots are not shown yet: sources are read one
// after the other, and a slot that only some of them have filled would look like a dip.
const settleSlots = 2

// Rate returns the points up to at, without the newest, which are still filling.
func (m *RateMeter) Rate(at time.Time) Rate {
	end := m.slot(at) - settleSlots // the last slot shown
	r := Rate{From: m.start(end - m.keep + 1), StepMS: m.step.Milliseconds(), PerSecond: make([]*float64, m.keep)}
	for i := range r.PerSecond {
		if s := end - m.keep + 1 + int64(i); m.covered[s] {
			v := math.Round(10*m.slots[s]/m.step.Seconds()) / 10
			r.PerSecond[i] = &v
		}
	}
	return r
}

func (m *RateMeter) slot(at time.Time) int64    { return at.UnixNano() / int64(m.step) }
func (m *RateMeter) start(slot int64) time.Time { return time.Unix(0, slot*int64(m.step)) }
