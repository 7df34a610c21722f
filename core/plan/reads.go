package plan

import (
	"maps"
	"slices"

	"github.com/haechi/haechi/core/estate"
)

// reads closes the members of the site Input.At, or opens them again. A site whose primary can still
// be acknowledged inside it is left alone: what it answers is what is true. What the record
// counts no more stays closed: it would answer with what others have overtaken.
func (m *maker) reads() *Stuck {
	id := estate.StoreID(m.in.Subject)
	if stuck := m.declared(id); stuck != nil {
		return stuck
	}
	e, rec := m.in.Estate.Stores[id], m.in.Stores[id]
	if rec.Epoch == 0 {
		return &Stuck{string(id), NotAdopted, "it has never come under an epoch", "let haechi adopt it first"}
	}
	var here, counted []estate.MemberID
	beside := 0
	for _, member := range slices.Sorted(maps.Keys(e.Members)) {
		if e.Members[member].Site != m.in.At || slices.Contains(rec.Former, member) {
			continue
		}
		here = append(here, member)
		if helps := slices.Contains(rec.Sync, member); member == rec.Primary || helps {
			counted = append(counted, member)
			if member != rec.Primary {
				beside++
			}
		}
	}
	verb, r, members := Close, SiteIsolated, here
	if m.in.Kind == OpenReads {
		verb, r, members = Open, Returned, counted
	} else if e.Members[rec.Primary].Site == m.in.At && beside >= rec.LeastAny {
		return nil
	}
	for _, member := range members {
		s := m.storeStep(verb, id, r, []estate.MemberID{member})
		s.Site = m.in.At
		m.add(s)
	}
	return nil
}
