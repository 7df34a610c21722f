package state

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/situation"
)

// Store is one tower's way to the records. Its methods may be called at the same
// time. Every wait ends with its context, or after 10 s where that has no
// deadline; then the error is [ErrNoQuorum] and whether the write happened is unknown.
type Store struct {
	client *clientv3.Client
	tower  string
	log    *slog.Logger

	stop    context.CancelFunc
	stopped chan struct{} // closed when the watch has ended
	ready   chan struct{} // closed when the first snapshot is there
	latest  atomic.Pointer[Snapshot]
	cluster atomic.Uint64 // that answered last
	copied  bool          // see [OfCopy]

	mu       sync.Mutex // guards what follows
	watchers map[chan Snapshot]struct{}
}

// Option changes how a Store works.
type Option func(*Store)

// WithLog sets where the watch says that it had to start over.
func WithLog(l *slog.Logger) Option { return func(s *Store) { s.log = l } }

// OfCopy says that the records were made of a copy. They need not say so themselves: those of the release before
// do not tell whose they are.
func OfCopy() Option { return func(s *Store) { s.copied = true } }

// Open begins to follow the records through client, in the name of tower. It
// does not wait; [Store.Ready] says when the first snapshot is there. Close it before client.
func Open(client *clientv3.Client, tower string, opts ...Option) *Store {
	ctx, stop := context.WithCancel(context.Background())
	s := &Store{
		client: client, tower: tower, log: slog.New(slog.DiscardHandler),
		stop: stop, stopped: make(chan struct{}), ready: make(chan struct{}), watchers: map[chan Snapshot]struct{}{},
	}
	for _, o := range opts {
		o(s)
	}
	s.latest.Store(&Snapshot{})
	go func() {
		defer close(s.stopped)
		s.follow(ctx)
	}()
	return s
}

// Close ends the watch and closes the channels of [Store.Watch].
func (s *Store) Close() {
	s.stop()
	<-s.stopped
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.watchers {
		delete(s.watchers, c)
		close(c)
	}
}

// Drive returns who drives, confirmed by the quorum.
func (s *Store) Drive(ctx context.Context) (Drive, error) {
	have, err := s.read(ctx, []string{keyDrive})
	if err != nil {
		return Drive{}, fmt.Errorf("drive: %w", err)
	}
	return decode[Drive](keyDrive, have[keyDrive].value)
}

// Claim takes the drive over from whoever holds from, under the next term. It
// fails with [ErrDeposed] if somebody else was faster; the Drive returned is
// then the one that holds. It fails with [ErrOutOfLine] while nobody may drive; see [Line].
func (s *Store) Claim(ctx context.Context, from Drive) (Drive, error) {
	nonce := make([]byte, 8)
	if _, err := rand.Read(nonce); err != nil {
		return Drive{}, fmt.Errorf("claim: %w", err)
	}
	mine := Drive{Tower: s.tower, Term: from.Term + 1, Claim: hex.EncodeToString(nonce)}
	var holds Drive
	_, err := s.commit(ctx, []string{keyDrive, keyLine}, func(have records) (w writing, err error) {
		if holds, err = decode[Drive](keyDrive, have[keyDrive].value); err != nil {
			return w, err
		}
		if err := s.inLine(have, &w); err != nil {
			return w, err
		}
		if holds != from {
			return w, fmt.Errorf("state: claim of term %d: %w: %s holds term %d", mine.Term, ErrDeposed, holds.Tower, holds.Term)
		}
		w.entries = []journal.Entry{s.entry(mine.Term, "drive", s.tower, claimText(from, mine))}
		return w, w.put(keyDrive, mine)
	})
	if err != nil {
		return holds, err
	}
	return mine, nil
}

func claimText(from, to Drive) string {
	if from.Tower == "" {
		return fmt.Sprintf("%s drives under term %d, the first", to.Tower, to.Term)
	}
	return fmt.Sprintf("%s drives under term %d; %s drove under term %d", to.Tower, to.Term, from.Tower, from.Term)
}

// Append writes entries and changes in one transaction, if d still drives. Seq,
// Prev and Hash of the entries are filled; Tower, Term and At where they are empty. The
// entries are returned as they were written.
func (s *Store) Append(ctx context.Context, d Drive, entries []journal.Entry, changes ...Change) ([]journal.Entry, error) {
	return s.commit(ctx, append(keysOf(changes), keyDrive), func(have records) (w writing, err error) {
		if err := drives(d, have); err != nil {
			return w, err
		}
		w.entries = s.fill(d.Term, entries)
		return w, applyAll(changes, have, &w)
	})
}

