package demo

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// line is one thing that happened, for people.
type line struct {
	at   time.Time
	word string // what kind of thing, in one word
	text string
	loud bool // stands out where the terminal can do that
}

// script prints lines in the order in which they happened, although they are
// heard of in another: it holds each back for a moment.
type script struct {
	out   io.Writer
	color bool

	mu      sync.Mutex // guards what follows
	fire    time.Time  // zero before it
	waiting []line
}

// holdBack is how much later than another source a line may be heard of.
const holdBack = 700 * time.Millisecond

func newScript(out io.Writer, color bool) *script { return &script{out: out, color: color} }

// add takes a line that happened at some time. Lines that happened before the
// fire and are heard of after it keep their place.
func (s *script) add(l line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, l)
}

// say takes a line that happens now.
func (s *script) say(word, format string, args ...any) {
	s.add(line{at: time.Now(), word: word, text: fmt.Sprintf(format, args...)})
}

// now prints a line at once, before everything that waits.
func (s *script) now(word, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.out, s.drawLocked(line{at: time.Now(), word: word, text: text}))
}

// burn says when the fire was: times are told from then on.
func (s *script) burn(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fire = at
}

// burning says whether the fire was.
func (s *script) burning() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.fire.IsZero()
}

// flush prints what happened before an instant.
func (s *script) flush(before time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortStableFunc(s.waiting, func(a, b line) int { return a.at.Compare(b.at) })
	n, _ := slices.BinarySearchFunc(s.waiting, before, func(l line, t time.Time) int { return cmp.Or(l.at.Compare(t), -1) })
	for _, l := range s.waiting[:n] {
		fmt.Fprintln(s.out, s.drawLocked(l))
	}
	s.waiting = slices.Clone(s.waiting[n:])
}

// drawLocked writes one line, long texts over several.
func (s *script) drawLocked(l line) string {
	if l.text == "" {
		return ""
	}
	when := ""
	if !s.fire.IsZero() && !l.at.Before(s.fire.Add(-time.Second)) {
		when = fmt.Sprintf("T%+.2fs", l.at.Sub(s.fire).Seconds())
	}
	rows := wrap(l.text, 96)
	out := fmt.Sprintf("%9s  %-8s  %s", when, l.word, strings.Join(rows, "\n"+strings.Repeat(" ", 21)))
	if l.loud && s.color {
		out = "\x1b[1m" + out + "\x1b[0m"
	}
	return out
}

// wrap breaks a text at spaces into rows of at most width letters where it can.
func wrap(text string, width int) []string {
	if len([]rune(text)) <= width {
		return []string{text} // with its columns
	}
	var rows []string
	row, length := "", 0
	for _, word := range strings.Fields(text) {
		n := len([]rune(word))
		if length > 0 && length+1+n > width {
			rows, row, length = append(rows, row), "", 0
		}
		if length > 0 {
			row, length = row+" ", length+1
		}
		row, length = row+word, length+n
	}
	return append(rows, row)
}
