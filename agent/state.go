package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// stateVersion is the format of the state file.
const stateVersion = 1

// kept is the state file: what must never be forgotten.
type kept struct {
	Version int                 `json:"version"`
	Term    uint64              `json:"term"`
	Lines   []string            `json:"lines,omitempty"` // see Answer
	Units   map[string]unitKept `json:"units"`
}

// unitKept is what is kept of one unit.
type unitKept struct {
	Epoch uint64          `json:"epoch"`
	Data  json.RawMessage `json:"data,omitempty"`
}

// state is the state file and its last content. The content in memory is never
// newer than the file: a change is on disk before it shows.
type state struct {
	path string

	mu  sync.Mutex // guards now
	now kept
}

// openState reads the file; a missing one is an agent that has seen nothing yet. It
// proves that the file can be written before the first order comes.
func openState(path string) (*state, error) {
	s := &state{path: path, now: kept{Version: stateVersion, Units: map[string]unitKept{}}}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("state: %w", err)
		}
		return s, s.write(s.now)
	}
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if err := json.Unmarshal(raw, &s.now); err != nil {
		return nil, fmt.Errorf("state: %s cannot be read (%w); without it old orders cannot be told from new ones: restore it, or ask a tower for its term and epochs and write them by hand", path, err)
	}
	if s.now.Version != stateVersion {
		return nil, fmt.Errorf("state: %s has version %d, this agent knows %d", path, s.now.Version, stateVersion)
	}
	if s.now.Units == nil {
		s.now.Units = map[string]unitKept{}
	}
	return s, s.write(s.now)
}

// seen returns the highest term, and the highest epoch of unit.
func (s *state) seen(unit string) (term, epoch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.Term, s.now.Units[unit].Epoch
}

// GivenUp says of towers whose records are of a line that an agent has gone by others since. A person has had those go on
// without them; that they do not know of it, and that their term may have risen meanwhile, changes nothing.
func GivenUp(lines []string, line string) bool {
	i := slices.Index(lines, line)
	return i >= 0 && i < len(lines)-1
}

// current is the same of what is kept.
func (s *state) current(line string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.current(line)
}

// lines are those of the towers that were followed.
func (s *state) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.Lines
}

// follow has the agent go by the towers of an order's line from now on, or refuses them; "" is by nobody's records.
func (s *state) follow(o Order) error {
	return s.order(o, func(k *kept) bool {
		if o.Line == "" || slices.Contains(k.Lines, o.Line) {
			return false
		}
		k.Lines = append(slices.Clone(k.Lines), o.Line)
		return true
	})
}

// raise lifts term and the unit's epoch to at least those of an order.
func (s *state) raise(o Order) error {
	return s.order(o, func(k *kept) bool { return k.raise(o.Unit, o.Term, o.Epoch) })
}

// order is change for an order. Its towers may have been given up since it was admitted, by a question that was answered
// with what was on disk then; nothing is written any more that was not told.
func (s *state) order(o Order, edit func(*kept) bool) error {
	var given error
	err := s.change(func(k *kept) bool {
		given = k.current(o.Line)
		return given == nil && edit(k)
	})
	return errors.Join(given, err)
}

// current refuses towers that were given up.
func (k *kept) current(line string) error {
	if GivenUp(k.Lines, line) {
		return Refuse(OldLine, "order of towers whose records are of line %s; since then this agent goes by those of line %s, which were restored, recovered or begun anew", line, k.Lines[len(k.Lines)-1])
	}
	return nil
}

// raise says whether anything rose.
func (k *kept) raise(unit string, term, epoch uint64) bool {
	u := k.Units[unit]
	if term <= k.Term && epoch <= u.Epoch {
		return false
	}
	k.Term, u.Epoch = max(k.Term, term), max(u.Epoch, epoch)
	k.Units[unit] = u
	return true
}

// change writes the edited state and keeps it only if the write went well.
func (s *state) change(edit func(*kept) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.now
	next.Units = maps.Clone(s.now.Units)
	if !edit(&next) {
		return nil
	}
	if err := s.write(next); err != nil {
		return err
	}
	s.now = next
	return nil
}

func (s *state) write(k kept) error {
	raw, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return WriteDurably(s.path, append(raw, '\n'), 0o600)
}

// memory returns the unit's part for a look, which cannot save.
func (s *state) memory(unit string) *Memory {
	return &Memory{
		epoch: func() uint64 { _, e := s.seen(unit); return e },
		load: func() json.RawMessage {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.now.Units[unit].Data
		},
	}
}

// writable returns the unit's part for an order: what it saves goes to disk together
// with the order's term and epoch.
func (s *state) writable(o Order) *Memory {
	m := s.memory(o.Unit)
	m.epoch = func() uint64 { _, e := s.seen(o.Unit); return max(e, o.Epoch) }
	m.save = func(raw json.RawMessage) error {
		return s.order(o, func(k *kept) bool {
			k.raise(o.Unit, o.Term, o.Epoch)
			u := k.Units[o.Unit]
			u.Data = raw
			k.Units[o.Unit] = u
			return true
		})
	}
	return m
}
