package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Unit is one thing on this host that orders are about: the host's side of a
// driver. The server has checked version, verb, term, epoch and hold before it calls.
type Unit interface {
	// Look answers [Status] and [Position]. It changes nothing, may run beside Do,
	// and must come back within its context also when the thing hangs.
	Look(ctx context.Context, o Order, m *Memory) (map[string]string, error)
	// Do carries out every other verb. The same order again must not act twice.
	// A *[Refusal] says that nothing was changed; another error that something may have been.
	Do(ctx context.Context, o Order, m *Memory) (map[string]string, error)
}

// SavesFirst is a unit whose Do saves to its memory before it changes anything. The
// order's term and epoch go to disk with that same write; for other units the server
// writes them by themselves before it calls Do.
type SavesFirst interface {
	Unit
	SavesFirst()
}

// Wakes is a unit of which something may have to hold on the host before any order comes,
// because of what is remembered of it; a machine that started again has forgotten it.
type Wakes interface {
	Unit
	// Wake is called once, when the agent starts. m cannot save.
	Wake(ctx context.Context, m *Memory) error
}

// Tends is a unit of which something is looked after all the time, orders or none.
type Tends interface {
	Unit
	// Tend works until ctx ends, in a goroutine of its own, and is waited for. It is called once, when
	// the agent begins to serve. m cannot save: what the unit is to be only orders say. While may
	// says no the host is held, and nothing must be changed.
	Tend(ctx context.Context, m *Memory, may func() bool)
}

// KeepsFiles is a unit some of whose files towers fetch and deposit.
type KeepsFiles interface {
	Unit
	// Files is the directory that holds them and nothing else. It is made when the first comes.
	Files() string
}

// Refusal is a unit's answer to an order that it does not carry out. Nothing was changed.
type Refusal struct {
	Code Code
	Why  string
}

// Error returns the reason in words.
func (r *Refusal) Error() string { return r.Why }

// Refuse returns a refusal with a reason in words.
func Refuse(c Code, format string, args ...any) error {
	return &Refusal{Code: c, Why: fmt.Sprintf(format, args...)}
}

// Memory is what an agent keeps of one unit on disk, outside the unit's own data.
// What it says survives the agent, the unit and the machine.
type Memory struct {
	epoch func() uint64
	load  func() json.RawMessage
	save  func(json.RawMessage) error
}

// Epoch is the highest that was ordered for the unit.
func (m *Memory) Epoch() uint64 { return m.epoch() }

// Load reads what was last saved into v; v is untouched where nothing was.
func (m *Memory) Load(v any) error {
	raw := m.load()
	if len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("what the agent remembers of the unit cannot be read: %w", err)
	}
	return nil
}

// Save returns only when v would survive a loss of power.
func (m *Memory) Save(v any) error {
	if m.save == nil {
		return errors.New("a look must not save")
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("remember: %w", err)
	}
	return m.save(raw)
}

// NewMemory returns a memory that is kept by the given functions; tests of units use it.
func NewMemory(epoch func() uint64, load func() json.RawMessage, save func(json.RawMessage) error) *Memory {
	return &Memory{epoch: epoch, load: load, save: save}
}
