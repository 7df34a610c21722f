package state

import (
	"maps"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// board is the snapshot while it is being kept. Only the goroutine of follow touches it.
type board struct {
	rev     int64
	snap    Snapshot
	head    journal.Head
	asks    map[string]Ask
	estates map[uint64][]byte // bytes seen, until the record that names them arrives
}

func newBoard() *board {
	return &board{
		asks: map[string]Ask{}, estates: map[uint64][]byte{},
		snap: Snapshot{
			Stores: map[estate.StoreID]situation.Store{}, Index: map[run.ID]RunInfo{}, Runs: map[run.ID][]run.Event{},
			Armed: map[string]Mark{}, Holds: map[string]Hold{}, Intents: map[estate.SiteID]situation.Intent{},
			Withdrawn: map[estate.NameID][]estate.SiteID{}, Returning: map[estate.NameID][]estate.SiteID{}, Salvages: map[string]situation.Salvage{},
		},
	}
}

func (b *board) applyAll(kvs []*mvccpb.KeyValue) error {
	for _, kv := range kvs {
		if err := b.apply(kv, false); err != nil {
			return err
		}
	}
	return nil
}

// apply takes over one key.
func (b *board) apply(kv *mvccpb.KeyValue, gone bool) error {
	key, value := string(kv.Key), kv.Value
	if gone {
		value = nil
	}
	switch key {
	case keyDrive:
		return into(&b.snap.Drive, key, value)
	case keyLine:
		return into(&b.snap.Line, key, value)
	case keyHead:
		return into(&b.head, key, value)
	case keyEstate:
		return into(&b.snap.Estate, key, value)
	case keyActs:
		b.snap.Acts = kv.ModRevision
		return nil
	case keyNextRun:
		b.snap.Opened = kv.ModRevision
		return nil
	}
	switch {
	case strings.HasPrefix(key, keyJournal):
		return into(&b.snap.LastJournal, key, value)
	case strings.HasPrefix(key, keyEstates):
		b.estates[versionOf(key)] = slices.Clone(value)
		return nil
	case strings.HasPrefix(key, keyRuns):
		return b.event(key, value)
	}
	for prefix, put := range map[string]func(string, string, []byte, bool) error{
		keyStores:    keep(b.snap.Stores),
		keyIndex:     keep(b.snap.Index),
		keyArmed:     keep(b.snap.Armed),
		keyHolds:     keep(b.snap.Holds),
		keyIntents:   keep(b.snap.Intents),
		keyWithdrawn: keep(b.snap.Withdrawn),
		keyReturning: keep(b.snap.Returning),
		keyAsks:      keep(b.asks),
		keySalvages:  keep(b.snap.Salvages),
	} {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			return put(name, key, value, gone)
		}
	}
	return nil // of a newer release
}

// event adds one event to a run.
func (b *board) event(key string, value []byte) error {
	id, ok := runOfEvent(key)
	if !ok {
		return nil
	}
	ev, err := decode[run.Event](key, value)
	if err != nil {
		return err
	}
	old := b.snap.Runs[id]
	b.snap.Runs[id] = append(old[:len(old):len(old)], ev) // snapshots share the old one
	return nil
}

// into decodes value into *p.
func into[T any](p *T, key string, value []byte) error {
	v, err := decode[T](key, value)
	if err == nil {
		*p = v
	}
	return err
}

// keep returns what takes records over into m.
func keep[K ~string, V any](m map[K]V) func(name, key string, value []byte, gone bool) error {
	return func(name, key string, value []byte, gone bool) error {
		if gone {
			delete(m, K(name))
			return nil
		}
		v, err := decode[V](key, value)
		if err == nil {
			m[K(name)] = v
		}
		return err
	}
}

// shown returns the runs whose events a snapshot holds: open ones, and those
// that were closed last.
func (b *board) shown() []run.ID {
	var out []run.ID
	closed := 0
	for _, id := range slices.Backward(sortedKeys(b.snap.Index)) {
		if !b.snap.Index[id].Open() {
			if closed++; closed > RecentRuns {
				continue
			}
		}
		out = append(out, id)
	}
	return out
}

// snapshot returns a copy that later changes leave alone.
func (b *board) snapshot() Snapshot {
	b.tidy()
	s := b.snap
	s.Revision = max(b.rev, 1)
	s.Stores, s.Index, s.Runs = maps.Clone(s.Stores), maps.Clone(s.Index), maps.Clone(s.Runs)
	s.Armed, s.Holds, s.Intents, s.Withdrawn = maps.Clone(s.Armed), maps.Clone(s.Holds), maps.Clone(s.Intents), maps.Clone(s.Withdrawn)
	s.Returning, s.Salvages, s.Asks = maps.Clone(s.Returning), maps.Clone(s.Salvages), nil
	for _, id := range sortedKeys(b.asks) {
		s.Asks = append(s.Asks, b.asks[id])
	}
	return s
}

// tidy drops what no snapshot shows any more.
func (b *board) tidy() {
	if raw, ok := b.estates[b.snap.Estate.Version]; ok {
		b.snap.EstateRaw = raw
		clear(b.estates)
	}
	if len(b.snap.Runs) > RecentRuns {
		show := b.shown()
		maps.DeleteFunc(b.snap.Runs, func(id run.ID, _ []run.Event) bool { return !slices.Contains(show, id) })
	}
}
