package agent

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errSuperseded ends an act for which a newer tower will not wait.
var errSuperseded = errors.New("a newer term has spoken")

// turn lets one order at a time change things. An order of a higher term ends
// the context of the one that is being carried out, so that a tower which was
// deposed cannot keep the host busy.
type turn struct {
	slot chan struct{}

	mu   sync.Mutex // guards what follows
	term uint64     // of the order that has the slot
	end  context.CancelCauseFunc
}

func newTurn() *turn { return &turn{slot: make(chan struct{}, 1)} }

// take waits for the slot. The returned context ends with ctx, or when a newer
// term asks; done gives the slot back.
func (t *turn) take(ctx context.Context, term uint64) (context.Context, func(), error) {
	t.mu.Lock()
	if t.end != nil && term > t.term {
		t.end(errSuperseded)
	}
	t.mu.Unlock()
	wait := time.NewTimer(waitTurn)
	defer wait.Stop()
	select {
	case t.slot <- struct{}{}:
	case <-wait.C:
		return nil, nil, Refuse(Busy, "another order is being carried out")
	case <-ctx.Done():
		return nil, nil, Refuse(Late, "nothing was done, another order is being carried out: %v", context.Cause(ctx))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	t.mu.Lock()
	t.term, t.end = term, cancel
	t.mu.Unlock()
	return ctx, func() {
		t.mu.Lock()
		t.term, t.end = 0, nil
		t.mu.Unlock()
		cancel(nil)
		<-t.slot
	}, nil
}
