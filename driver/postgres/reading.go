package postgres

import (
	"context"
	"sync"

	"github.com/haechi/haechi/core/situation"
)

// reading is the work of reading what only this member holds. It is begun by an order and goes on
// beside others; the same order again asks how far it is. It changes nothing that is remembered: the
// order that finds it ended does.
type reading struct {
	mu     sync.Mutex // guards what follows
	cancel context.CancelFunc
	ended  chan struct{} // nil: nothing was begun
	says   string        // how far it is, for people
	result readResult
	err    error
}

// readResult is what came of it.
type readResult struct {
	salvage situation.Salvage
	stand   LSN
	partial bool // something could not be read that may hold rows
}

// States of a salvage in an agent's facts.
const (
	readingNow    = "reading"
	readingDone   = "done"
	readingAsks   = "unreadable" // or a part of it: people have to accept that
	factReading   = "salvage/state"
	factProgress  = "salvage/phase"
	factSalvage   = "salvage"
	factSalvageOK = "salvage/kept"
)

// begin starts the work, unless it is begun.
func (r *reading) begin(work func(ctx context.Context, say func(string)) (readResult, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	r.cancel, r.ended, r.says, r.result, r.err = cancel, ended, "begins", readResult{}, nil
	go func() {
		defer close(ended)
		defer cancel()
		result, err := work(ctx, r.say)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.result, r.err = result, err
	}()
}

func (r *reading) say(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.says = what
}

// ask says whether work was begun, and, where it has ended, what came of it.
func (r *reading) ask() (begun, over bool, result readResult, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == nil {
		return false, false, readResult{}, nil
	}
	select {
	case <-r.ended:
		return true, true, r.result, r.err
	default:
		return true, false, readResult{}, nil
	}
}

// forget drops what came of it, so that it can begin again.
func (r *reading) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = nil
}

// giveUp ends the work and does not wait for it. What asks next hears that it failed.
func (r *reading) giveUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		r.cancel()
	}
}

// stop ends the work, waits for it and forgets it.
func (r *reading) stop() {
	r.mu.Lock()
	cancel, ended := r.cancel, r.ended
	r.mu.Unlock()
	if ended == nil {
		return
	}
	cancel()
	<-ended
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == ended {
		r.ended = nil
	}
}

// facts adds to a look how far it is.
func (r *reading) facts(f map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == nil {
		return
	}
	select {
	case <-r.ended:
	default:
		f[factReading], f[factProgress] = readingNow, r.says
	}
}
