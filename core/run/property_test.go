package run_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
)

// witness checks the numbered invariants of run.Run from the log alone, by slow and
// obvious means.
type witness struct {
	p        plan.Plan
	last     map[int]run.Event // the last event of each step
	begun    map[int]bool      // in the world, as far as anybody knows
	promoted map[string]bool   // components whose promotion began
	takes    string
	aborted  bool
	super    bool
	term     uint64
	closed   bool
}

// tell takes the next event and says which invariant it breaks.
func (w *witness) tell(ev run.Event) error {
	if w.closed {
		return fmt.Errorf("5: %s after the end", ev.Kind)
	}
	if ev.Term < w.term || (ev.Term > w.term && ev.Kind != run.Claimed && ev.Kind != run.Opened) {
		return fmt.Errorf("3: term %d after %d by %s", ev.Term, w.term, ev.Kind)
	}
	w.term = ev.Term
	switch ev.Kind {
	case run.Began:
		return w.began(ev)
	case run.UndoBegan:
		s := w.p.Steps[ev.Step-1]
		if w.promoted[s.Component] && (s.Undo == plan.Unseal || s.Undo == plan.Start) {
			return fmt.Errorf("4: %s is undone after the promotion began", s.Verb)
		}
	case run.UndoEnded:
		if ev.Outcome == run.Done {
			w.undone(ev.Step)
			return nil
		}
	case run.Claimed: // whatever was in flight, nobody here will hear its end
		w.takes = ""
		for id, l := range w.last {
			if l.Kind == run.Began || l.Kind == run.UndoBegan {
				w.last[id] = run.Event{Kind: run.Ended, Outcome: run.Unknown}
			}
		}
	case run.Superseded:
		w.super, w.takes = true, ev.Facts["takes"]
	case run.Closed:
		w.closed = true
		if strings.Contains(ev.Why, "could not be undone") {
			return nil
		}
		if err := w.end(); err != nil || w.super {
			return err
		}
		return w.calledBack()
	}
	if ev.Step > 0 && ev.Kind != run.Asked && ev.Kind != run.Approved {
		w.last[ev.Step] = ev
	}
	return nil
}

func (w *witness) began(ev run.Event) error {
	s := w.p.Steps[ev.Step-1]
	for _, a := range s.After {
		if l := w.last[a]; l.Kind != run.Ended || l.Outcome != run.Done {
			return fmt.Errorf("1: step %d begins before step %d is done", s.ID, a)
		}
	}
	for _, below := range w.p.Steps[:s.ID-1] {
		if l := w.last[below.ID]; below.Component == s.Component && (l.Kind != run.Ended || l.Outcome != run.Done) {
			return fmt.Errorf("1: step %d begins on step %d, of which the last is %s %s", s.ID, below.ID, l.Kind, l.Outcome)
		}
	}
	if l, ok := w.last[s.ID]; ok && (l.Kind != run.Ended || l.Outcome != run.NotDone) {
		return fmt.Errorf("2: step %d begins again after %s %s", s.ID, l.Kind, l.Outcome)
	}
	if w.super && !(s.Verb == plan.Promote && w.promoted[s.Component]) {
		return fmt.Errorf("step %d begins in a run that was superseded", s.ID)
	}
	w.last[s.ID], w.begun[s.ID] = ev, true
	w.promoted[s.Component] = w.promoted[s.Component] || s.Verb == plan.Promote
	return nil
}

// undone forgets a step and those of its component after it.
func (w *witness) undone(id int) {
	for _, s := range w.p.Steps[id-1:] {
		if s.Component == w.p.Steps[id-1].Component {
			delete(w.last, s.ID)
			w.begun[s.ID] = false
		}
	}
}

func (w *witness) end() error {
	for id, l := range w.last {
		if l.Kind == run.Began || l.Kind == run.UndoBegan {
			return fmt.Errorf("6: closed while step %d is in flight", id)
		}
	}
	for _, s := range w.p.Steps {
		taken := strings.Contains(","+w.takes+",", ","+s.Component+",")
		if w.begun[s.ID] && (s.Undo == plan.Unseal || s.Undo == plan.Start) && !w.promoted[s.Component] && !taken {
			return fmt.Errorf("6: closed while %s is left %s", s.Component, s.Verb)
		}
	}
	return nil
}

