package run

import (
	"fmt"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/plan"
)

// Next is what the machine wants now, in the order of the steps. A Look or Cease stays
// wanted until its end was applied: whoever carries the run knows which it has in flight.
func (r Run) Next() []Command {
	if r.ID == "" || r.Closed != "" {
		return nil
	}
	if why, ok := r.closing(); ok {
		return []Command{{Kind: Close, Why: why}}
	}
	return r.wanted()
}

// wanted is Next without closing.
func (r Run) wanted() []Command {
	var out []Command
	for i, calm := 0, r.calm(); i < len(r.Steps); i++ {
		if !r.rests(i, calm) {
			out = append(out, r.wants(i)...)
		}
	}
	return out
}

// calm says that nothing happened for which a step would be stopped, or what is done taken back.
func (r *Run) calm() bool {
	for i := range r.Steps {
		if p := &r.Steps[i]; p.gaveUp || p.Question != nil {
			return false
		}
	}
	return r.aborted == "" && !r.superseded && r.Paused == ""
}

// rests says at a glance that a step wants nothing: it waits for others, is under way, or done for good. In a
// run of thousands of steps nearly all are one of these, and each event asks for all of them.
func (r *Run) rests(i int, calm bool) bool {
	switch r.Steps[i].State {
	case Doing, IsDone:
		return calm
	case Waiting:
		for _, a := range r.Plan.Steps[i].After {
			if r.Steps[a-1].State != IsDone {
				return true
			}
		}
	}
	return false
}

// wants is what one step wants.
func (r Run) wants(i int) []Command {
	s, p := r.Plan.Steps[i], r.Steps[i]
	var out []Command
	if why, people := r.unasked(s, p); why != "" {
		out = append(out, Command{Kind: AskPerson, Step: s.ID, Why: why, People: people})
	}
	switch {
	case p.State == Doing:
		if r.stopping(s, p) || r.Paused != "" && s.Verb.Rests() {
			out = append(out, Command{Kind: Cease, Step: s.ID})
		}
	case r.undoes(s, p):
		if r.undoTurn(i) {
			out = append(out, Command{Kind: UndoStep, Step: s.ID})
		}
	case p.State == InDoubt && !r.stopping(s, p):
		out = append(out, Command{Kind: Look, Step: s.ID})
	case (p.State == Waiting || p.State == Ready) && r.mayBegin(s, p):
		out = append(out, Command{Kind: Do, Step: s.ID})
	}
	return out
}

// stopping says that a step is not to go on: the run was superseded, or aborted before the
// promotion of the component began. A promotion that began is always carried to its end.
func (r Run) stopping(s plan.Step, p Progress) bool {
	switch {
	case r.superseded:
		return !p.promoteBegan
	case r.aborted != "":
		return !r.promoting(s.Component)
	}
	return false
}

// unwinding says that what a step did has to be taken back, as far as the machine is
// concerned with it: see undoes.
func (r Run) unwinding(s plan.Step) bool {
	switch {
	case s.Undo == "" || (holds(s) && r.promoting(s.Component)):
		return false
	case r.superseded: // the successor waits, so only what must not stay is taken back
		return holds(s) && !r.takes[s.Component]
	case r.aborted != "":
		// Users who are back and were watched are not sent away since something else was aborted.
		return !r.promoting(s.Component) && (!sends(s) || r.Settled(s.Component).IsZero())
	}
	return (holds(s) || sends(s)) && r.failed(s.Component)
}

// undoes says that a step is to be undone now, or again.
func (r Run) undoes(s plan.Step, p Progress) bool {
	switch p.State {
	case UndoInDoubt:
		return p.UndoTries < Tries && !r.takes[s.Component]
	case InDoubt, Ready, IsDone, Failed:
		return r.unwinding(s)
	}
	return false
}

// undoTurn says that all later steps of the component are at rest and undone: what was
// done last is undone first.
func (r Run) undoTurn(i int) bool {
	for _, j := range r.parts[r.Plan.Steps[i].Component] {
		if j <= i {
			continue
		}
		s, p := r.Plan.Steps[j], r.Steps[j]
		if p.State == Doing || p.State == Undoing || r.undoes(s, p) {
			return false
		}
	}
	return true
}

// failed says that a step of the component is out of tries and nobody let it go on.
func (r Run) failed(component string) bool {
	for _, i := range r.parts[component] {
		if r.Steps[i].gaveUp || r.Steps[i].Question != nil {
			return true
		}
	}
	return false
}

// mayBegin says whether a step whose outcome is not in doubt may be done.
func (r Run) mayBegin(s plan.Step, p Progress) bool {
	for _, a := range s.After {
		if r.Steps[a-1].State != IsDone {
			return false
		}
	}
	switch {
	case r.Asked != nil || p.Question != nil || r.undoing(s.Component):
		return false
	case r.superseded: // a promotion that began is ended; nothing else starts
		return s.Verb == plan.Promote && p.promoteBegan
	case r.aborted != "":
		return r.promoting(s.Component)
	case r.Paused != "":
		// A store that is sealed or halted goes through to its promotion: to stop there
		// would hold its writes for as long as the pause lasts.
		return r.held(s.Component) && !r.promoted(s.Component)
	}
	return true
}

