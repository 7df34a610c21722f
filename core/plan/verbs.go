package plan

import (
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// shape is what every step of one verb has in common.
type shape struct {
	before, checks string
	undo           Verb
	limit          time.Duration
}

// long is for what takes as long as the data is large.
const long = 7 * 24 * time.Hour

// Rests says of a verb that it may be left off in the middle, while its run is paused, and goes
// on from there: it is long, and nothing waits for it. What its agent does ends by itself when nobody asks
// after it, or where its end is near: a rewind is not worth leaving off.
func (v Verb) Rests() bool { return v == Salvage || v == Rejoin || v == Verify }

// shapeOf says how a verb is checked, taken back and bounded. A seal has one second
// because writes that nobody may acknowledge any more wait all that time. Choosing and
// promoting have a minute because the chosen member has to replay what it received, and
// a follower may be a gigabyte behind.
func shapeOf(v Verb) shape {
	switch v {
	case Adopt:
		return shape{"the primary answers and every premise holds", "each member reports its epoch", "", time.Minute}
	case Halt:
		return shape{"the primary takes writes and its followers keep up", "the primary is stopped and its last position known", Start, 5 * time.Second}
	case Seal:
		return shape{"enough members answer", "no sealed member receives, and stays so", Unseal, time.Second}
	case Choose:
		return shape{"enough members are sealed", "one member holds at least what each other holds", "", time.Minute}
	case Follow:
		return shape{"the others are sealed under this epoch", "their upstream is the chosen member", "", 5 * time.Second}
	case Promote:
		return shape{"the chosen member is sealed under this epoch and lists only members that follow it", "it takes writes under the new epoch", "", time.Minute}
	case Return:
		return shape{"the former primary was halted in this run, or has rejoined", "it receives from the primary and is listed", "", time.Minute}
	case Fence:
		return shape{"it is not the primary of the record", "it is stopped, its data kept", "", 5 * time.Second}
	case Alone:
		return shape{"policy allows it and too few others answer", "the primary acknowledges under a mandate", Together, 5 * time.Second}
	case Together:
		return shape{"the others have flushed past the primary's last position", "the server shows the full rule", "", 30 * time.Second}
	case Close:
		return shape{"the site cannot acknowledge by itself", "the members in it answer nobody", "", 2 * time.Second}
	case Open:
		return shape{"the record still counts the member", "it runs as what it was", "", time.Minute}
	case Unseal:
		return shape{"no run is about the store, and the member counts", "it receives from the primary of the record again", "", 5 * time.Second}
	case Withdraw:
		return shape{"other answers remain", "each name server answers without the site", "", 2 * time.Second}
	case Announce:
		return shape{"the site serves", "each name server answers with the site", "", 2 * time.Second}
	case Watch:
		return shape{"the site's answers are back", "users' probes of the site stayed well", "", time.Minute}
	case Salvage:
		return shape{"the member is not counted, and its agent answers", "what only it holds lies in two sites, or it is known that there is nothing", "", long}
	case Rejoin:
		return shape{"what only it holds is kept", "it receives from the primary, under its epoch", "", long}
	case CountOut:
		return shape{"enough others are listed", "the primary lists it no more, and others hold all that was acknowledged", "", time.Minute}
	case Verify:
		return shape{"the members answer", "each range of each table was found equal, or the rows that differ are named", "", long}
	case Apply:
		return shape{"the rows are as the salvage says", "they stand on the primary, and others hold them", "", 10 * time.Minute}
	case Discard:
		return shape{"those whom policy names agree", "the salvage is marked as given up", "", 10 * time.Second}
	case Seat:
		return shape{"a majority of voters answers", "the towers agree on its seat, and a voter holds what they hold", "", 5 * time.Minute}
	case Redundant:
		return shape{"what could be brought back is back", "nothing declared is missing", "", long}
	case Level:
		return shape{"another name server has the zone", "its serial and answers equal the others'", "", 10 * time.Second}
	}
	return shape{}
}

// step fills in what the verb decides.
func step(v Verb, driver, component string, r Reason) Step {
	s := shapeOf(v)
	return Step{Verb: v, Driver: driver, Component: component, Reason: r,
		Before: s.before, Checks: s.checks, Undo: s.undo, Limit: estate.Duration(s.limit)}
}

// arg gives the step an argument, unless there is nothing to say.
func (s *Step) arg(key, value string) {
	if value == "" {
		return
	}
	if s.Args == nil {
		s.Args = map[string]string{}
	}
	s.Args[key] = value
}

// joined is a list as an argument holds it.
func joined[S ~string](ids []S) string {
	var out []string
	for _, id := range ids {
		out = append(out, string(id))
	}
	return strings.Join(out, ",")
}
