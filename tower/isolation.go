package tower

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/executor"
)

// isolation is what a tower does when it hears no other site: it takes its own site's
// answers out of its own site's name servers, so that users who still get here are
// sent where their writes are acknowledged, and ends reads where a store wants them fresh.
// Each is a run like any other, journaled in the spool. When the others are heard again,
// the same servers are brought level, and what was closed opens.
type isolation struct {
	n     *Node
	spool *spool
	exec  *executor.Executor
	busy  atomic.Bool
	next  atomic.Int64 // unix nanoseconds before which nothing is tried again
	fails int          // in a row; only who made busy true touches it
}

// isolatedFor is how long a run of an isolated tower may take.
const isolatedFor = 5 * time.Second

// mostFails bounds how rarely something that fails is tried again: 2^mostFails seconds.
const mostFails = 5

// handedOver is how many events of the spool go into the journal in one transaction.
const handedOver = 50

func newIsolation(n *Node) (*isolation, error) {
	i := &isolation{n: n}
	var err error
	i.spool, err = openSpool(filepath.Join(n.cfg.Data, "spool.jsonl"), n.cfg.Site, func() (estate.Estate, map[estate.StoreID]situation.Store) {
		b := n.beliefs()
		return i.own(b.estate), b.snap.Stores
	})
	if err != nil {
		return nil, err
	}
	i.exec, err = executor.New(executor.Config{Tower: n.cfg.Name, Book: i.spool, Drivers: n.orders(n), Now: n.now, Log: n.log})
	return i, err
}

// own is the estate as far as an isolated site reaches: only its own name servers.
func (i *isolation) own(e estate.Estate) estate.Estate {
	names := make(map[estate.NameID]estate.Name, len(e.Names))
	for id, name := range e.Names {
		name.Servers = slices.DeleteFunc(slices.Clone(name.Servers), func(h estate.HostID) bool { return e.SiteOf(h) != i.n.cfg.Site })
		names[id] = name
	}
	e.Names = names
	return e
}

// consider starts what the beliefs ask for, beside the mind.
func (i *isolation) consider(ctx context.Context, b *beliefs) {
	if i.n.now().UnixNano() < i.next.Load() || b.snap.Estate.Version == 0 || b.snap.Line.Foreign(b.snap.Cluster) {
		return
	}
	quorum := i.n.quorum().Have
	var act func(context.Context, *beliefs) error
	switch alone := b.now.Alone(i.n.cfg.Site); {
	case alone && !quorum && !i.withdrawn(b):
		act = i.withdraw
	case !alone && quorum && len(i.spool.held()) > 0:
		act = i.rejoin
	default:
		return
	}
	if !i.busy.CompareAndSwap(false, true) {
		return
	}
	i.n.spawn(ctx, func(ctx context.Context) {
		defer i.busy.Store(false)
		ctx, cancel := context.WithTimeout(ctx, isolatedFor)
		defer cancel()
		if err := act(ctx, b); err == nil || errors.Is(err, plan.ErrNothing) {
			i.fails = 0
		} else {
			i.n.log.Warn("isolated", "error", err)
			i.fails = min(i.fails+1, mostFails)
		}
		i.next.Store(i.n.now().Add(time.Second << i.fails).UnixNano())
	})
}

// wanted is what an isolated site has to do by itself: users leave, and reads that have to be
// fresh end.
func (i *isolation) wanted(b *beliefs) []plan.Input {
	site := i.n.cfg.Site
	because := []string{fmt.Sprintf("%s hears no other site, so its site must send nobody to itself", i.n.cfg.Name)}
	out := []plan.Input{{Kind: plan.CutUsers, Subject: string(site), Stores: b.snap.Stores, Withdrawn: b.snap.Withdrawn, Returning: b.snap.Returning, Because: because}}
	for _, id := range b.estate.StoreIDs() {
		if b.estate.Stores[id].Reads == "fresh" {
			out = append(out, plan.Input{Kind: plan.CloseReads, Subject: string(id), At: site, Stores: b.snap.Stores,
				Because: []string{fmt.Sprintf("%s hears no other site, and reads of %s must be fresh", i.n.cfg.Name, id)}})
		}
	}
	return out
}

