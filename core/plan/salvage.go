package plan

import (
	"fmt"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// Choice is what a person decided about a salvage.
type Choice struct {
	Salvage   situation.Salvage
	Rows      string // "1,3-5"; empty: all of them
	Overwrite bool
	By        string
}

// decided writes rows of a salvage back, or gives it up. Each is one step, on the primary; a salvage
// that is given up needs nobody's server, and those whom policy names have to agree in the step.
func (m *maker) decided() *Stuck {
	id := estate.StoreID(m.in.Subject)
	if stuck := m.declared(id); stuck != nil {
		return stuck
	}
	c, rec := m.in.Choice, m.in.Stores[id]
	at := m.in.Estate.Stores[id].Members[rec.Primary]
	switch s := c.Salvage; {
	case s.ID == "" || s.Store != id:
		return &Stuck{string(id), NotDeclared, "there is no such salvage of this store", "haechi salvage list shows those that there are"}
	case s.State != situation.SalvageOpen:
		return &Stuck{string(id), AlreadySo, fmt.Sprintf("salvage %s is %s already", s.ID, s.State), "nothing has to be done"}
	case m.in.Kind == Restore && m.gone[at.Site]:
		return &Stuck{string(id), NotReachable, "its primary " + string(rec.Primary) + " stands in " + string(at.Site) + ", which is out of reach", "bring the site back, or move the store"}
	}
	verb := Apply
	if m.in.Kind == GiveUp {
		verb = Discard
	}
	s := m.storeStep(verb, id, Asked, []estate.MemberID{rec.Primary})
	s.Site = at.Site
	s.arg(ArgSalvage, c.Salvage.ID)
	s.arg(ArgRows, c.Rows)
	s.arg(ArgBy, c.By)
	if c.Overwrite {
		s.arg(ArgOverwrite, "true")
	}
	m.add(s)
	return nil
}
