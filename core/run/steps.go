package run

import (
	"maps"
	"time"

	"github.com/haechi/haechi/core/plan"
)

// applyStep takes what happened to one step.
func (r *Run) applyStep(ev Event) {
	p := &r.Steps[ev.Step-1]
	switch ev.Kind {
	case Began:
		if p.Tries == 0 {
			p.Began = ev.At
		}
		p.State, p.Ended, p.Why = Doing, time.Time{}, ev.Why
		p.Tries++
		p.promoteBegan = p.promoteBegan || r.step(ev.Step).Verb == plan.Promote
	case Progressed:
		p.Why = ev.Why
		p.learn(ev.Facts)
	case Ended:
		r.end(ev, p)
	case UndoBegan:
		p.State = Undoing
	case UndoEnded:
		r.undoEnd(ev, p)
	}
}

// end takes the end of an attempt, or what a look found.
func (r *Run) end(ev Event, p *Progress) {
	looked := p.State == InDoubt
	p.Ended, p.Why = ev.At, ev.Why
	p.Spent += time.Duration(ev.Took)
	p.Lasted += time.Duration(ev.Took)
	p.learn(ev.Facts)
	if r.Paused != "" && r.step(ev.Step).Verb.Rests() {
		p.Tries = 0 // people stopped it: that is no failure of its own
	}
	p.State = r.after(ev, looked)
	p.gaveUp = p.State == Failed
}

// learn keeps facts, newer ones over older.
func (p *Progress) learn(f Facts) {
	if len(f) > 0 && p.Facts == nil {
		p.Facts = Facts{}
	}
	maps.Copy(p.Facts, f)
}

// after is the state that an end leads to. What was seen not to be well is not watched again to see
// whether it is better: its users are called back first.
func (r *Run) after(ev Event, looked bool) StepState {
	p := r.Steps[ev.Step-1]
	spent := p.Tries >= Tries || (p.Tries > 0 && r.Left(ev.Step) <= 0) || (r.step(ev.Step).Verb == plan.Watch && !looked)
	switch {
	case ev.Outcome == Done:
		return IsDone
	case ev.Outcome == NotDone && spent, ev.Outcome == Unknown && looked:
		return Failed
	case ev.Outcome == NotDone && looked:
		return Ready
	case ev.Outcome == Unknown && spent && holds(r.step(ev.Step)):
		return Failed // no time is left to look while writes wait
	}
	return InDoubt
}

// undoEnd takes the end of an undo.
func (r *Run) undoEnd(ev Event, p *Progress) {
	if ev.Why != "" {
		p.Why = ev.Why
	}
	if ev.Outcome != Done {
		p.State = UndoInDoubt
		p.UndoTries++
		return
	}
	p.Ended = ev.At
	undone := Undone
	if !r.unwinding(r.step(ev.Step)) { // a person let it try again meanwhile
		undone = Waiting
	}
	p.takeBack(undone)
	for id := range r.above(ev.Step) {
		if q := &r.Steps[id-1]; q.touched() {
			q.takeBack(undone)
		}
	}
}

// above are the steps of the same component that stand on a step. Undoing a seal takes the
// choice along that was made under it: what the members hold has changed since.
func (r *Run) above(id int) map[int]bool {
	out := map[int]bool{}
	for _, i := range r.parts[r.step(id).Component] {
		s := r.Plan.Steps[i]
		for _, a := range s.After {
			if a == id || out[a] {
				out[s.ID] = true
			}
		}
	}
	return out
}

// takeBack forgets what a step did. Why it was given up stays, for people.
func (p *Progress) takeBack(to StepState) {
	p.State, p.Facts = to, nil
	if to == Waiting {
		p.Tries, p.UndoTries, p.Spent, p.Lasted = 0, 0, 0, 0
	}
}
