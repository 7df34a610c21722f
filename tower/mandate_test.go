package tower

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/testkit"
	"github.com/haechi/haechi/tower/state"
)

// renewing is a world whose mandates are renewed, by the terms that did it.
type renewing struct {
	*testkit.World
	mu    sync.Mutex
	terms []uint64
	last  driver.Task
}

func (r *renewing) Renew(_ context.Context, t driver.Task) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.terms, r.last = append(r.terms, t.Term), t
	return nil
}

func (r *renewing) all() ([]uint64, driver.Task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.terms), r.last
}

func (r *renewing) by(term uint64) (n int) {
	terms, _ := r.all()
	for _, t := range terms {
		if t == term {
			n++
		}
	}
	return n
}

// A mandate is renewed by the tower that drives and by no other, and by nobody without a quorum.
func TestAMandateIsRenewedByWhoDrivesAlone(t *testing.T) {
	w := newTown(t, "a", "b", "c")
	r := &renewing{World: w.world}
	for s, cfg := range w.cfg {
		n, err := start(cfg, logged(t).With("tower", s), func(*Node) map[string]driver.Driver {
			return map[string]driver.Driver{"postgres": r, "dns": r}
		})
		must(t, err)
		w.nodes[s] = n
		t.Cleanup(func() { w.down(s) })
	}
	first := w.driver()
	w.apply(first, withStore(w.estate(), 1))
	old, _ := first.driving()
	alone := situation.Store{Epoch: 1, Next: 1, Primary: "a", Sync: []estate.MemberID{"b", "c"}, Any: 1, Alone: true}
	_, err := first.store.Append(within(t), old, []journal.Entry{{Kind: "test", Text: "a goes on alone"}}, state.StorePut{ID: "talk-db", Store: alone})
	must(t, err)
	until(t, "the mandate is renewed again and again", func() bool { return r.by(old.Term) >= 2 })
	if _, last := r.all(); last.Store.Epoch != 1 || !last.Store.Alone || !slices.Equal(last.Step.Members, []string{"a"}) {
		t.Errorf("%+v", last)
	}

	var second *Node
	for _, n := range w.nodes {
		if n != first {
			second = n
		}
	}
	d, err := second.claim(within(t), old)
	must(t, err)
	until(t, "the next one renews it", func() bool { // where the machine is starved a third may claim before it does
		second = w.driver()
		d, _ = second.driving()
		return d.Term > old.Term && r.by(d.Term) > 0
	})
	terms, _ := r.all()
	if next := slices.IndexFunc(terms, func(t uint64) bool { return t > old.Term }); slices.Contains(terms[next:], old.Term) {
		t.Errorf("the one that was deposed goes on: %v", terms)
	}
	// The record that was read with the drive decides, not what the tower believes.
	b := *second.beliefs()
	m := &mandates{n: first, drivers: first.orders(first)}
	before := r.by(old.Term)
	if err := m.renew(within(t), old, &b, "talk-db"); err == nil || r.by(old.Term) != before {
		t.Errorf("a tower that was deposed renews: %v", err)
	}

	for s, n := range w.nodes {
		if n != second {
			w.down(s)
		}
	}
	until(t, "it knows that it has no quorum", func() bool { return !second.quorum().Have })
	m = &mandates{n: second, drivers: second.orders(second)}
	before = r.by(d.Term)
	ctx, cancel := context.WithTimeout(t.Context(), renewEvery+200*time.Millisecond)
	defer cancel()
	if err := m.renew(ctx, d, &b, "talk-db"); err == nil {
		t.Error("it is renewed without a quorum")
	}
	<-ctx.Done()
	if after := r.by(d.Term); after != before {
		t.Errorf("%d renewals without a quorum", after-before)
	}
}
