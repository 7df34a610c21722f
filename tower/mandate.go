package tower

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/tower/state"
)

const (
	// renewEvery is how often a mandate is renewed.
	renewEvery = driver.Mandate / 4
	// renewLook is how often it is looked whether one is due: a tower that has just begun to
	// drive renews at once.
	renewLook = renewEvery / 5
)

// mandates renews those of stores that go on alone, while this tower drives and the quorum
// says so. Whoever does not drive any more, or cannot ask the quorum, renews nothing, and
// then the mandate ends in the kernel of the primary's host, whether or not anybody is there.
type mandates struct {
	n       *Node
	drivers map[string]driver.Driver
	due     map[estate.StoreID]renewal
	failed  map[estate.StoreID]string // as it was logged
}

// renewal is the last one of a store.
type renewal struct {
	drive state.Drive
	at    time.Time
	done  chan error // nil: it has ended
}

// keepMandates runs until ctx ends.
func (n *Node) keepMandates(ctx context.Context) {
	m := &mandates{n: n, drivers: n.orders(n), due: map[estate.StoreID]renewal{}, failed: map[estate.StoreID]string{}}
	t := time.NewTicker(renewLook)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			m.look(ctx, n.beliefs())
		}
	}
}

// look renews what is due, beside itself: one host that is slow delays no other.
func (m *mandates) look(ctx context.Context, b *beliefs) {
	drive, driving := m.n.driving()
	for _, id := range slices.Sorted(maps.Keys(b.snap.Stores)) {
		last := m.due[id]
		if last.done != nil {
			select {
			case err := <-last.done:
				last.done = nil
				m.due[id] = last
				m.ended(id, err)
			default:
				continue
			}
		}
		if !driving || !b.snap.Stores[id].Alone || !m.n.quorum().Have || last.drive == drive && m.n.now().Sub(last.at) < renewEvery {
			continue
		}
		done := make(chan error, 1)
		m.due[id] = renewal{drive, m.n.now(), done}
		m.n.spawn(ctx, func(ctx context.Context) { done <- m.renew(ctx, drive, b, id) })
	}
}

// ended logs what became of a renewal, each failure once.
func (m *mandates) ended(id estate.StoreID, err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	if why != m.failed[id] && why != "" {
		m.n.log.Warn("a mandate is not renewed, and ends soon", "store", id, "error", err)
	}
	m.failed[id] = why
}

// renew asks the quorum first: an order that it would not stand behind is not given. What a
// tower that was deposed may still have on its way is older than the answer.
func (m *mandates) renew(ctx context.Context, d state.Drive, b *beliefs, id estate.StoreID) error {
	ctx, cancel := context.WithTimeout(ctx, renewEvery)
	defer cancel()
	now, err := m.n.store.Drive(ctx)
	if err != nil {
		return err
	}
	if now != d {
		return fmt.Errorf("%s drives under term %d", now.Tower, now.Term)
	}
	agreed, err := m.n.store.Agreed(ctx, []estate.StoreID{id}, nil)
	if err != nil {
		return err
	}
	rec := agreed.Stores[id]
	if !rec.Alone {
		return nil
	}
	return m.order(ctx, d.Term, b.estate, id, rec)
}

// order has the driver of the store renew its mandate.
func (m *mandates) order(ctx context.Context, term uint64, e estate.Estate, id estate.StoreID, rec situation.Store) error {
	engine := e.Stores[id].Engine
	r, ok := m.drivers[engine].(driver.Renewer)
	if !ok {
		return fmt.Errorf("this tower has no driver %q that renews a mandate", engine)
	}
	return r.Renew(ctx, driver.Task{Term: term, Estate: e, Store: rec,
		Step: plan.Step{Verb: plan.Alone, Driver: engine, Component: string(id), Members: []string{string(rec.Primary)}}})
}