// calledBack holds that no users are left where nobody watched them to the last stage.
func (w *witness) calledBack() error {
	for _, s := range w.p.Steps {
		if s.Undo != plan.Withdraw || !w.begun[s.ID] {
			continue
		}
		for _, other := range w.p.Steps {
			if l := w.last[other.ID]; other.Component == s.Component && (l.Kind != run.Ended || l.Outcome != run.Done) {
				return fmt.Errorf("7: closed while users are left at %s, of which step %d did not end well", s.Component, other.ID)
			}
		}
	}
	return nil
}

// carried is a run in a world of chance, with its witness.
type carried struct {
	*log
	w    *witness
	took estate.Duration // by the next attempt
}

func newCarried(t *rapid.T, p plan.Plan) *carried {
	c := &carried{log: open(p), w: &witness{p: p, last: map[int]run.Event{}, begun: map[int]bool{}, promoted: map[string]bool{}}}
	c.check(t, 0)
	return c
}

func (c *carried) check(t *rapid.T, from int) {
	for _, ev := range c.events[from:] {
		if err := c.w.tell(ev); err != nil {
			t.Fatalf("%v\n%s\n%s", err, c.history(), c.r)
		}
	}
	if again, err := run.Replay(c.events); err != nil || again.String() != c.r.String() {
		t.Fatalf("the log does not replay: %v", err)
	}
}

func (c *carried) history() string {
	var b strings.Builder
	for _, ev := range c.events {
		fmt.Fprintln(&b, run.Text(ev))
	}
	return b.String()
}

// put writes an event that the machine must take.
func (c *carried) put(t *rapid.T, ev run.Event) {
	from := len(c.events)
	if err := c.add(ev); err != nil {
		t.Fatalf("the machine refuses what it wanted: %v\n%s", err, c.history())
	}
	c.check(t, from)
}

// try writes an event that the machine may refuse.
func (c *carried) try(t *rapid.T, ev run.Event) {
	from := len(c.events)
	if c.add(ev) == nil {
		c.check(t, from)
	}
}

// obey does one of the things that the machine wants, or ends one that is in flight.
// outcome decides how attempts end. It says whether there was anything to do.
func (c *carried) obey(t *rapid.T, pick func(n int) int, outcome func() run.Outcome) bool {
	var can []func()
	for i, p := range c.r.Steps {
		switch p.State {
		case run.Doing:
			can = append(can, func() { c.put(t, run.Event{Kind: run.Ended, Step: i + 1, Outcome: outcome(), Took: c.took}) })
		case run.Undoing:
			can = append(can, func() { c.put(t, run.Event{Kind: run.UndoEnded, Step: i + 1, Outcome: outcome()}) })
		}
	}
	for _, cmd := range c.r.Next() {
		switch cmd.Kind {
		case run.Do:
			can = append(can, func() { c.put(t, run.Event{Kind: run.Began, Step: cmd.Step}) })
		case run.UndoStep:
			can = append(can, func() { c.put(t, run.Event{Kind: run.UndoBegan, Step: cmd.Step}) })
		case run.Look:
			can = append(can, func() { c.put(t, run.Event{Kind: run.Ended, Step: cmd.Step, Outcome: outcome(), Took: c.took}) })
		case run.AskPerson:
			can = append(can, func() { c.put(t, run.Event{Kind: run.Asked, Step: cmd.Step, Why: cmd.Why}) })
		case run.Close:
			can = append(can, func() { c.put(t, run.Event{Kind: run.Closed, Why: cmd.Why}) })
		}
	}
	if len(can) == 0 {
		return false
	}
	can[pick(len(can))]()
	return true
}

func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]plan.Kind{plan.LoseSite, plan.Evacuate, plan.Serve, plan.Recover}).Draw(t, "kind")
		c := newCarried(t, chain(kind, []string{"a", "b"}[:rapid.IntRange(1, 2).Draw(t, "stores")]...))
		pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }
		outcome := func() run.Outcome {
			return rapid.SampledFrom([]run.Outcome{run.Done, run.Done, run.Done, run.NotDone, run.Unknown}).Draw(t, "outcome")
		}
		for range rapid.IntRange(0, 60).Draw(t, "length") {
			c.took = estate.Duration(rapid.SampledFrom([]time.Duration{0, 100 * time.Millisecond, 2 * time.Second}).Draw(t, "took"))
			c.chance(t, pick, outcome)
			if quick, each := c.r.WantedOfEach(); join(quick) != join(each) {
				t.Fatalf("a step that wants something is passed over:\n%s\nwants %s, asked one by one %s", c.r, join(quick), join(each))
			}
		}
		c.calm(t)
	})
}

