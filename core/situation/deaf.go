package situation

import (
	"time"

	"github.com/haechi/haechi/core/estate"
)

// Deaf says that a primary, by its own word, sends nothing to a member. primary is what that one says of itself.
func Deaf(primary map[string]string, m estate.MemberID) bool {
	c, _ := ClientOf(primary, m)
	return leads(primary) && c.State != "streaming" && c.State != "catchup"
}

// leads says whether a member runs as a primary, and says to whom it sends.
func leads(facts map[string]string) bool {
	return facts[FactRole] == RolePrimary && facts[FactAnswers] == "true"
}

// deafness is since when a member has received nothing, and from whom it should.
type deafness struct {
	primary estate.MemberID
	since   time.Time
}

// hearNothing says since when members have received nothing. It begins anew with another primary, and while there is not
// exactly one that says to whom it sends, nobody counts as deaf.
func (f *Fold) hearNothing(facts map[string]map[string]string, now time.Time) map[string]time.Time {
	deaf, out := map[string]deafness{}, map[string]time.Time{}
	for id, s := range f.estate.Stores {
		var primary estate.MemberID
		leading := 0
		for m := range s.Members {
			if leads(facts[DatabaseTarget(f.estate, id, m)]) {
				primary, leading = m, leading+1
			}
		}
		if leading != 1 {
			continue
		}
		says := facts[DatabaseTarget(f.estate, id, primary)]
		for m := range s.Members {
			if m == primary || !Deaf(says, m) {
				continue
			}
			target := DatabaseTarget(f.estate, id, m)
			d, before := f.deaf[target]
			if !before || d.primary != primary {
				d = deafness{primary, now}
			}
			deaf[target], out[target] = d, d.since
		}
	}
	f.deaf = deaf
	return out
}
