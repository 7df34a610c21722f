package tower

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/simulate"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/forecast"
	"github.com/haechi/haechi/tower/web"
)

// When the audit is made again.
const (
	auditEvery = time.Second      // it is looked so often whether what it rests on has changed
	staleAfter = 5 * time.Minute  // what nobody has seen for so long is not there
	calm       = 30 * time.Second // after something about a site has changed: until then the machine is for those who watch
)

// auditor is the goroutine that audits the estate in force. It reads beliefs and leaves a value: nobody
// waits for it, and whatever goes wrong in it costs only what it would have said.
type auditor struct {
	beliefs func() *beliefs
	now     func() time.Time
	log     *slog.Logger
	audit   func(audit.Input) (audit.Report, error)

	foresight foresight

	unseen map[string]time.Time // components that nobody sees, in sites that live: since when
	basis  string               // what the last audit rested on
	last   atomic.Pointer[web.Audit]
}

func newAuditor(n *Node) *auditor {
	a := &auditor{beliefs: n.beliefs, now: n.now, log: n.log, audit: audit.Audit, unseen: map[string]time.Time{}}
	if n.cfg.Data != "" {
		a.foresight.dir = filepath.Join(n.cfg.Data, "forecasts")
	}
	a.last.Store(&web.Audit{Why: "there is no estate yet, or it was not audited yet"})
	return a
}

// run looks until ctx ends.
func (a *auditor) run(ctx context.Context) {
	for ctx.Err() == nil {
		a.look()
		pause(ctx, auditEvery)
	}
}

// look audits anew where the estate, the day, or what is known of drills, times and life has
// changed. While a run is open, or a site has just become suspect or worse, it waits: what burns has the
// machine for itself, and a tower that calculates might be late to see it.
func (a *auditor) look() {
	b, at := a.beliefs(), a.now()
	seen := a.seen(b, at)
	if b.snap.Estate.Version == 0 || len(b.snap.OpenRuns()) > 0 || stirred(b.now, at) {
		return
	}
	in := audit.Input{Estate: b.inForce(), Now: at, Proven: b.proven(), Seen: seen}
	basis := fmt.Sprint(b.snap.Estate.Version, at.UTC().Format(time.DateOnly), len(b.snap.Index), in.Proven, seen, b.primaries())
	if basis == a.basis {
		return
	}
	a.basis = basis
	out := a.make(in, b)
	a.last.Store(&out)
	a.foresee(b, at)
}

