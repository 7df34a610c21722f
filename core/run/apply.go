package run

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/haechi/haechi/core/plan"
)

// Facts with a meaning for the machine.
const (
	FactPeople   = "people"    // with Asked: how many people have to agree
	FactAccepts  = "accepts"   // with Asked: "loss" where agreeing accepts what is at stake
	FactTakes    = "takes"     // with Superseded: the components that the successor takes over, joined by ","
	FactSite     = "site"      // of a step that chose a member to promote: where that one stands
	FactAccepted = "accepted/" // with the verb behind it: told to the step that asked; who accepted, joined by ","
)

// Apply takes one event and returns the run after it; r stays as it was. An event that
// cannot have happened is refused, and then the run returned is r.
func (r Run) Apply(ev Event) (Run, error) {
	next := r.clone()
	if err := next.Take(ev); err != nil {
		return r, err
	}
	return next, nil
}

// Take is [Run.Apply] on the run itself, for whoever holds it alone: a simulation applies
// a million events, and copies none of what came before.
func (r *Run) Take(ev Event) error {
	if err := r.check(ev); err != nil {
		return fmt.Errorf("run %s: event %d %s of step %d: %w", ev.Run, ev.Seq, ev.Kind, ev.Step, err)
	}
	r.Seq, r.Last = ev.Seq, ev.At
	r.apply(ev)
	return nil
}

// check says why an event cannot have happened.
func (r Run) check(ev Event) error {
	switch {
	case ev.Kind == Opened && r.ID != "":
		return fmt.Errorf("the run is open already")
	case ev.Kind == Opened && ev.Plan == nil:
		return fmt.Errorf("it carries no plan")
	case ev.Kind != Opened && r.ID == "":
		return fmt.Errorf("the run was never opened")
	case r.Closed != "":
		return fmt.Errorf("the run is closed: %s", r.Closed)
	case ev.Seq != r.Seq+1:
		return fmt.Errorf("it should be event %d", r.Seq+1)
	case ev.Kind == Opened:
		return checkPlan(*ev.Plan)
	case ev.Run != r.ID:
		return fmt.Errorf("it belongs to another run than %s", r.ID)
	case ev.Kind == Claimed && ev.Term < r.Term:
		return fmt.Errorf("term %d is older than %d", ev.Term, r.Term)
	case ev.Kind != Claimed && ev.Kind != Left && ev.Term != r.Term:
		return fmt.Errorf("it has term %d; the run is claimed under %d", ev.Term, r.Term)
	case ev.Step < 0 || ev.Step > len(r.Steps):
		return fmt.Errorf("the plan has %d steps", len(r.Steps))
	}
	return r.checkKind(ev)
}

// checkPlan refuses a plan that the machine cannot carry.
func checkPlan(p plan.Plan) error {
	for i, s := range p.Steps {
		if s.ID != i+1 {
			return fmt.Errorf("step %d stands at place %d", s.ID, i+1)
		}
		for _, a := range s.After {
			if a < 1 || a >= s.ID {
				return fmt.Errorf("step %d waits for step %d", s.ID, a)
			}
		}
	}
	return nil
}

// checkKind holds the rules of each kind of event.
func (r Run) checkKind(ev Event) error {
	switch ev.Kind {
	case Claimed, Aborted, Superseded, Left:
		return nil
	case Paused:
		return refuse(r.Paused != "", "it is paused by %s", r.Paused)
	case Resumed:
		return refuse(r.Paused == "", "it is not paused")
	case Approved:
		return refuse(len(r.questions(ev.Step)) == 0, "nothing was asked")
	case Asked:
		return r.checkAsked(ev)
	case Closed:
		return r.checkClosed(ev)
	case Began, Progressed, Ended, UndoBegan, UndoEnded:
		if ev.Step == 0 {
			return fmt.Errorf("it names no step")
		}
		return r.checkStep(ev)
	}
	return fmt.Errorf("there is no such kind of event")
}

func refuse(bad bool, format string, args ...any) error {
	if bad {
		return fmt.Errorf(format, args...)
	}
	return nil
}

func (r Run) checkAsked(ev Event) error {
	if ev.Step == 0 {
		return refuse(r.begun(), "it asks about the whole run, of which steps have begun")
	}
	switch state := r.Steps[ev.Step-1].State; state {
	case InDoubt, Ready, Failed, Undone, UndoInDoubt, Undoing:
		return nil
	default:
		return fmt.Errorf("the step is %s", state)
	}
}

// checkClosed lets a run close only where the machine would (invariant 6).
func (r Run) checkClosed(ev Event) error {
	want, ok := r.closing()
	return refuse(!ok || want != ev.Why, "there is more to do before it closes with %q", ev.Why)
}

// checkStep holds the rules of what happens to one step (invariants 1, 2 and 4).
func (r Run) checkStep(ev Event) error {
	state, s := r.Steps[ev.Step-1].State, r.step(ev.Step)
	switch ev.Kind {
	case Began:
		for _, a := range s.After {
			if r.Steps[a-1].State != IsDone {
				return fmt.Errorf("step %d, which it waits for, is %s", a, r.Steps[a-1].State)
			}
		}
		if state != Waiting && state != Ready {
			return fmt.Errorf("the step is %s", state)
		}
		return refuse(!r.mayBegin(s, r.Steps[ev.Step-1]), "the run does not want it now: it is %s", r.Status())
	case Progressed:
		return refuse(state != Doing, "the step is %s", state)
	case Ended:
		return refuse(state != Doing && state != InDoubt, "the step is %s", state)
	case UndoBegan:
		if holds(s) && r.promoting(s.Component) {
			return fmt.Errorf("the promotion of %s has begun", s.Component)
		}
		return refuse(!r.undoes(s, r.Steps[ev.Step-1]), "the step is %s, and nothing asks for its undo", state)
	default:
		return refuse(state != Undoing, "the step is %s", state)
	}
}

