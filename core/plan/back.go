package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// EstateDriver is the driver of the step that ends a recovery: whoever drives answers it by what it believes.
const EstateDriver = "estate"

// recover brings back what a lost site held: its members, one after the other in each store; the answers
// of names and the seats of towers, which wait for no database; then it is found out whether the stores
// hold the same, and waited until nothing is missing any more.
func (m *maker) recover() *Stuck {
	at := estate.SiteID(m.in.Subject)
	if stuck := m.site(at); stuck != nil {
		return stuck
	}
	if m.gone[at] {
		return &Stuck{string(at), NotReachable, "the site is lost or isolated", "wait until it is seen again"}
	}
	var last []int
	stores := m.returning(at)
	for _, s := range inOrder(m.in.Estate, slices.Collect(maps.Keys(stores))) {
		last = append(last, m.comeBack(s.id, stores[s.id], len(stores)))
	}
	last = append(last, m.home(at)...)
	last = append(last, m.seatSteps(at)...)
	if len(last) == 0 {
		return nil
	}
	end := step(Redundant, EstateDriver, string(at), Returned)
	end.Site = at
	m.add(end, last...)
	return nil
}

// comeBack plans the return of members to their store, one after the other, and the comparison of all after that: who
// was away may hold something else. It returns the last step.
func (m *maker) comeBack(id estate.StoreID, members []estate.MemberID, share int) int {
	after := 0
	for _, member := range members {
		after = m.back(id, member, share, after)
	}
	return m.verify(id, after)
}

// returning are the members in a site that can be brought back now, by store; sorted.
func (m *maker) returning(at estate.SiteID) map[estate.StoreID][]estate.MemberID {
	out := map[estate.StoreID][]estate.MemberID{}
	for id, e := range m.in.Estate.Stores {
		rec := m.in.Stores[id]
		if rec.Epoch == 0 || !m.mayMove(id) || m.cannotServe(id) != nil {
			continue
		}
		for _, member := range e.MemberIDs() {
			if e.Members[member].Site == at && m.isOut(id, member) && m.agentAnswers(e.Members[member]) {
				out[id] = append(out[id], member)
			}
		}
	}
	return out
}

// isOut says whether a member is not what it should be: not counted, or counted and down.
func (m *maker) isOut(id estate.StoreID, member estate.MemberID) bool {
	rec, target := m.in.Stores[id], situation.DatabaseTarget(m.in.Estate, id, member)
	switch {
	case member == rec.Primary:
		return false
	case slices.Contains(rec.Former, member), !slices.Contains(rec.Sync, member):
		return true
	}
	f := m.in.Now.Facts[target]
	return f[situation.FactRunning] == "false" || f[situation.FactBroken] != "" || !m.believed(target)
}

// isDeaf says that the primary of a store sends nothing to a member.
func (m *maker) isDeaf(id estate.StoreID, member estate.MemberID) bool {
	return situation.Deaf(m.in.Now.Facts[situation.DatabaseTarget(m.in.Estate, id, m.in.Stores[id].Primary)], member)
}

// cannotServe says why nobody can come back to a store: what it comes back to is not there.
func (m *maker) cannotServe(id estate.StoreID) *Stuck {
	e, rec := m.in.Estate.Stores[id], m.in.Stores[id]
	at := e.Members[rec.Primary]
	if m.gone[at.Site] || !m.agentAnswers(at) || !m.believed(situation.DatabaseTarget(m.in.Estate, id, rec.Primary)) {
		return &Stuck{string(id), NotReachable, fmt.Sprintf("its primary %s cannot be reached, and a member comes back to that one only", rec.Primary),
			"bring it back, or let the store be moved first"}
	}
	return nil
}

// back plans the return of one member after step after, and returns the last step. What is not counted
// may hold what nobody else does, and is read before anything on it is rewritten; but for one that is new.
// share is how many members come back beside each other.
func (m *maker) back(id estate.StoreID, member estate.MemberID, share, after int) int {
	at := m.in.Estate.Stores[id].Members[member].Site
	rec, r := m.in.Stores[id], MemberDown
	if !m.isOut(id, member) {
		r = MemberDeaf
	}
	if m.in.Anew {
		r = Asked
	}
	if !slices.Contains(rec.Sync, member) || slices.Contains(rec.Former, member) {
		r = Returned
	}
	if r == Returned && !m.isNew(id, member) {
		read := m.storeStep(Salvage, id, r, append([]estate.MemberID{member}, m.beside(id, member)...))
		read.Site = at
		after = m.add(read, after)
	}
	join := m.storeStep(Rejoin, id, r, []estate.MemberID{member})
	join.Site = at
	if m.in.Anew {
		join.arg(ArgAnew, "true")
	}
	if share > 1 {
		join.arg(ArgShare, strconv.Itoa(share))
	}
	after = m.add(join, after)
	list := m.storeStep(Return, id, r, []estate.MemberID{member})
	list.Site = at
	return m.add(list, after)
}

// isNew says that a member never belonged to its store: no record names it, and its agent made nothing of it yet. An
// agent that has forgotten what a former member was says the same, and the record does not.
func (m *maker) isNew(id estate.StoreID, member estate.MemberID) bool {
	f := m.in.Now.Facts[situation.DatabaseTarget(m.in.Estate, id, member)]
	return !slices.Contains(m.in.Stores[id].Former, member) && f[situation.FactRunning] != "" && f[situation.FactMade] == ""
}

