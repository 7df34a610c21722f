package run

import (
	"fmt"
	"strings"

	"github.com/haechi/haechi/core/count"
)

// Text tells an event in one line for people: "r-000012 step 4: done, took writes at 0/3000148".
// What a step is stands in the Why of its Began.
func Text(ev Event) string {
	var b strings.Builder
	b.WriteString(string(ev.Run))
	if ev.Step > 0 {
		fmt.Fprintf(&b, " step %d", ev.Step)
	}
	fmt.Fprintf(&b, ": %s", words(ev))
	if ev.By != "" {
		fmt.Fprintf(&b, " by %s", ev.By)
	}
	if ev.Why != "" {
		fmt.Fprintf(&b, ", %s", ev.Why)
	}
	return b.String()
}

// words names what happened.
func words(ev Event) string {
	switch ev.Kind {
	case Opened:
		return fmt.Sprintf("opened, %s %s, %s", ev.Plan.Kind, ev.Plan.Subject, count.Of(len(ev.Plan.Steps), "step"))
	case Claimed:
		return fmt.Sprintf("%s drives it under term %d", ev.Tower, ev.Term)
	case Ended:
		return ev.Outcome.String()
	case UndoEnded:
		return "undo " + ev.Outcome.String()
	case UndoBegan:
		return "undo began"
	}
	return string(ev.Kind)
}

// String names the outcome.
func (o Outcome) String() string {
	switch o {
	case Done:
		return "done"
	case NotDone:
		return "not done"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("outcome %d", int(o))
}
