package state

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/haechi/haechi/core/journal"
)

// batch is how many entries are read at a time.
const batch = 500

// Journal returns up to limit entries from the one numbered from (1 is the
// first; limit 0 means 500), as this member has them; it needs no quorum. Verify them with journal.Verify.
func (s *Store) Journal(ctx context.Context, from uint64, limit int) ([]journal.Entry, error) {
	if limit <= 0 || limit > batch {
		limit = batch
	}
	resp, err := s.list(ctx, journalKey(from), clientv3.WithRange(clientv3.GetPrefixRangeEnd(keyJournal)), clientv3.WithLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	var out []journal.Entry
	for _, kv := range resp.Kvs {
		e, err := decode[journal.Entry](string(kv.Key), kv.Value)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// JournalHead returns the end of the journal, confirmed by the quorum.
func (s *Store) JournalHead(ctx context.Context) (journal.Head, error) {
	have, err := s.read(ctx, []string{keyHead})
	if err != nil {
		return journal.Head{}, fmt.Errorf("journal: %w", err)
	}
	return decode[journal.Head](keyHead, have[keyHead].value)
}

// FollowJournal calls f with every entry from the one numbered from, in order,
// those to come too, until ctx ends or f returns an error, which it returns.
func (s *Store) FollowJournal(ctx context.Context, from uint64, f func(journal.Entry) error) error {
	next, known := max(from, 1), uint64(0)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	news := s.Watch(ctx)
	for {
		entries, err := s.Journal(ctx, next, batch)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := f(e); err != nil {
				return err
			}
			next = e.Seq + 1
		}
		if len(entries) == 0 && known >= next && !sleep(ctx, pause) {
			return context.Cause(ctx) // etcd tells of a write a moment before reads show it
		}
		for known < next {
			snap, ok := <-news
			if !ok && ctx.Err() == nil {
				return errors.New("state: the store was closed")
			}
			if !ok {
				return context.Cause(ctx)
			}
			known = snap.LastJournal.Seq
		}
	}
}