// chance does something legal or not: mostly what the machine wants, sometimes what people
// or crashes do, sometimes nonsense.
func (c *carried) chance(t *rapid.T, pick func(int) int, outcome func() run.Outcome) {
	step := rapid.IntRange(0, len(c.r.Steps)).Draw(t, "step")
	switch rapid.IntRange(0, 24).Draw(t, "what") {
	case 0:
		c.term++
		if c.r.Closed != "" {
			c.term--
			return
		}
		c.put(t, run.Event{Kind: run.Claimed})
	case 1:
		c.try(t, run.Event{Kind: run.Paused, By: "kim"})
	case 2:
		c.try(t, run.Event{Kind: run.Resumed, By: "kim"})
	case 3:
		c.try(t, run.Event{Kind: run.Approved, Step: step, By: "kim"})
	case 4:
		if pick(3) == 0 {
			c.try(t, run.Event{Kind: run.Aborted, By: "kim"})
		}
	case 5:
		if pick(3) == 0 {
			c.try(t, run.Event{Kind: run.Superseded, Facts: run.Facts{run.FactTakes: []string{"", "a", "a,b"}[pick(3)]}})
		}
	case 6:
		c.try(t, run.Event{Kind: run.Asked, Step: step, Why: "?"})
	case 7: // whatever it is, it is refused or it breaks no invariant
		kind := rapid.SampledFrom([]run.EventKind{run.Began, run.Ended, run.UndoBegan, run.UndoEnded, run.Closed, "nonsense"}).Draw(t, "kind")
		c.try(t, run.Event{Kind: kind, Step: step, Outcome: outcome(), Why: "done"})
	default:
		c.obey(t, pick, outcome)
	}
}

// calm lets all go well from now on: then every run comes to its end.
func (c *carried) calm(t *rapid.T) {
	for range 300 {
		if c.r.Closed != "" {
			return
		}
		if c.obey(t, func(int) int { return 0 }, func() run.Outcome { return run.Done }) {
			continue
		}
		if c.r.Paused != "" {
			c.put(t, run.Event{Kind: run.Resumed, By: "kim"})
			continue
		}
		c.put(t, run.Event{Kind: run.Approved, By: fmt.Sprint("person ", len(c.events))})
	}
	t.Fatalf("it does not end:\n%s\n%s\nwants %s", c.history(), c.r, join(c.r.Next()))
}

// For every prefix of a log, a successor that finds the world as it is ends where the
// first would have ended, and does nothing twice without a look.
func TestEveryPrefixEndsInTheSamePlace(t *testing.T) {
	for _, kind := range []plan.Kind{plan.LoseSite, plan.Evacuate, plan.Recover} {
		whole, _ := carryAll(t, nil, kind, 1)
		for n := 1; n < len(whole.events); n++ {
			again, did := carryAll(t, whole.events[:n], kind, 2)
			if again.r.Closed != whole.r.Closed {
				t.Fatalf("%s after %d events: closed with %q", kind, n, again.r.Closed)
			}
			for id, times := range did {
				if times != 1 {
					t.Errorf("%s after %d events: step %d was done %d times", kind, n, id, times)
				}
			}
		}
	}
}

// carryAll carries a run to its end, from a prefix of its log. In the prefix every step
// that began was done in the world, so that a look finds it. It counts how often each was done.
func carryAll(t *testing.T, prefix []run.Event, kind plan.Kind, term uint64) (*log, map[int]int) {
	t.Helper()
	did := map[int]int{}
	l := open(chain(kind, "a", "b"))
	if prefix != nil {
		r, err := run.Replay(prefix)
		if err != nil {
			t.Fatal(err)
		}
		l = &log{r: r, events: prefix[:len(prefix):len(prefix)], now: l.now, term: term}
		for _, ev := range prefix {
			if ev.Kind == run.Began {
				did[ev.Step]++
			}
		}
		must(t, l.add(run.Event{Kind: run.Claimed}))
	}
	for l.r.Closed == "" {
		for _, cmd := range l.r.Next() {
			switch cmd.Kind {
			case run.Do:
				must(t, l.add(run.Event{Kind: run.Began, Step: cmd.Step}))
				did[cmd.Step]++
				must(t, l.add(run.Event{Kind: run.Ended, Step: cmd.Step, Outcome: run.Done}))
			case run.Look:
				must(t, l.add(run.Event{Kind: run.Ended, Step: cmd.Step, Outcome: run.Done}))
			case run.Close:
				must(t, l.add(run.Event{Kind: run.Closed, Why: cmd.Why}))
			default:
				t.Fatalf("wants %s", cmd)
			}
		}
	}
	return l, did
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
