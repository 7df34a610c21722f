package tower

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/executor"
)

// spool is the journal of what a tower does without the others: a file of events on its
// own disk, each one there before anything rests on it. It is handed to the towers'
// journal when they are heard again.
type spool struct {
	path string
	site estate.SiteID
	on   func() (estate.Estate, map[estate.StoreID]situation.Store)

	mu     sync.Mutex // guards what follows
	events []run.Event
	size   int64 // of the file, as far as it is whole
}

var _ executor.Book = (*spool)(nil)

// openSpool reads what an earlier process left.
func openSpool(path string, site estate.SiteID, on func() (estate.Estate, map[estate.StoreID]situation.Store)) (*spool, error) {
	s := &spool{path: path, site: site, on: on}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("spool: %w", err)
	}
	for line := range bytes.Lines(data) {
		var ev run.Event
		if line[len(line)-1] != '\n' || json.Unmarshal(line, &ev) != nil {
			break // the end was cut off with the power; nothing rests on it, and it is overwritten
		}
		s.events, s.size = append(s.events, ev), s.size+int64(len(line))
	}
	return s, nil
}

// NewID numbers local runs by what the spool holds.
func (s *spool) NewID(context.Context) (run.ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 1
	for _, ev := range s.events {
		if ev.Kind == run.Opened {
			n++
		}
	}
	return run.ID(fmt.Sprintf("local-%s-%d", s.site, n)), nil
}

// Append writes events to the disk. Records do not change without the others. An append
// that failed leaves nothing that the next one, or the same again, would be added to.
func (s *spool) Append(_ context.Context, _ uint64, events []run.Event, _ executor.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines, err := inLines(events)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	defer f.Close()
	if err := f.Truncate(s.size); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if _, err := f.WriteAt(lines, s.size); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.events, s.size = append(s.events, events...), s.size+int64(len(lines))
	return nil
}

func inLines(events []run.Event) ([]byte, error) {
	var out []byte
	for _, ev := range events {
		line, err := json.Marshal(ev)
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		out = append(append(out, line...), '\n')
	}
	return out, nil
}

func (s *spool) Load(_ context.Context, id run.ID) ([]run.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []run.Event
	for _, ev := range s.events {
		if ev.Run == id {
			out = append(out, ev)
		}
	}
	return out, nil
}

// Store is what this tower knew of a store last.
func (s *spool) Store(_ context.Context, id estate.StoreID) (situation.Store, error) {
	_, stores := s.on()
	return stores[id], nil
}

// Salvage knows none: an isolated tower reads no member.
func (s *spool) Salvage(context.Context, string) (situation.Salvage, error) {
	return situation.Salvage{}, nil
}

func (s *spool) Estate(context.Context, uint64) (estate.Estate, error) {
	e, _ := s.on()
	return e, nil
}

// held are the events that the towers' journal does not have yet.
func (s *spool) held() []run.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// subject is what a local run is for.
type subject struct {
	kind plan.Kind
	name string
}

// standing are the newest local runs of each kind and subject since the site was let in
// again last, which takes them back.
func (s *spool) standing() map[subject]run.Run {
	events, out := s.held(), map[subject]run.Run{}
	for _, ev := range events {
		if ev.Kind != run.Opened {
			continue
		}
		if ev.Plan.Kind == plan.LevelDNS || ev.Plan.Kind == plan.OpenReads {
			clear(out)
			continue
		}
		of := slices.DeleteFunc(slices.Clone(events), func(other run.Event) bool { return other.Run != ev.Run })
		if r, err := run.Replay(of); err == nil {
			out[subject{ev.Plan.Kind, ev.Plan.Subject}] = r
		}
	}
	return out
}

// closed are the stores whose reads were ended, sorted.
func (s *spool) closed() []estate.StoreID {
	out := map[estate.StoreID]bool{}
	for _, ev := range s.held() {
		if ev.Kind == run.Opened && ev.Plan.Kind == plan.CloseReads {
			out[estate.StoreID(ev.Plan.Subject)] = true
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// forget drops the first n events once they stand in the towers' journal.
func (s *spool) forget(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := s.events[n:]
	lines, err := inLines(rest)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		err = os.Remove(s.path)
	} else if err = os.WriteFile(s.path+".new", lines, 0o600); err == nil {
		err = os.Rename(s.path+".new", s.path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("spool: %w", err)
	}
	s.events, s.size = slices.Clone(rest), int64(len(lines))
	return nil
}
