package simulate

import (
	"fmt"
	"strconv"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
)

// epoch is when a simulated loss happens; only the differences count.
var epoch = time.Unix(0, 0).UTC()

// undoLeast and lookLimit are the executor's: what an undo and a look are given at least and at most.
const (
	undoLeast = 5 * time.Second
	lookLimit = 3 * time.Second
)

// tower is as the executor that carries a run, in virtual time: it asks the machine what it wants,
// and answers as the world might.
type tower struct {
	o      *once
	r      run.Run
	flying map[int]bool // looks that are under way; attempts and undos the machine knows itself
	doubt  map[int]bool // steps of which nobody heard how they ended, though they may have been done
	last   int          // of the log, for a plan that begins with nothing
	items  []int        // by step: its last item of the log
	asks   []int        // by step: how often a person let it try again
}

// mostAsks is how often people let a step try again before they move what it is about by hand.
const mostAsks = 3

// open opens a run, after the people who have to agree have done so.
func (o *once) open(i int, because int) {
	open := &o.s.openings[i]
	t := &tower{o: o, flying: map[int]bool{}, doubt: map[int]bool{}, last: because, items: make([]int, len(open.plan.Steps)), asks: make([]int, len(open.plan.Steps))}
	for i := range t.items {
		t.items[i] = -1
	}
	t.put(run.Event{Run: runID(i), Kind: run.Opened, Term: 1, Plan: &open.plan})
	if open.people == 0 {
		t.drive()
		return
	}
	t.put(run.Event{Kind: run.Asked, Why: open.why, Facts: run.Facts{run.FactPeople: strconv.Itoa(open.people)}})
	t.answer(0, open.people)
}

// put writes an event. The machine takes whatever it asked for; where it does not, that is our bug.
func (t *tower) put(ev run.Event) {
	if ev.Run == "" {
		ev.Run = t.r.ID
	}
	ev.Seq, ev.Term, ev.At = t.r.Seq+1, 1, epoch.Add(t.o.now)
	if err := t.r.Take(ev); err != nil {
		panic(fmt.Sprintf("simulate: the machine refuses what it wanted: %v", err))
	}
}

// answer has so many people agree, one after the other.
func (t *tower) answer(step, people int) {
	began := t.o.now
	var next func(n int)
	next = func(n int) {
		t.o.in(t.o.s.model.Answer.Draw(t.o.c), func() {
			t.put(run.Event{Kind: run.Approved, Step: step, By: fmt.Sprintf("person %d", n)})
			if n < people {
				next(n + 1)
				return
			}
			t.last = t.o.log(item{kind: asked, at: -1, from: began, to: t.o.now, after: t.last})
			if step > 0 {
				t.items[step-1] = t.last
			}
			t.drive()
		})
	}
	next(1)
}

// drive does what the machine wants until it wants nothing new.
func (t *tower) drive() {
	for again := true; again; {
		again = false
		for _, c := range t.r.Next() {
			if !t.obey(c) {
				continue
			}
			again = true
			if c.Kind != run.Do { // what it wants may have changed; that a step begins makes no other want less
				break
			}
		}
	}
}

// obey does one thing that is wanted, and says whether it was new.
func (t *tower) obey(c run.Command) bool {
	switch c.Kind {
	case run.Do:
		t.begin(c.Step)
	case run.Look:
		if t.flying[c.Step] {
			return false
		}
		t.look(c.Step)
	case run.UndoStep:
		t.undo(c.Step)
	case run.AskPerson:
		people := max(c.People, 1)
		t.put(run.Event{Kind: run.Asked, Step: c.Step, Why: c.Why, Facts: run.Facts{run.FactPeople: strconv.Itoa(people)}})
		if t.asks[c.Step-1]++; t.asks[c.Step-1] > mostAsks {
			t.o.instead(t.r.Plan.Steps[c.Step-1].Component)
			break
		}
		t.answer(c.Step, people)
	case run.Close:
		t.put(run.Event{Kind: run.Closed, Why: c.Why})
	case run.Cease:
		return false // nobody supersedes or aborts here
	}
	return true
}

// begin begins a step, and draws how long it takes and how it ends.
func (t *tower) begin(step int) {
	s := t.r.Plan.Steps[step-1]
	began, left := t.o.now, t.r.Left(step)
	t.put(run.Event{Kind: run.Began, Step: step})
	took := t.o.s.model.Steps[s.Verb].Draw(t.o.c)
	luck, outcome := t.o.c.Float64(), run.Done
	switch m := t.o.s.model; {
	case took > left:
		took, outcome = left, run.Unknown
	case luck < m.Fails:
		outcome = run.NotDone
	case luck < m.Fails+m.Unheard:
		outcome = run.Unknown
		t.doubt[step] = true
	}
	t.o.in(took, func() { t.ended(s, began, outcome, took) })
}

func (t *tower) ended(s plan.Step, began time.Duration, outcome run.Outcome, took time.Duration) {
	after := t.items[s.ID-1]
	if after < 0 {
		after = t.last
	}
	for _, a := range s.After {
		if i := t.items[a-1]; i >= 0 && (after < 0 || t.o.items[i].to > t.o.items[after].to) {
			after = i
		}
	}
	t.items[s.ID-1] = t.o.log(item{kind: stepped, at: t.o.s.by[s.Component], verb: s.Verb, failed: outcome != run.Done, from: began, to: t.o.now, after: after})
	t.put(run.Event{Kind: run.Ended, Step: s.ID, Outcome: outcome, Took: estate.Duration(took), Facts: t.facts(s, outcome)})
	if outcome == run.Done {
		t.done(s)
	}
	t.drive()
}

// facts are what a step learned that others rest on.
func (t *tower) facts(s plan.Step, outcome run.Outcome) run.Facts {
	if s.Verb == plan.Choose && outcome == run.Done {
		return run.Facts{"chosen": s.Members[0]}
	}
	return nil
}

// done is what a step that is done changes in the world.
func (t *tower) done(s plan.Step) {
	switch s.Verb {
	case plan.Promote:
		at, because := t.o.s.by[s.Component], t.items[s.ID-1]
		t.o.in(t.o.s.model.Clients.Draw(t.o.c), func() { t.o.rise(at, because) })
	case plan.Withdraw:
		t.o.answersLeave(s.Component, t.items[s.ID-1])
	}
}

// look finds out how an attempt ended.
func (t *tower) look(step int) {
	s, began := t.r.Plan.Steps[step-1], t.o.now
	t.flying[step] = true
	took := min(t.o.s.model.Look.Draw(t.o.c), lookLimit)
	t.o.in(took, func() {
		t.flying[step] = false
		if t.r.Steps[step-1].State != run.InDoubt {
			return // somebody let it try again meanwhile
		}
		outcome := run.NotDone
		if t.doubt[step] && t.o.c.Float64() < 0.5 { // it was done as often as not
			outcome = run.Done
		}
		t.doubt[step] = false
		t.ended(s, began, outcome, took)
	})
}

// undo takes a step back; that is tried until it is done.
func (t *tower) undo(step int) {
	s := t.r.Plan.Steps[step-1]
	t.put(run.Event{Kind: run.UndoBegan, Step: step})
	t.o.in(min(t.o.s.model.Steps[s.Undo].Draw(t.o.c), undoLeast), func() {
		t.put(run.Event{Kind: run.UndoEnded, Step: step, Outcome: run.Done})
		t.drive()
	})
}