// Note writes entries without changing anything, from any tower.
func (s *Store) Note(ctx context.Context, entries ...journal.Entry) ([]journal.Entry, error) {
	return s.commit(ctx, []string{keyDrive}, func(have records) (w writing, err error) {
		d, err := decode[Drive](keyDrive, have[keyDrive].value)
		w.entries = s.fill(d.Term, entries)
		return w, err
	})
}

// StoreRecord returns what the towers have agreed about a store, confirmed by
// the quorum; the zero value if they have not yet.
func (s *Store) StoreRecord(ctx context.Context, id estate.StoreID) (situation.Store, error) {
	have, err := s.read(ctx, []string{storeKey(id)})
	if err != nil {
		return situation.Store{}, fmt.Errorf("store %s: %w", id, err)
	}
	return decode[situation.Store](storeKey(id), have[storeKey(id)].value)
}

// Salvage returns one by its ID, confirmed by the quorum; the zero value where there is none.
func (s *Store) Salvage(ctx context.Context, id string) (situation.Salvage, error) {
	have, err := s.read(ctx, []string{salvageKey(id)})
	if err != nil {
		return situation.Salvage{}, fmt.Errorf("salvage %s: %w", id, err)
	}
	return decode[situation.Salvage](salvageKey(id), have[salvageKey(id)].value)
}

// Agreement is what plans rest on.
type Agreement struct {
	Stores    map[estate.StoreID]situation.Store
	Withdrawn map[estate.NameID][]estate.SiteID // whose answers are out of a name
	Returning map[estate.NameID][]estate.SiteID // of these, the ones that some name servers may give
}

// Agreed returns what the towers have agreed about stores and names, confirmed by the quorum and
// at one revision.
func (s *Store) Agreed(ctx context.Context, stores []estate.StoreID, names []estate.NameID) (Agreement, error) {
	out := Agreement{map[estate.StoreID]situation.Store{}, map[estate.NameID][]estate.SiteID{}, map[estate.NameID][]estate.SiteID{}}
	var keys []string
	for _, id := range stores {
		keys = append(keys, storeKey(id))
	}
	for _, id := range names {
		keys = append(keys, withdrawnKey(id), returningKey(id))
	}
	for some := range slices.Chunk(keys, readAtOnce) {
		have, err := s.read(ctx, some)
		if err != nil {
			return out, fmt.Errorf("what was agreed: %w", err)
		}
		for _, id := range stores {
			if err := agreed(out.Stores, id, storeKey(id), have); err != nil {
				return out, err
			}
		}
		for _, id := range names {
			if err := errors.Join(agreed(out.Withdrawn, id, withdrawnKey(id), have), agreed(out.Returning, id, returningKey(id), have)); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// agreed takes one record over, if it was read.
func agreed[K comparable, V any](into map[K]V, k K, key string, have records) error {
	r, ok := have[key]
	if !ok {
		return nil
	}
	v, err := decode[V](key, r.value)
	into[k] = v
	return err
}

// drives fails unless d is the drive in have.
func drives(d Drive, have records) error {
	holds, err := decode[Drive](keyDrive, have[keyDrive].value)
	if err != nil {
		return err
	}
	if holds != d {
		return fmt.Errorf("state: %s under term %d: %w: %s under term %d", d.Tower, d.Term, ErrDeposed, holds.Tower, holds.Term)
	}
	return nil
}

func (s *Store) entry(term uint64, kind, subject, text string) journal.Entry {
	return journal.Entry{At: time.Now(), Tower: s.tower, Term: term, Kind: kind, Subject: subject, Text: text}
}

// fill sets what the caller left empty.
func (s *Store) fill(term uint64, entries []journal.Entry) []journal.Entry {
	out := make([]journal.Entry, len(entries))
	for i, e := range entries {
		if e.At.IsZero() {
			e.At = time.Now()
		}
		if e.Tower == "" {
			e.Tower = s.tower
		}
		if e.Term == 0 {
			e.Term = term
		}
		out[i] = e
	}
	return out
}
