package postgres

import (
	"fmt"
	"strings"
	"time"
)

// stopwatch notes how long the parts of an act took, for the journal.
type stopwatch struct {
	last time.Time
	laps []string
}

func startWatch() *stopwatch { return &stopwatch{last: time.Now()} }

// lap ends a part.
func (w *stopwatch) lap(name string) {
	now := time.Now()
	w.laps = append(w.laps, fmt.Sprintf("%s %.1fms", name, float64(now.Sub(w.last).Microseconds())/1000))
	w.last = now
}

// String lists the parts in order.
func (w *stopwatch) String() string { return strings.Join(w.laps, ", ") }
