package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// moveAll plans the move of every store that which picks by its primary, what others stand on first.
func (m *maker) moveAll(which func(estate.StoreID, estate.MemberID) bool, r Reason, planned bool) {
	var ids []estate.StoreID
	for _, id := range slices.Sorted(maps.Keys(m.in.Estate.Stores)) {
		if !m.mayMove(id) {
			continue
		}
		// A store that was never adopted has no record; its file says where its primary is.
		primary := m.in.Stores[id].Primary
		if primary == "" {
			primary = m.in.Estate.Stores[id].Primary
		}
		if which(id, primary) {
			ids = append(ids, id)
		}
	}
	for _, s := range inOrder(m.in.Estate, ids) {
		if stuck := m.move(s, r, planned); stuck != nil {
			m.block(stuck)
		}
	}
}

// mayMove says whether the caller allows this store.
func (m *maker) mayMove(id estate.StoreID) bool {
	return len(m.in.StoresOnly) == 0 || slices.Contains(m.in.StoresOnly, id)
}

// oneStore moves the store that the plan is about.
func (m *maker) oneStore() *Stuck {
	id := estate.StoreID(m.in.Subject)
	if stuck := m.declared(id); stuck != nil {
		return stuck
	}
	r, planned := PrimaryLost, false
	if m.in.Kind == Failover {
		r, planned = Asked, true
	}
	return m.move(ranked{id: id}, r, planned)
}

// declared refuses a store that the estate does not know.
func (m *maker) declared(id estate.StoreID) *Stuck {
	if _, ok := m.in.Estate.Stores[id]; ok {
		return nil
	}
	return &Stuck{string(id), NotDeclared, "the estate has no store of this name",
		"the stores are " + list(slices.Sorted(maps.Keys(m.in.Estate.Stores)))}
}

// sealHalted bounds the seal of a planned move: its primary was halted, so no write waits to be let go, and to start it
// again costs more than a member that is slow.
const sealHalted = 3 * time.Second

// move plans seal, choose, follow, promote for one store; between halt and return where
// the move is planned and the primary can still be halted.
func (m *maker) move(s ranked, r Reason, planned bool) *Stuck {
	e, rec := m.in.Estate.Stores[s.id], m.in.Stores[s.id]
	halted := m.halted(s.id, e, rec)
	sealable, stuck := m.sealable(s.id, e, rec, halted)
	if stuck != nil {
		return stuck
	}
	candidates, stuck := m.candidates(s.id, e, sealable)
	if stuck != nil {
		return stuck
	}
	var after []int
	for _, need := range s.needs {
		after = append(after, m.promote[need])
	}
	halts := planned && !slices.Contains(halted, rec.Primary) && m.canHalt(s.id, e, rec)
	if halts {
		halt := m.storeStep(Halt, s.id, r, []estate.MemberID{rec.Primary})
		halt.Site = e.Members[rec.Primary].Site
		after = []int{m.add(halt, after...)}
	}
	seal := m.storeStep(Seal, s.id, r, sealable)
	seal.Args = map[string]string{ArgNeed: strconv.Itoa(needed(rec)), ArgOf: strconv.Itoa(len(helpers(rec)))}
	if halts {
		seal.Limit = estate.Duration(sealHalted)
	}
	choose := m.storeStep(Choose, s.id, r, candidates)
	if m.in.Target != "" {
		choose.Args = map[string]string{ArgPrefer: string(m.in.Target)}
	}
	follow := m.storeStep(Follow, s.id, r, sealable)
	for _, step := range []*Step{&seal, &choose, &follow} {
		step.arg(ArgHalted, joined(halted))
	}
	followed := m.add(follow, m.add(choose, m.add(seal, after...)))
	promote := m.storeStep(Promote, s.id, r, candidates)
	promote.Args = map[string]string{ArgAny: strconv.Itoa(max(rec.Any, 1))}
	m.promote[s.id] = m.add(promote, followed)
	if halts {
		back := m.storeStep(Return, s.id, r, []estate.MemberID{rec.Primary})
		back.Site = e.Members[rec.Primary].Site
		m.add(back, m.promote[s.id])
	}
	return nil
}

// storeStep is a step of one store on some of its members.
func (m *maker) storeStep(v Verb, id estate.StoreID, r Reason, members []estate.MemberID) Step {
	s := step(v, m.in.Estate.Stores[id].Engine, string(id), r)
	for _, member := range members {
		s.Members = append(s.Members, string(member))
	}
	return s
}

// candidates are the sealable members that may become primary.
func (m *maker) candidates(id estate.StoreID, e estate.Store, sealable []estate.MemberID) ([]estate.MemberID, *Stuck) {
	out := slices.DeleteFunc(slices.Clone(sealable), func(member estate.MemberID) bool {
		at := e.Members[member]
		leaves := m.in.Kind == Evacuate && at.Site == estate.SiteID(m.in.Subject)
		return leaves || !m.agentAnswers(at)
	})
	if len(out) == 0 {
		return nil, &Stuck{string(id), NoMember, "none of " + list(sealable) + " may become primary",
			"bring a member in another site up and wait until it is whole"}
	}
	if t := m.in.Target; t != "" && !slices.Contains(out, t) {
		return nil, &Stuck{string(id), TargetUnfit, fmt.Sprintf("%s is not among those that may become primary", t),
			"choose one of " + list(out) + ", or none and let haechi choose"}
	}
	return out, nil
}