// foresee keeps forecasts; a panic in it costs only these.
func (a *auditor) foresee(b *beliefs, at time.Time) {
	defer func() {
		if r := recover(); r != nil {
			a.log.Error("the forecast broke", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	if err := a.foresight.foresee(b, at); err != nil {
		a.log.Warn("what was foreseen could not be kept, or not be read", "in", a.foresight.dir, "error", err)
	}
}

// stirred says whether a site has not been up for a moment.
func stirred(now situation.Situation, at time.Time) bool {
	for _, v := range now.Sites {
		if v.State != situation.Up && at.Sub(v.Since) < calm {
			return true
		}
	}
	return false
}

// make audits. A panic in it is an audit that says so.
func (a *auditor) make(in audit.Input, b *beliefs) (out web.Audit) {
	out = web.Audit{At: in.Now, Version: b.snap.Estate.Version}
	begun := a.now()
	defer func() {
		if r := recover(); r != nil {
			a.log.Error("the audit broke", "panic", r, "stack", string(debug.Stack()))
			out.Why = fmt.Sprintf("the audit broke (%v); the tower's log says where, and nothing else hangs on it", r)
		}
		out.TookMS = float64(a.now().Sub(begun).Microseconds()) / 1000
	}()
	in.Back = forecast.Back(in.Estate, b.model())
	r, err := a.audit(in)
	if err != nil {
		out.Why = err.Error()
		return out
	}
	out.Report = r
	if after, err := audit.After(in.Estate); err == nil {
		out.Names = after.Components
	}
	return out
}

// seen says of each component that is looked at in a site that lives whether it is there: somebody has
// seen it within staleAfter, or nobody has looked for so long yet. One that is looked at in several
// ways or places is there if any of them is. In a site that is not up it is not asked.
func (a *auditor) seen(b *beliefs, at time.Time) map[string]bool {
	here, sharing := map[string]bool{}, b.sharing()
	for _, t := range b.targets {
		if b.now.Sites[t.Site].State != situation.Up {
			continue
		}
		s := b.now.Things[t.ID].State
		for _, c := range b.components(t, sharing) {
			here[c] = here[c] || s == situation.Up || s == situation.Suspect
		}
	}
	maps.DeleteFunc(a.unseen, func(c string, _ time.Time) bool { seen, asked := here[c]; return seen || !asked })
	for c, seen := range here {
		if seen {
			continue
		}
		if _, known := a.unseen[c]; !known {
			a.unseen[c] = at
		}
		here[c] = at.Sub(a.unseen[c]) < staleAfter
	}
	return here
}

// components are those of which a target tells: of an agent all hosts that share it.
func (b *beliefs) components(t situation.Target, sharing map[[2]string][]string) []string {
	if t.Kind != situation.KindAgent {
		return []string{t.Component}
	}
	return sharing[[2]string{string(t.Site), t.Address}]
}

// sharing lists the hosts by the site and address of their agent.
func (b *beliefs) sharing() map[[2]string][]string {
	out := map[[2]string][]string{}
	for name, h := range b.estate.Hosts {
		k := [2]string{string(h.Site), h.Agent}
		out[k] = append(out[k], string(name))
	}
	return out
}

// inForce is the estate with the primaries that the records say, which it names only as they were at first.
func (b *beliefs) inForce() estate.Estate {
	e := b.estate
	e.Stores = maps.Clone(e.Stores)
	for id, p := range b.primaries() {
		s := e.Stores[id]
		s.Primary = p
		e.Stores[id] = s
	}
	return e
}

func (b *beliefs) primaries() map[estate.StoreID]estate.MemberID {
	out := map[estate.StoreID]estate.MemberID{}
	for id, rec := range b.snap.Stores {
		if s, ok := b.estate.Stores[id]; ok && rec.Epoch > 0 {
			if _, member := s.Members[rec.Primary]; member {
				out[id] = rec.Primary
			}
		}
	}
	return out
}

// proven is when each site, and each service that stands in one, was last without it and lived: a site was
// emptied on purpose, or lost, and the run about it was done.
func (b *beliefs) proven() map[string]time.Time {
	out := map[string]time.Time{}
	prove := func(name string, at time.Time) {
		if at.After(out[name]) {
			out[name] = at
		}
	}
	for _, r := range b.snap.Index {
		if (r.Kind == plan.Evacuate || r.Kind == plan.LoseSite) && !r.Open() && strings.HasPrefix(r.Why, "done") {
			prove(r.Subject, r.Closed)
		}
	}
	for _, site := range slices.Sorted(maps.Keys(out)) {
		for id := range b.estate.Services {
			if b.standsIn(id, estate.SiteID(site)) {
				prove(string(id), out[site])
			}
		}
	}
	return out
}

// standsIn says whether a service has servers in a site, or users are sent there for it.
func (b *beliefs) standsIn(id estate.ServiceID, site estate.SiteID) bool {
	for p := range b.estate.Services[id].Runs {
		if b.estate.Pools[p].Site == site {
			return true
		}
	}
	for _, n := range b.estate.Names {
		if n.Service == id && len(n.Answers[site]) > 0 {
			return true
		}
	}
	return false
}

// model is what a forecast draws from: what recent runs took, and defaults where there is too little of that.
func (b *beliefs) model() simulate.Model {
	m := simulate.Defaults(b.estate)
	var entries []journal.Entry
	for _, id := range slices.Sorted(maps.Keys(b.snap.Runs)) {
		for _, ev := range b.snap.Runs[id] {
			raw, err := json.Marshal(ev)
			if err != nil {
				return m
			}
			entries = append(entries, journal.Entry{Kind: "run", Data: raw})
		}
	}
	measured, _, err := m.Measured(entries)
	if err != nil {
		return m
	}
	return measured
}