// apply changes a fresh copy. The event was checked.
func (r *Run) apply(ev Event) {
	switch ev.Kind {
	case Opened:
		r.ID, r.Plan, r.Estate, r.Epochs = ev.Run, *ev.Plan, ev.Estate, maps.Clone(ev.Epochs)
		r.Term, r.Tower, r.Opened = ev.Term, ev.Tower, ev.At
		r.Steps = make([]Progress, len(ev.Plan.Steps))
		r.parts = map[string][]int{}
		for i, s := range ev.Plan.Steps {
			r.Steps[i].State = Waiting
			r.parts[s.Component] = append(r.parts[s.Component], i)
		}
	case Claimed:
		r.claim(ev)
	case Asked:
		r.ask(ev)
	case Approved:
		r.approve(ev)
	case Paused:
		r.Paused = cmp.Or(ev.By, ev.Tower, "somebody")
	case Resumed:
		r.Paused = ""
	case Aborted:
		r.abort(cmp.Or(ev.By, ev.Tower, "somebody"))
	case Superseded:
		r.superseded, r.takes = true, map[string]bool{}
		for _, c := range strings.Split(ev.Facts[FactTakes], ",") {
			r.takes[c] = true
		}
	case Closed:
		r.Closed = ev.Why
	case Left:
		r.Closed = "left: " + ev.Why
	default:
		r.applyStep(ev)
	}
}

// claim puts in doubt all that the tower before may have had in flight. A successor that
// was to take components over died with that tower, or the supersession is repeated.
func (r *Run) claim(ev Event) {
	fresh := ev.Term > r.Term
	r.Term, r.Tower, r.takes = ev.Term, ev.Tower, nil
	for i := range r.Steps {
		p := &r.Steps[i]
		switch p.State {
		case Doing:
			p.State = InDoubt
		case Undoing:
			p.State = UndoInDoubt
		}
		if fresh {
			p.Tries, p.UndoTries, p.Spent = 0, 0, 0
		}
	}
}

// ask stops a step, or the whole run, for a person.
func (r *Run) ask(ev Event) {
	people, err := strconv.Atoi(ev.Facts[FactPeople])
	if err != nil || people < 1 {
		people = 1
	}
	q := &Question{Why: ev.Why, At: ev.At, People: people, Accepts: ev.Facts[FactAccepts] != ""}
	if ev.Step == 0 {
		r.Asked = q
		return
	}
	p := &r.Steps[ev.Step-1]
	p.Question = q
	if p.State == InDoubt || p.State == Ready {
		p.State, p.gaveUp = Failed, true
	}
}

// abort drops the questions that were open: to abort is an answer too. What is asked
// after it has to be answered, or aborted once more.
func (r *Run) abort(by string) {
	r.aborted, r.Asked = by, nil
	for i := range r.Steps {
		if p := &r.Steps[i]; p.Question != nil {
			p.Question, p.dropped = nil, true
		}
	}
}

// questions lists the steps that wait for a person: the one asked for, or all; 0 stands
// for the run as a whole.
func (r Run) questions(step int) []int {
	var out []int
	if r.Asked != nil && step == 0 {
		out = append(out, 0)
	}
	for i := range r.Steps {
		if r.Steps[i].Question != nil && (step == 0 || step == i+1) {
			out = append(out, i+1)
		}
	}
	return out
}

// approve counts one person's word and, when there are enough, lets the step try again.
func (r *Run) approve(ev Event) {
	for _, id := range r.questions(ev.Step) {
		if id == 0 {
			if r.Asked = r.Asked.heard(ev.By); r.Asked.answered() {
				r.Asked = nil
			}
			continue
		}
		p := &r.Steps[id-1]
		if p.Question = p.Question.heard(ev.By); p.Question.answered() {
			r.tryAgain(id)
		}
	}
}

// heard returns the question with one more person's word; the same person counts once.
func (q *Question) heard(by string) *Question {
	next := *q
	next.By = append(slices.Clone(q.By), by)
	slices.Sort(next.By)
	next.By = slices.Compact(next.By)
	return &next
}

func (q *Question) answered() bool { return len(q.By) >= q.People }

// tryAgain lets a step that asked, and what was undone of its component, be done again.
// What may have happened is looked at first.
func (r *Run) tryAgain(id int) {
	q, component := r.Steps[id-1].Question, r.step(id).Component
	for _, i := range r.parts[component] {
		p := &r.Steps[i]
		switch p.State {
		case Undone:
			*p = Progress{State: Waiting, promoteBegan: p.promoteBegan, Question: p.Question}
		case Failed:
			p.State = InDoubt
		}
		p.Tries, p.UndoTries, p.Spent, p.gaveUp = 0, 0, 0, false
	}
	p := &r.Steps[id-1]
	p.Question = nil
	if q.Accepts {
		p.Facts = maps.Clone(p.Facts)
		if p.Facts == nil {
			p.Facts = Facts{}
		}
		p.Facts[FactAccepted+string(r.step(id).Verb)] = strings.Join(q.By, ",")
	}
}