// withdrawn says whether all of that came to its end.
func (i *isolation) withdrawn(b *beliefs) bool {
	done := i.spool.standing()
	return !slices.ContainsFunc(i.wanted(b), func(in plan.Input) bool {
		r, ok := done[subject{in.Kind, in.Subject}]
		return !ok || r.Status() != run.StatusDone || i.reopened(b, in)
	})
}

// reopened says that a member whose reads were ended runs: somebody has started it by hand since.
func (i *isolation) reopened(b *beliefs, in plan.Input) bool {
	if in.Kind != plan.CloseReads {
		return false
	}
	id := estate.StoreID(in.Subject)
	return slices.ContainsFunc(b.estate.Stores[id].MemberIDs(), func(m estate.MemberID) bool {
		return b.estate.Stores[id].Members[m].Site == i.n.cfg.Site && b.facts(id, m)[situation.FactRunning] == "true"
	})
}

// withdraw does what is not done yet. A run that was not ended, since the process died or
// the servers were slow, is gone on with; what fails keeps nothing else from being done.
func (i *isolation) withdraw(ctx context.Context, b *beliefs) error {
	if i.n.held.Load() != nil || len(b.snap.Holds) > 0 || len(b.snap.Armed) == 0 {
		return nil
	}
	standing := i.spool.standing()
	var errs []error
	for _, in := range i.wanted(b) {
		switch r, ok := standing[subject{in.Kind, in.Subject}]; {
		case ok && r.Closed == "":
			errs = append(errs, i.exec.Carry(ctx, r.ID, b.snap.Drive.Term))
		case !ok || r.Status() != run.StatusDone || i.reopened(b, in):
			if err := i.run(ctx, b, in); !errors.Is(err, plan.ErrNothing) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// rejoin brings the own servers level with what the towers agreed, and hands over the spool.
// What they agreed is asked of the quorum: what this tower saw last is from before it was alone.
func (i *isolation) rejoin(ctx context.Context, b *beliefs) error {
	agreed, err := i.n.store.Agreed(ctx, b.estate.StoreIDs(), b.estate.NameIDs())
	if err != nil {
		return err
	}
	for _, host := range slices.Sorted(maps.Keys(b.estate.Hosts)) {
		h := b.estate.Hosts[host]
		if h.Site != i.n.cfg.Site || h.Address == "" || len(b.estate.NamesOf(host)) == 0 {
			continue
		}
		err := i.run(ctx, b, plan.Input{Kind: plan.LevelDNS, Subject: string(host), Stores: agreed.Stores, Withdrawn: agreed.Withdrawn,
			Because: []string{i.n.cfg.Name + " hears the other sites again"}})
		if err != nil {
			return err
		}
	}
	for _, id := range i.spool.closed() {
		err := i.run(ctx, b, plan.Input{Kind: plan.OpenReads, Subject: string(id), At: i.n.cfg.Site, Stores: agreed.Stores,
			Because: []string{i.n.cfg.Name + " hears the other sites again"}})
		if err != nil && !errors.Is(err, plan.ErrNothing) {
			return err
		}
	}
	return i.handOver(ctx)
}

// handOver brings the spool into the towers' journal, a piece at a time.
func (i *isolation) handOver(ctx context.Context) error {
	for events := i.spool.held(); len(events) > 0; events = i.spool.held() {
		some := events[:min(len(events), handedOver)]
		var entries []journal.Entry
		for _, ev := range some {
			data, err := json.Marshal(ev)
			if err != nil {
				return err
			}
			entries = append(entries, journal.Entry{At: ev.At, Kind: "spool", Subject: string(ev.Run), Data: data,
				Text: i.n.cfg.Name + ", alone: " + run.Text(ev)})
		}
		if _, err := i.n.store.Note(ctx, entries...); err != nil {
			return err
		}
		if err := i.spool.forget(len(some)); err != nil {
			return err
		}
	}
	return nil
}

func (i *isolation) run(ctx context.Context, b *beliefs, in plan.Input) error {
	in.Estate = i.own(b.estate)
	in.Now = situation.Situation{At: b.now.At} // what this tower believes of the others says nothing now
	p, err := plan.Make(in)
	if err != nil {
		return err
	}
	term := b.snap.Drive.Term
	id, err := i.exec.Open(ctx, term, executor.Opening{Plan: p, Estate: in.Estate, Version: b.snap.Estate.Version})
	if err != nil {
		return err
	}
	return i.exec.Carry(ctx, id, term)
}
