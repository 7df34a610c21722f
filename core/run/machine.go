package run

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/plan"
)

// Tries is how often a step is begun before its run turns to a person or gives up.
const Tries = 3

// Run is one plan being carried out. It is a value: [Run.Apply] returns the next one and
// leaves this one as it was. Whatever events it was fed:
//
//  1. a step begins only when all its After are done, and what those stand on still is, neither
//     taken back nor in the middle of it;
//  2. a step that began begins again only after an end of NotDone was written for it (where
//     its outcome is not known, somebody looked first), or after it was undone, or what it
//     stands on was;
//  3. terms never fall, and only Claimed raises them;
//  4. once the promotion of a store began, neither its seal nor its halt is undone, ever;
//  5. nothing happens after Closed;
//  6. it closes only when nothing is in flight, and then no store is left sealed or halted
//     without its promotion having begun, unless the run that supersedes it takes the store
//     over, or its undo failed again and again; then the closing words say so. A run that was left
//     is closed as it stands;
//  7. users who were sent to a site again are called back before it closes, unless they were
//     watched to the last stage of their name, another run takes over, or the undo failed.
type Run struct {
	ID     ID
	Plan   plan.Plan
	Estate uint64            // the version that it was planned with
	Epochs map[string]uint64 // of each store that it promotes
	Term   uint64            // of the last claim
	Tower  string            // that claimed it
	Seq    int               // of the last event
	Opened time.Time
	Last   time.Time  // of the last event
	Steps  []Progress // Steps[i] is the progress of Plan.Steps[i]
	Paused string     // by whom; empty: not paused
	Asked  *Question  // a question about the run as a whole: nothing starts before it is answered
	Closed string     // why; empty: open

	aborted    string // by whom
	superseded bool
	takes      map[string]bool  // components that the successor takes over as they are
	parts      map[string][]int // by component: the places of its steps; never changed after it was opened
}

// StepState is where a step stands.
type StepState string

// The states of a step. Only waiting steps and those looked at and found not done may begin.
const (
	Waiting StepState = "waiting"
	Doing   StepState = "doing"
	InDoubt StepState = "in-doubt" // its outcome is not known: look
	Ready   StepState = "ready"    // looked at, not done: may begin again
	IsDone  StepState = "done"
	Failed  StepState = "failed"  // out of tries
	Undoing StepState = "undoing" // its undo began
	// UndoInDoubt is an undo that has to be done again; undoing twice does no harm.
	UndoInDoubt StepState = "undo-in-doubt"
	Undone      StepState = "undone"
)

// Progress is how far one step is.
type Progress struct {
	State     StepState
	Began     time.Time     // the first of its tries
	Spent     time.Duration // of its limit, by all tries and looks; the journal's own time does not count
	Lasted    time.Duration // the same, where the limit began anew with another tower or a person's word, too
	Ended     time.Time
	Tries     int
	UndoTries int // undos that did not come to an end
	Facts     Facts
	Why       string    // the last thing that was said of it
	Question  *Question // it stops for a person

	promoteBegan bool // sticky: neither an approval nor a claim takes it back
	gaveUp       bool // out of tries, until a person lets it try again
	dropped      bool // a person aborted instead of answering its question
}

// Question is what a person has to decide.
type Question struct {
	Why    string
	At     time.Time // when it was put
	People int       // how many different people have to agree
	By     []string  // who has, sorted
	// Accepts says that agreeing accepts what is at stake, so the step is told; else it is
	// only asked whether to try again.
	Accepts bool
}

// CommandKind is what the machine wants.
type CommandKind string

// The commands.
const (
	Do        CommandKind = "do"
	Look      CommandKind = "look"
	UndoStep  CommandKind = "undo"
	Cease     CommandKind = "cease" // stop waiting for an attempt that is in flight; its outcome is then unknown
	AskPerson CommandKind = "ask"
	Close     CommandKind = "close"
)

// Command is one thing that the machine wants done next.
type Command struct {
	Kind   CommandKind
	Step   int    // of Do, Look, UndoStep, Cease, AskPerson
	Why    string // of AskPerson and Close
	People int    // of AskPerson
}

// String draws the command: "do 2", "close done".
func (c Command) String() string {
	if c.Kind == Close {
		return "close " + c.Why
	}
	return fmt.Sprintf("%s %d", c.Kind, c.Step)
}

// Replay makes a run from its log. It fails where the log holds an event that could not
// have happened, and says which.
func Replay(events []Event) (Run, error) {
	var r Run
	for _, ev := range events {
		var err error
		if r, err = r.Apply(ev); err != nil {
			return r, fmt.Errorf("replay: %w", err)
		}
	}
	if r.ID == "" {
		return r, fmt.Errorf("replay: the log is empty; a run begins with %s", Opened)
	}
	return r, nil
}

// clone copies what Apply changes.
func (r Run) clone() Run {
	r.Steps = slices.Clone(r.Steps)
	for i := range r.Steps {
		r.Steps[i].Facts = maps.Clone(r.Steps[i].Facts)
	}
	return r
}

// step is the plan's step with this ID.
func (r Run) step(id int) plan.Step { return r.Plan.Steps[id-1] }

// Facts are what all steps of a component learned, later steps over earlier ones.
func (r Run) Facts(component string) Facts {
	out := Facts{}
	for _, i := range r.parts[component] {
		maps.Copy(out, r.Steps[i].Facts)
	}
	return out
}

// Left is what is left of a step's limit. Time counts only where it was spent on the
// step: an append that waits for a new leader of the towers takes nothing away from a seal.
func (r Run) Left(id int) time.Duration {
	return time.Duration(r.step(id).Limit) - r.Steps[id-1].Spent
}

// DoneWith says whether a run that closes with these words did all that its plan holds.
func (r Run) DoneWith(why string) bool { return strings.HasPrefix(why, "done") }

// Superseding says whether the run is being wound up for a successor.
func (r Run) Superseding() bool { return r.superseded }

// holds says that the effect of a step must not stay: while it lasts, writes wait.
func holds(s plan.Step) bool { return s.Undo == plan.Unseal || s.Undo == plan.Start }

// sends says that a step sends users to a site. When they do not fare well there, it must not stay.
func sends(s plan.Step) bool { return s.Undo == plan.Withdraw }

// touched says that a step may have changed the world and was not undone.
func (p Progress) touched() bool {
	return p.State != Waiting && p.State != Undone
}

// promoting says whether the promotion of a component began: from then on its seal stays.
func (r Run) promoting(component string) bool {
	for _, i := range r.parts[component] {
		if r.Plan.Steps[i].Verb == plan.Promote && r.Steps[i].promoteBegan {
			return true
		}
	}
	return false
}

// promoted says whether the promotion of a component, if the plan has one, is done.
func (r Run) promoted(component string) bool {
	for _, i := range r.parts[component] {
		if r.Plan.Steps[i].Verb == plan.Promote && r.Steps[i].State != IsDone {
			return false
		}
	}
	return true
}

// begun says that any step was ever begun.
func (r Run) begun() bool { return r.count(Waiting) < len(r.Steps) }

// held says whether a component is sealed or halted, as far as is known.
func (r Run) held(component string) bool {
	for _, i := range r.parts[component] {
		if holds(r.Plan.Steps[i]) && r.Steps[i].touched() {
			return true
		}
	}
	return false
}
