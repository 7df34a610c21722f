package plan

import (
	"maps"
	"slices"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// home brings back the answers of a site that are out, and returns the last steps. Where people
// emptied the site it stays empty until they say otherwise.
func (m *maker) home(at estate.SiteID) (last []int) {
	if want := m.in.Intents[at]; want == situation.Draining || want == situation.Drained {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(m.in.Estate.Names)) {
		if !slices.Contains(m.in.Withdrawn[id], at) {
			continue
		}
		s, stuck := m.nameStep(Announce, id, m.in.Estate.Names[id], at, Returned)
		if stuck != nil {
			m.block(stuck)
			continue
		}
		s.Undo = Withdraw
		last = append(last, m.add(s))
	}
	return last
}
