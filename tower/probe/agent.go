package probe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/situation"
)

// AgentConfig says how agents are asked.
type AgentConfig struct {
	// Dial returns a caller for the agent of a host; it must not wait. A caller with a
	// method Close is closed when it is given up.
	Dial func(host, address string) (agent.Caller, error)
	// Units lists what is asked for; see [situation.Units].
	Units func(host string) []string
	// Facts is the time between two questions for the status of each unit; 500 ms
	// where it is zero. In between the agent is only asked whether it is there.
	Facts time.Duration
}

// Agent asks agents for the status of their units. The facts have keys "unit/key".
func Agent(c AgentConfig) Looker {
	if c.Facts == 0 {
		c.Facts = 500 * time.Millisecond
	}
	hosts := keyed(func(string) (*asked, error) { return &asked{c: c}, nil })
	return LookFunc(func(ctx context.Context, t situation.Target) (map[string]string, error) {
		h, _ := hosts(t.ID)
		facts, err := h.look(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", t.ID, err)
		}
		return facts, nil
	})
}

// keep is how many times [AgentConfig.Facts] facts are told that could not be renewed.
const keep = 4

// line is a caller, and the how manieth it is.
type line struct {
	agent.Caller
	number int
}

// asked is one agent.
type asked struct {
	c AgentConfig

	mu       sync.Mutex // guards what follows
	line     line
	heard    time.Time // when the caller had its last answer; zero: never
	timeouts int       // of a caller that has had none
	next     time.Time // when the status is due
	busy     bool      // somebody asks for it already
	of       time.Time // when the facts were told last
}

// look asks for the status of all units if that is due and nobody does so already; else
// only whether anybody is there.
func (h *asked) look(ctx context.Context, t situation.Target) (map[string]string, error) {
	began := time.Now()
	l, status, err := h.begin(t, began)
	if err != nil {
		return nil, err
	}
	var facts map[string]string
	if status {
		facts, err = statusOf(ctx, l, h.c.Units(t.Component))
	} else {
		_, err = ask(ctx, l, "") // there is no such unit: the agent answers, and looks at nothing
	}
	part, ok := errors.AsType[*Partly](err)
	if !ok {
		return h.end(l, began, time.Now(), status, facts, err)
	}
	if _, err := h.end(l, began, part.At, status, part.Facts, nil); err != nil {
		return nil, err
	}
	return nil, part
}

// statusOf asks for all units at once, so that one that hangs does not hide the others: that is
// [Partly] an answer. It fails otherwise if none has answered.
func statusOf(ctx context.Context, call agent.Caller, units []string) (map[string]string, error) {
	if len(units) == 0 {
		_, err := ask(ctx, call, "")
		return map[string]string{}, err
	}
	type reply struct {
		unit  string
		facts map[string]string
		err   error
	}
	replies := make(chan reply, len(units))
	for _, unit := range units {
		go func() {
			facts, err := ask(ctx, call, unit)
			replies <- reply{unit, facts, err}
		}()
	}
	out, failed := map[string]string{}, error(nil)
	var heard time.Time
	for range units {
		r := <-replies
		if r.err != nil {
			failed = r.err
			continue
		}
		if heard.IsZero() {
			heard = time.Now()
		}
		for k, v := range r.facts {
			out[r.unit+"/"+k] = v
		}
	}
	switch {
	case failed == nil:
		return out, nil
	case heard.IsZero():
		return nil, failed
	}
	return nil, &Partly{heard, out, failed}
}

// ask gives one order that changes nothing. A refusal is an answer, too.
func ask(ctx context.Context, c agent.Caller, unit string) (map[string]string, error) {
	a, err := c.Call(ctx, agent.Order{Version: 1, Verb: agent.Status, Unit: unit})
	if _, ok := errors.AsType[*agent.Refused](err); ok || err == nil {
		return a.Facts, nil
	}
	return nil, err
}

func (h *asked) begin(t situation.Target, now time.Time) (l line, status bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.line.Caller == nil {
		if h.line.Caller, err = h.c.Dial(t.Component, t.Address); err != nil {
			h.line.Caller = nil
			return line{}, false, err
		}
	}
	if !h.busy && !now.Before(h.next) {
		h.busy, h.next, status = true, now.Add(h.c.Facts), true
	}
	return h.line, status, nil
}

// end takes in what was learned, and when, by a look that began so long ago.
func (h *asked) end(l line, began, now time.Time, status bool, facts map[string]string, err error) (map[string]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if status {
		h.busy = false
	}
	if err != nil {
		h.giveUp(l, began, err)
		return nil, err
	}
	if h.line.number == l.number {
		h.heard, h.timeouts = now, 0
	}
	switch {
	case status:
		h.of = now
	case now.Sub(h.of) > keep*h.c.Facts:
		facts = map[string]string{}
	default:
		facts = nil
	}
	return facts, nil
}

// chances are how many looks a caller has that never worked.
const chances = 6

// giveUp drops a caller that worked and does not any more, since a connection from before
// a cut may hang long after it has healed. One that never did gets a second
// chance, since behind a slow link it takes longer to connect than a look may take.
func (h *asked) giveUp(l line, began time.Time, err error) {
	if h.line.number != l.number || h.heard.After(began) {
		return
	}
	h.timeouts++
	if h.heard.IsZero() && h.timeouts < chances && errors.Is(err, context.DeadlineExceeded) {
		return
	}
	if c, ok := l.Caller.(interface{ Close() }); ok {
		go c.Close()
	}
	h.line, h.heard, h.timeouts = line{number: l.number + 1}, time.Time{}, 0
}