// undoing says that a component is being taken back, or that nobody knows how far it was:
// to promote on a seal that may have come off would lose what was acknowledged since.
func (r Run) undoing(component string) bool {
	for _, i := range r.parts[component] {
		if p := r.Steps[i]; p.State == Undoing || p.State == UndoInDoubt || r.undoes(r.Plan.Steps[i], p) {
			return true
		}
	}
	return false
}

// unasked is the question that a step raises and nobody put to a person yet.
//
// A run that the situation started asks, and so keeps the response from opening the same
// run again and again; see ends for those that do not. Where a promotion began the run always
// asks: only people can say what to do with a store that is neither here nor there.
func (r Run) unasked(s plan.Step, p Progress) (why string, people int) {
	promoting := func() bool { return r.promoting(s.Component) && !r.promoted(s.Component) }
	switch {
	case p.Question != nil || p.dropped || r.superseded:
		return "", 0
	case p.State == UndoInDoubt && p.UndoTries >= Tries:
		return fmt.Sprintf("step %d: %s %s could not be undone (%s); try again?", s.ID, s.Verb, s.Component, p.Why), 1
	case r.aborted != "" && !promoting():
		return "", 0
	case p.State == Failed && (!ends(r.Plan) || promoting()):
		return fmt.Sprintf("step %d: %s %s failed after %s (%s); try again?", s.ID, s.Verb, s.Component, tries(p.Tries), p.Why), 1
	}
	return "", 0
}

// tries counts attempts for people.
func tries(n int) string {
	if n == 1 {
		return "one try"
	}
	return fmt.Sprintf("%d tries", n)
}

// ends says that a run which cannot go on ends: a person started it and is looking, or nothing
// hangs on it, and while it were open nobody could order anything else. The agent of a former primary
// may be out of reach because its site has burned: the next look at it is a new cause. That a member
// is cut off from its primary nobody mends by an answer.
func ends(p plan.Plan) bool {
	switch p.Kind {
	case plan.BringBack:
		return slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Reason == plan.MemberDeaf })
	case plan.Evacuate, plan.Failover, plan.Serve, plan.LetGo, plan.FenceOld, plan.Uncount, plan.VerifyAll, plan.Restore, plan.GiveUp, plan.Reseat:
		return true
	}
	return false
}

// closing says whether the run is at its end, and with which words.
func (r Run) closing() (string, bool) {
	for i := range r.Steps {
		if p := &r.Steps[i]; p.State == Doing || p.State == Undoing {
			return "", false
		}
	}
	if len(r.wanted()) > 0 {
		return "", false
	}
	switch {
	case r.count(IsDone) == len(r.Steps) && !r.superseded:
		return r.doneWords(), true
	case r.superseded:
		return "superseded" + r.leftBehind(), true
	case len(r.questions(0)) > 0:
		return "", false
	case r.aborted != "":
		return "undone" + r.leftBehind(), true
	case r.waits():
		return "", false
	}
	return "failed: " + r.failure(), true
}

// doneWords tells a plan that saved all from one in which something was stuck. A recovery is at its end
// only when nothing is missing any more, and says so.
func (r Run) doneWords() string {
	switch {
	case r.Plan.Kind == plan.Recover:
		return "done, recovered"
	case len(r.Plan.Blocked) == 0:
		return "done"
	}
	var stuck []string
	for _, b := range r.Plan.Blocked {
		stuck = append(stuck, b.Component)
	}
	return "done, without " + strings.Join(stuck, ", ")
}

// leftBehind names what could not be undone, though it was tried and people were told.
func (r Run) leftBehind() string {
	for i, p := range r.Steps {
		if s := r.Plan.Steps[i]; p.State == UndoInDoubt && !r.takes[s.Component] {
			return fmt.Sprintf(", but step %d %s %s could not be undone: %s", s.ID, s.Verb, s.Component, p.Why)
		}
	}
	return ""
}

// waits says that a step could still begin, if the run were not paused.
func (r Run) waits() bool {
	r.Paused = ""
	return len(r.wanted()) > 0
}

func (r Run) count(s StepState) int {
	n := 0
	for i := range r.Steps {
		if r.Steps[i].State == s {
			n++
		}
	}
	return n
}

// failure names the first step that gave up.
func (r Run) failure() string {
	for i, p := range r.Steps {
		if p.gaveUp {
			s := r.Plan.Steps[i]
			return fmt.Sprintf("step %d %s %s: %s", s.ID, s.Verb, s.Component, p.Why)
		}
	}
	return "no step can begin"
}
