package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/haechi/haechi/lab/talk"
)

// feed keeps what a load reports, line by line, so that the load never waits for
// its reader.
type feed struct {
	watch func(talk.Event) // called for each; may be nil

	mu   sync.Mutex // guards what follows
	rest []byte     // a line whose end has not come
	all  []talk.Event
	more chan struct{} // closed when there is more
}

func newFeed(watch func(talk.Event)) *feed { return &feed{watch: watch, more: make(chan struct{})} }

// Write takes the load's standard output. Lines that are no event are left out.
func (f *feed) Write(p []byte) (int, error) {
	for _, e := range f.take(p) {
		if f.watch != nil {
			f.watch(e)
		}
	}
	return len(p), nil
}

func (f *feed) take(p []byte) (fresh []talk.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rest = append(f.rest, p...)
	for {
		line, rest, whole := bytes.Cut(f.rest, []byte("\n"))
		if !whole {
			break
		}
		var e talk.Event
		if json.Unmarshal(line, &e) == nil {
			fresh = append(fresh, e)
		}
		f.rest = rest
	}
	f.all = append(f.all, fresh...)
	if len(fresh) > 0 {
		close(f.more)
		f.more = make(chan struct{})
	}
	return fresh
}

// seen returns all events so far; more is closed when there is another.
func (f *feed) seen() (all []talk.Event, more <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all[:len(f.all):len(f.all)], f.more
}

// await returns true when ok likes what was reported so far, false when the time
// is over or the load has ended.
func (f *feed) await(ctx context.Context, most time.Duration, ended <-chan struct{}, ok func([]talk.Event) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		all, more := f.seen()
		if ok(all) {
			return true
		}
		select {
		case <-more:
		case <-ended:
			all, _ := f.seen()
			return ok(all)
		case <-ctx.Done():
			return false
		}
	}
}

// rates are the last n counts of acknowledgements, each of a tenth of a second.
func rates(all []talk.Event, n int) []int {
	var out []int
	for i := len(all) - 1; i >= 0 && len(out) < n; i-- {
		if all[i].Kind == "rate" {
			out = append(out, all[i].Acked)
		}
	}
	return out
}

// total is how many messages were acknowledged so far.
func total(all []talk.Event) int {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Kind == "rate" {
			return all[i].Total
		}
	}
	return 0
}

// steady says whether acknowledgements came at the wanted rate for as long as n
// counts, without a hole of three counts in which messages were due.
func steady(all []talk.Event, n int, perSecond float64) bool {
	last := rates(all, n)
	if len(last) < n {
		return false
	}
	sum, hole := 0, 0
	for _, c := range last {
		if sum += c; c > 0 {
			hole = 0
		} else if hole++; hole > 2 && float64(hole)*perSecond/10 > 10 {
			return false
		}
	}
	return float64(sum) >= 0.85*perSecond*float64(n)/10
}

// happened says whether an event about a mark was reported.
func happened(kind, mark string) func([]talk.Event) bool {
	return func(all []talk.Event) bool {
		for _, e := range all {
			if e.Kind == kind && e.Mark == mark {
				return true
			}
		}
		return false
	}
}
