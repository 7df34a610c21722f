package tower

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/haechi/haechi/core/estate"
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
	on   func() (estate.Estate, uint64)

	mu     sync.Mutex // guards what follows
	events []run.Event
}

var _ executor.Book = (*spool)(nil)

// openSpool reads what an earlier process left.
func openSpool(path string, site estate.SiteID, on func() (estate.Estate, uint64)) (*spool, error) {
	s := &spool{path: path, site: site, on: on}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var ev run.Event
		if err := json.Unmarshal(lines.Bytes(), &ev); err != nil {
			break // the last line was cut off with the power; nothing rests on it
		}
		s.events = append(s.events, ev)
	}
	return s, lines.Err()
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

// Append writes events to the disk. Records do not change without the others.
func (s *spool) Append(_ context.Context, _ uint64, events []run.Event, _ executor.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	defer f.Close()
	for _, ev := range events {
		line, err := json.Marshal(ev)
		if err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		if _, err := f.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.events = append(s.events, events...)
	return nil
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

func (s *spool) Store(context.Context, estate.StoreID) (situation.Store, error) {
	return situation.Store{}, nil
}

func (s *spool) Estate(context.Context, uint64) (estate.Estate, error) {
	e, _ := s.on()
	return e, nil
}

// held are the events that the towers' journal does not have yet.
func (s *spool) held() []run.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

// clear empties the spool once its events stand in the towers' journal.
func (s *spool) clear() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("spool: %w", err)
	}
	s.events = nil
	return nil
}
