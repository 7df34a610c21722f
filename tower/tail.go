package tower

import (
	"context"
	"sync"
	"time"

	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/web"
)

// tail holds the end of the journal for the page.
type tail struct {
	store *state.Store

	mu   sync.Mutex // guards what follows
	last []web.Line
}

func newTail(s *state.Store) *tail { return &tail{store: s} }

// follow reads until ctx ends.
func (t *tail) follow(ctx context.Context) {
	select {
	case <-t.store.Ready():
	case <-ctx.Done():
		return
	}
	from := uint64(1)
	if head := t.store.Snapshot().LastJournal.Seq; head > journalShown {
		from = head - journalShown
	}
	for ctx.Err() == nil {
		_ = t.store.FollowJournal(ctx, from, func(e journal.Entry) error {
			from = e.Seq + 1
			t.add(e)
			return nil
		})
		pause(ctx, time.Second)
	}
}

func (t *tail) add(e journal.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, web.Line{Seq: e.Seq, At: e.At, Tower: e.Tower, Kind: e.Kind, Text: e.Text})
	if len(t.last) > journalShown {
		t.last = append([]web.Line(nil), t.last[len(t.last)-journalShown:]...)
	}
}

// lines are the last entries, oldest first.
func (t *tail) lines() []web.Line {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]web.Line(nil), t.last...)
}
