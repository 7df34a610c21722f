package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// helpers are the members, besides the primary, that may be helping it to acknowledge:
// those of the record, which is written before a rule is weakened and only narrowed after.
// The file does not count here, nor what any server shows now.
func helpers(rec situation.Store) []estate.MemberID {
	out := slices.DeleteFunc(slices.Clone(rec.Sync), func(m estate.MemberID) bool { return m == rec.Primary })
	slices.Sort(out)
	return slices.Compact(out)
}

// needed is m - k + 1: with so many sealed, each acknowledged write is on one of them, and
// too few are left to acknowledge another.
func needed(rec situation.Store) int { return max(len(helpers(rec))-rec.LeastAny+1, 1) }

// halted are members whose word counts though they were primary, or are not counted, sorted. A
// planned move stopped them cleanly, and they wrote nothing since: one that got stuck leaves the
// record's primary so, which holds all that it ever acknowledged; one that lost its new primary leaves
// the former one so, or following that on its way back: what it holds is the beginning of what the new
// one held. So it is with one that has rejoined under the record's epoch and was just about to be listed.
func (m *maker) halted(id estate.StoreID, e estate.Store, rec situation.Store) (out []estate.MemberID) {
	epoch := strconv.FormatUint(rec.Epoch, 10)
	for _, member := range slices.Sorted(maps.Keys(e.Members)) {
		at, f := e.Members[member], m.in.Now.Facts[situation.DatabaseTarget(m.in.Estate, id, member)]
		clean := member == rec.Primary && f[situation.FactHalted] != ""
		if slices.Contains(rec.Former, member) {
			clean = f[situation.FactHalted] == epoch || rejoined(member, rec, f)
		}
		if clean && f[situation.FactRole] != situation.RolePrimary && !m.gone[at.Site] && m.agentAnswers(at) {
			out = append(out, member)
		}
	}
	return out
}

// rejoined says that a member which may be listed already, and is not counted yet, follows the primary of
// the record: its agent says so only once all that it holds is that one's.
func rejoined(member estate.MemberID, rec situation.Store, f map[string]string) bool {
	return slices.Contains(rec.Sync, member) && f[situation.FactMade] == situation.RoleFollower && f[situation.FactReign] == strconv.FormatUint(rec.Epoch, 10) &&
		f[situation.FactFenced] == "false" && f[situation.FactBroken] == ""
}

// counts says whether a halted primary counts as one of those that are sealed. Nothing that it
// acknowledged is missing from it, and it helps nobody; so where all but one of the store's members
// are sealed or halted, each acknowledged write is on one of them, whoever was promoted meanwhile
// without anybody's knowledge, and nobody can acknowledge another. With k above 1 the others are
// enough by themselves when one is lost. Were it counted there, two could be left out, and both may
// have begun a timeline of the same number.
func counts(member estate.MemberID, rec situation.Store) bool {
	return member == rec.Primary && rec.LeastAny == 1
}

// sealable are the members that can be sealed from the living sites, the halted among them, or
// why they do not do.
func (m *maker) sealable(id estate.StoreID, e estate.Store, rec situation.Store, halted []estate.MemberID) ([]estate.MemberID, *Stuck) {
	stuck := func(why Obstacle, out, format string, args ...any) *Stuck {
		return &Stuck{string(id), why, fmt.Sprintf(format, args...), out}
	}
	if rec.Epoch == 0 {
		return nil, stuck(NotAdopted, "let haechi adopt it first; haechi doctor says which premise fails",
			"it has never come under an epoch, so nobody knows who may acknowledge")
	}
	if rec.Alone || rec.LeastAny == 0 {
		return nil, stuck(AcksAlone, "bring it back; "+m.byHand(),
			"its primary %s may acknowledge alone, so sealing the others proves nothing", rec.Primary)
	}
	living, answering := slices.Clone(halted), []estate.MemberID{}
	for _, member := range halted {
		if counts(member, rec) {
			answering = append(answering, member)
		}
	}
	for _, member := range helpers(rec) {
		at, ok := e.Members[member]
		// A former member counts among those that may help to acknowledge, and not among
		// those whose word proves anything, unless it is known how it ended.
		if !ok || m.gone[at.Site] || slices.Contains(rec.Former, member) && !slices.Contains(halted, member) {
			continue
		}
		living = append(living, member)
		if m.agentAnswers(at) {
			answering = append(answering, member)
		}
	}
	slices.Sort(living)
	living = slices.Compact(living)
	if len(living) == 0 {
		return nil, stuck(NoMember, "bring back a site that holds a member: "+list(helpers(rec)),
			"no member that may hold its writes is left in a living site")
	}
	if len(answering) < needed(rec) {
		return nil, stuck(TooFewToSeal, "bring one of the others back; "+m.byHand(),
			"%d of %d members must be sealed and only %s can be reached", needed(rec), len(helpers(rec)), list(answering))
	}
	return living, nil
}

// byHand is the way out where nobody comes back: who could take the loss upon them, and how. Haechi
// does not ask: a plan that loses nothing does not exist, and there is no command for one that loses something.
func (m *maker) byHand() string {
	return "only those whom accept-data-loss names (" + string(cmp.Or(m.in.Estate.Policy.AcceptDataLoss, estate.TwoPeople)) + ") could accept the loss of what may stand nowhere else; " +
		"this release has no command for it: they stop haechi and promote a member by PostgreSQL's own means"
}

// agentAnswers says whether the agent of a member is not believed to be silent. What nobody
// has looked at yet counts as answering: the seal itself finds out within a second.
func (m *maker) agentAnswers(at estate.Member) bool {
	return m.believed(situation.AgentTarget(m.in.Estate, at.Host))
}

// believed says whether a thing is not known to be dead or out of reach.
func (m *maker) believed(target string) bool {
	v, ok := m.in.Now.Things[target]
	return !ok || (v.State != situation.Dead && !v.Gone())
}
