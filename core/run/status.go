package run

import (
	"fmt"
	"strings"
	"time"

	"github.com/haechi/haechi/core/plan"
)

// Status is what a run is doing, in one word for people.
type Status string

// The statuses.
const (
	StatusRunning Status = "running"
	StatusAsked   Status = "asked"   // a person has to decide; what does not hang on it goes on
	StatusPaused  Status = "paused"  // by a person
	StatusUndoing Status = "undoing" // aborted, or a step failed: what must not stay is taken back
	StatusHanding Status = "handing-over"
	StatusDone    Status = "done"
	StatusUndone  Status = "undone"
	StatusFailed  Status = "failed"
	StatusTaken   Status = "superseded"
)

// Status says what the run is doing now.
func (r Run) Status() Status {
	switch {
	case strings.HasPrefix(r.Closed, "done"):
		return StatusDone
	case strings.HasPrefix(r.Closed, "undone"):
		return StatusUndone
	case strings.HasPrefix(r.Closed, "superseded"):
		return StatusTaken
	case r.Closed != "":
		return StatusFailed
	case r.superseded:
		return StatusHanding
	case len(r.questions(0)) > 0:
		return StatusAsked
	case r.aborted != "" || r.count(Undoing)+r.count(UndoInDoubt) > 0:
		return StatusUndoing
	case r.Paused != "":
		return StatusPaused
	}
	return StatusRunning
}

// Questions are the open questions by step; step 0 is the run as a whole.
func (r Run) Questions() map[int]Question {
	out := map[int]Question{}
	for _, id := range r.questions(0) {
		if id == 0 {
			out[0] = *r.Asked
		} else {
			out[id] = *r.Steps[id-1].Question
		}
	}
	return out
}

// Idle says whether the run does nothing but ask, with nothing left of what it did to any store
// that writes would wait for: since when, and whether it asks only because too few could be sealed, or none could follow.
// What has to be done about its stores need not wait for the answer.
func (r Run) Idle() (since time.Time, short bool, ok bool) {
	if r.Status() != StatusAsked || len(r.wanted()) > 0 {
		return time.Time{}, false, false
	}
	if r.Asked != nil {
		return r.Asked.At, false, !r.begun()
	}
	short = true
	for i, p := range r.Steps {
		s := r.Plan.Steps[i]
		switch {
		case p.State == Doing, p.State == Undoing, r.held(s.Component), r.promoting(s.Component) && !r.promoted(s.Component):
			return time.Time{}, false, false
		case p.Question == nil:
			continue
		case p.Question.At.After(since):
			since = p.Question.At
		}
		short = short && (s.Verb == plan.Seal || s.Verb == plan.Follow)
	}
	return since, short, true
}

// Settled says since when all steps of a component are done; zero: not all are, or there are none.
func (r Run) Settled(component string) (since time.Time) {
	if r.Opened.IsZero() {
		return time.Time{}
	}
	for i, s := range r.Plan.Steps {
		switch p := r.Steps[i]; {
		case s.Component != component:
		case p.State != IsDone:
			return time.Time{}
		case p.Ended.After(since):
			since = p.Ended
		}
	}
	return since
}

// Compares says that nothing is left to be done about a component but to compare what it holds, and since when. That
// changes nothing in the world, so another run may take it over at any moment and begin it again.
func (r Run) Compares(component string) (since time.Time, ok bool) {
	since = r.Opened
	for i, s := range r.Plan.Steps {
		switch {
		case s.Component != component:
		case r.Opened.IsZero(), s.Verb != plan.Verify && r.Steps[i].State != IsDone:
			return time.Time{}, false
		case s.Verb != plan.Verify && r.Steps[i].Ended.After(since):
			since = r.Steps[i].Ended
		case s.Verb == plan.Verify:
			ok = ok || r.Steps[i].State != IsDone
		}
	}
	return since, ok
}

// String draws the run, a line for each step: where it stands, how long it took, what
// was said of it, and what a person is asked.
func (r Run) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s: %s", r.ID, r.Plan.Kind, r.Plan.Subject, r.Status())
	if r.Closed != "" && r.Closed != string(r.Status()) {
		fmt.Fprintf(&b, " (%s)", r.Closed)
	}
	b.WriteByte('\n')
	if r.Asked != nil {
		fmt.Fprintf(&b, "   ? %s\n", r.Asked.Why)
	}
	for i, p := range r.Steps {
		s := r.Plan.Steps[i]
		fmt.Fprintf(&b, "%02d %s %s: %s", s.ID, s.Verb, s.Component, p.State)
		if took := p.Took(); took > 0 {
			fmt.Fprintf(&b, " in %s", took)
		}
		if p.Why != "" {
			fmt.Fprintf(&b, " (%s)", p.Why)
		}
		b.WriteByte('\n')
		if p.Question != nil {
			fmt.Fprintf(&b, "   ? %s\n", p.Question.Why)
		}
	}
	return b.String()
}

// Took is how long a step took, all its tries and looks together; 0 while the first lasts.
func (p Progress) Took() time.Duration { return p.Lasted }
