package plan

import "fmt"

// Release is what this release understands, as one number that rises by one with each release that adds a
// kind of plan, a verb, an event, or something to an order. Two neighbours work together:
//
//   - each says its number with what it says anyway: a tower in its views, an agent in its answers. Who says
//     none is of release 1;
//   - a tower opens nothing that a tower which answers does not understand (core/response refuses it, and
//     says whom to upgrade), since that one may have to carry it on;
//   - a plan says in Version which release it needs, for its verbs and for the events of its run. A tower that
//     is older leaves the run alone and says so, and others that are not do not take it for one that can drive;
//   - an order says nothing to an agent that is older than what it says: what can be left out is, and else
//     the tower says which agent to upgrade first (agent.Order);
//   - records and entries are read by what is known of them; what a newer release added is passed over, and
//     gone from a record that an older tower writes anew. So nothing that others must not lose may be added
//     to a record: it has to stand beside it;
//   - a snapshot of a newer release is refused.
//
// What a run of the release before has begun, this one ends: verbs and their arguments keep their meaning.
const Release = 2

// sinceKind and sinceVerb are what came after release 1.
var (
	sinceKind = map[Kind]int{Recover: 2, BringBack: 2, Uncount: 2, VerifyAll: 2, Restore: 2, GiveUp: 2, Reseat: 2}
	sinceVerb = map[Verb]int{Watch: 2, Salvage: 2, Rejoin: 2, CountOut: 2, Verify: 2, Apply: 2, Discard: 2, Seat: 2, Redundant: 2}
)

// Needs is the release that a tower has to be of to carry plans of a kind.
func (k Kind) Needs() int { return max(sinceKind[k], 1) }

// needs is the release that a tower has to be of to carry these steps.
func needs(k Kind, steps []Step) int {
	out := k.Needs()
	for _, s := range steps {
		out = max(out, sinceVerb[s.Verb])
	}
	return out
}

// Carried says why a tower of this release must not carry a plan; nil: it may.
func (p Plan) Carried() error {
	if p.Version > Release {
		return fmt.Errorf("plan %s %s needs a tower of release %d, this one is of %d: upgrade it", p.Kind, p.Subject, p.Version, Release)
	}
	for _, s := range p.Steps {
		if shapeOf(s.Verb) == (shape{}) {
			return fmt.Errorf("plan %s %s: step %d says %q, which this release does not know: upgrade this tower", p.Kind, p.Subject, s.ID, s.Verb)
		}
	}
	return nil
}