// canHalt says whether the primary can be asked to stop cleanly.
func (m *maker) canHalt(id estate.StoreID, e estate.Store, rec situation.Store) bool {
	at, ok := e.Members[rec.Primary]
	return ok && !m.gone[at.Site] && m.agentAnswers(at) &&
		m.believed(situation.DatabaseTarget(m.in.Estate, id, rec.Primary))
}

// wholeStore plans the kinds that are one step on a store where it stands.
func (m *maker) wholeStore() *Stuck {
	id := estate.StoreID(m.in.Subject)
	if stuck := m.declared(id); stuck != nil {
		return stuck
	}
	e, rec := m.in.Estate.Stores[id], m.in.Stores[id]
	if m.in.Kind == AdoptNew {
		return m.adopt(id, e, rec)
	}
	if rec.Epoch == 0 {
		return &Stuck{string(id), NotAdopted, "it has never come under an epoch", "let haechi adopt it first"}
	}
	at := e.Members[rec.Primary]
	if m.gone[at.Site] {
		return &Stuck{string(id), NotReachable, "its primary " + string(rec.Primary) + " stands in " + string(at.Site) + ", which is out of reach",
			"bring the site back, or move the store"}
	}
	verb, r := Alone, TooFew
	if m.in.Kind == EndAlone {
		verb, r = Together, Whole
	}
	s := m.storeStep(verb, id, r, m.reachable(e))
	s.Site = at.Site
	m.add(s)
	return nil
}

// adopt needs every member: an epoch that one of them never heard of protects nobody.
func (m *maker) adopt(id estate.StoreID, e estate.Store, rec situation.Store) *Stuck {
	if rec.Epoch > 0 {
		return &Stuck{string(id), AlreadySo, fmt.Sprintf("it stands under epoch %d", rec.Epoch), "nothing has to be done"}
	}
	members := m.reachable(e)
	if len(members) < len(e.Members) {
		return &Stuck{string(id), NotReachable, "only " + list(members) + " can be reached", "adopt it when all its members' sites are up"}
	}
	s := m.storeStep(Adopt, id, Asked, members)
	s.Site = e.Members[e.Primary].Site
	m.add(s)
	return nil
}

// reachable are a store's members in living sites, sorted.
func (m *maker) reachable(e estate.Store) []estate.MemberID {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(e.Members)), func(id estate.MemberID) bool {
		return m.gone[e.Members[id].Site]
	})
}

// fenceOld stops former primaries that were seen alive: Target, or all of the record. Target may also be
// one that other hands made a primary beside the record's; the response asks people before that.
func (m *maker) fenceOld() *Stuck {
	id := estate.StoreID(m.in.Subject)
	if stuck := m.declared(id); stuck != nil {
		return stuck
	}
	e, rec := m.in.Estate.Stores[id], m.in.Stores[id]
	old := slices.Sorted(slices.Values(rec.Former))
	r := Returned
	if t := m.in.Target; t != "" && !slices.Contains(old, t) && m.in.Now.Facts[situation.DatabaseTarget(m.in.Estate, id, t)][situation.FactRole] == situation.RolePrimary {
		old, r = []estate.MemberID{t}, SecondPrimary
	}
	old = slices.DeleteFunc(old, func(member estate.MemberID) bool {
		at, ok := e.Members[member]
		return !ok || m.gone[at.Site] || member == rec.Primary || (m.in.Target != "" && member != m.in.Target)
	})
	if len(old) == 0 {
		return &Stuck{string(id), NobodyFormer, "no former primary, nor a second one, is known in a reachable site", "nothing has to be done"}
	}
	for _, member := range slices.Compact(old) {
		s := m.storeStep(Fence, id, r, []estate.MemberID{member})
		s.Site = e.Members[member].Site
		m.add(s)
	}
	return nil
}

// letGo has Target receive from the primary of the record again, as if the run that sealed it
// had reached it when it was taken back.
func (m *maker) letGo() *Stuck {
	id := estate.StoreID(m.in.Subject)
	if stuck := m.declared(id); stuck != nil {
		return stuck
	}
	e, rec := m.in.Estate.Stores[id], m.in.Stores[id]
	at, ok := e.Members[m.in.Target]
	switch {
	case !ok || m.gone[at.Site]:
		return &Stuck{string(id), NotReachable, fmt.Sprintf("member %q stands in no site that can be reached", m.in.Target), "nothing has to be done"}
	case m.in.Target == rec.Primary || slices.Contains(rec.Former, m.in.Target):
		return &Stuck{string(id), TargetUnfit, string(m.in.Target) + " is, or was, the primary, so it does not just follow again", "nothing has to be done"}
	}
	s := m.storeStep(Unseal, id, LeftSealed, []estate.MemberID{m.in.Target})
	s.Site = at.Site
	m.add(s)
	return nil
}