// beside are the other members that can be reached, in which a salvage may lie; sorted.
func (m *maker) beside(id estate.StoreID, member estate.MemberID) []estate.MemberID {
	return slices.DeleteFunc(m.reachable(m.in.Estate.Stores[id]), func(other estate.MemberID) bool { return other == member })
}

// bringBack brings Target back to its store, and has all compared then.
func (m *maker) bringBack() *Stuck {
	id := estate.StoreID(m.in.Subject)
	if stuck := m.adopted(id); stuck != nil {
		return stuck
	}
	e, member := m.in.Estate.Stores[id], m.in.Target
	at, ok := e.Members[member]
	switch {
	case !ok:
		return &Stuck{string(id), TargetUnfit, fmt.Sprintf("it has no member %q", member), "choose one of " + list(e.MemberIDs())}
	case member == m.in.Stores[id].Primary && m.in.Anew:
		return &Stuck{string(id), TargetUnfit, string(member) + " is its primary, and is never made anew", "mend what is wrong in it by SQL, or move its role to another member first"}
	case member == m.in.Stores[id].Primary:
		return &Stuck{string(id), TargetUnfit, string(member) + " is its primary", "nothing has to be done"}
	case m.gone[at.Site]:
		return &Stuck{string(id), NotReachable, fmt.Sprintf("%s stands in %s, which is out of reach", member, at.Site), "wait until the site is seen again"}
	case !m.agentAnswers(at):
		return &Stuck{string(id), NotReachable, fmt.Sprintf("the agent of %s on %s does not answer", member, at.Host), "start the agent"}
	case !m.in.Anew && !m.isOut(id, member) && !m.isDeaf(id, member):
		return &Stuck{string(id), AlreadySo, string(member) + " follows its primary and counts",
			fmt.Sprintf("nothing has to be done; one that differs is copied from its primary by haechi rejoin %s %s --anew", id, member)}
	}
	if stuck := m.cannotServe(id); stuck != nil {
		return stuck
	}
	if stuck := m.without(id, member); m.in.Anew && stuck != nil {
		return stuck
	}
	m.comeBack(id, []estate.MemberID{member}, 1)
	return nil
}

// without says why a member that counts cannot be done without: too few others would be left to acknowledge.
func (m *maker) without(id estate.StoreID, member estate.MemberID) *Stuck {
	rec := m.in.Stores[id]
	if !slices.Contains(rec.Sync, member) || slices.Contains(rec.Former, member) {
		return nil // nothing rests on its word
	}
	rest := slices.DeleteFunc(helpers(rec), func(other estate.MemberID) bool {
		return other == member || slices.Contains(rec.Former, other) || m.isOut(id, other) || m.isDeaf(id, other) || m.gone[m.in.Estate.Stores[id].Members[other].Site]
	})
	rule := max(rec.Any, m.in.Estate.Stores[id].Any, 1)
	if len(rest) >= rule {
		return nil
	}
	return &Stuck{string(id), TooFewLeft, fmt.Sprintf("%s would be counted out, and then %d could acknowledge beside %s, where the rule asks for %d",
		member, len(rest), rec.Primary, rule), "bring another member back first"}
}

// uncount takes Target off those on whose word others count. Where it is gone for good a seal still waits for it, and
// the next loss could not be borne whoever was added in its place. It may stand in a lost site: nothing of it is needed.
func (m *maker) uncount() *Stuck {
	id := estate.StoreID(m.in.Subject)
	if stuck := m.adopted(id); stuck != nil {
		return stuck
	}
	e, rec, member := m.in.Estate.Stores[id], m.in.Stores[id], m.in.Target
	at, declared := e.Members[member]
	switch {
	case member == rec.Primary:
		return &Stuck{string(id), TargetUnfit, string(member) + " is its primary", "move its role to another member first"}
	case !slices.Contains(rec.Sync, member):
		return &Stuck{string(id), AlreadySo, fmt.Sprintf("%q does not count; those that do are %s", member, list(helpers(rec))), "nothing has to be done"}
	case declared && !m.gone[at.Site] && !m.isOut(id, member):
		return &Stuck{string(id), TargetUnfit, string(member) + " runs and counts, and would come back by itself", "stop its server first, if it is to go for good"}
	}
	if stuck := m.cannotServe(id); stuck != nil {
		return stuck
	}
	if stuck := m.without(id, member); stuck != nil {
		return stuck
	}
	s := m.storeStep(CountOut, id, Asked, []estate.MemberID{rec.Primary})
	s.Site = e.Members[rec.Primary].Site
	s.arg(ArgMember, string(member))
	m.add(s)
	return nil
}

// verifyAll compares the members of a store.
func (m *maker) verifyAll() *Stuck {
	id := estate.StoreID(m.in.Subject)
	if stuck := m.adopted(id); stuck != nil {
		return stuck
	}
	if stuck := m.cannotServe(id); stuck != nil {
		return stuck
	}
	m.verify(id, 0)
	return nil
}

// verify plans the comparison of a store's members that can be reached, after step after.
func (m *maker) verify(id estate.StoreID, after int) int {
	return m.add(m.storeStep(Verify, id, Compare, m.reachable(m.in.Estate.Stores[id])), after)
}

// adopted refuses a store that is not declared, or not under epochs.
func (m *maker) adopted(id estate.StoreID) *Stuck {
	if stuck := m.declared(id); stuck != nil {
		return stuck
	}
	if m.in.Stores[id].Epoch == 0 {
		return &Stuck{string(id), NotAdopted, "it has never come under an epoch", "let haechi adopt it first"}
	}
	return nil
}
