package tower

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/simulate"
	"github.com/haechi/haechi/tower/forecast"
	"github.com/haechi/haechi/tower/web"
)

// Limits of what people ask about what has not happened.
const (
	ifRuns = 300 // simulated for one answer
	ifKept = 64  // answers
)

// ifs answers one question at a time, however many people ask, and keeps what it answered until what
// that rests on has changed.
type ifs struct {
	turn chan struct{} // holds one while somebody computes

	mu    sync.Mutex // guards what follows
	basis string
	made  map[string]web.If
}

func newIfs() *ifs { return &ifs{turn: make(chan struct{}, 1), made: map[string]web.If{}} }

func (i *ifs) kept(basis, key string) (web.If, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.basis != basis || len(i.made) >= ifKept {
		i.basis, i.made = basis, map[string]web.If{}
	}
	out, ok := i.made[key]
	return out, ok
}

func (i *ifs) keep(basis, key string, v web.If) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.basis == basis {
		i.made[key] = v
	}
}

// Audit is the newest audit of the estate in force.
func (n *Node) Audit() web.Audit { return *n.audits.last.Load() }

// If says what would be if some components were lost now, beside the sites that are gone.
func (n *Node) If(ctx context.Context, lose []string) (web.If, error) {
	b := n.beliefs()
	if b.snap.Estate.Version == 0 {
		return web.If{}, noEstate()
	}
	basis := fmt.Sprint(b.snap.Estate.Version, b.now.Gone(), b.primaries(), b.snap.Withdrawn, len(b.snap.Index), len(b.snap.OpenRuns()))
	key := strings.Join(slices.Sorted(slices.Values(lose)), ",")
	if out, ok := n.ifs.kept(basis, key); ok {
		return out, nil
	}
	select {
	case n.ifs.turn <- struct{}{}:
		defer func() { <-n.ifs.turn }()
	case <-ctx.Done():
		return web.If{}, context.Cause(ctx)
	}
	out, err := b.what(ctx, lose)
	if err != nil {
		return out, err
	}
	out.At = n.now()
	n.ifs.keep(basis, key, out)
	return out, nil
}

// what says what would be if some components were lost.
func (b *beliefs) what(ctx context.Context, lose []string) (web.If, error) {
	out := web.If{Version: b.snap.Estate.Version, Lose: lose, Gone: []string{}, Plans: []plan.Plan{}, Stuck: []string{}}
	all := slices.Clone(lose)
	for _, s := range b.now.Gone() {
		if !slices.Contains(lose, string(s)) {
			out.Gone, all = append(out.Gone, string(s)), append(all, string(s))
		}
	}
	e := b.inForce()
	var err error
	if out.Falls, err = audit.Blast(e, all...); err != nil {
		return out, &web.Refused{Code: web.NotFound, Why: err.Error(), Do: "the page If lists the sites; haechi blast says the same of a file"}
	}
	s, err := simulate.New(e, all, b.model())
	if err != nil {
		out.NoTimes = err.Error()
	}
	b.moves(&out, s, all)
	if s != nil {
		f, err := forecast.Run(ctx, s, ifRuns, 1, nil)
		if err != nil {
			return out, err
		}
		out.Forecast = &f
	}
	return out, nil
}

// moves fills in what would be done: for sites the plan that would be made now, from the records; for
// what is smaller the plans of the forecast.
func (b *beliefs) moves(out *web.If, s *simulate.Simulation, all []string) {
	var sites []estate.SiteID
	for _, c := range all {
		if _, ok := b.estate.Sites[estate.SiteID(c)]; ok {
			sites = append(sites, estate.SiteID(c))
		}
	}
	slices.Sort(sites)
	if len(sites) == 0 {
		if s != nil {
			out.Plans = append(out.Plans, s.Plans()...)
		}
		return
	}
	p, err := plan.Make(plan.Input{Estate: b.estate, Now: b.now, Stores: b.snap.Stores, Kind: plan.LoseSite, Subject: string(sites[0]), Lost: sites, Withdrawn: b.snap.Withdrawn, Returning: b.snap.Returning})
	if err == nil {
		out.Plans = append(out.Plans, p)
	}
	for _, no := range p.Blocked {
		out.Stuck = append(out.Stuck, fmt.Sprintf("%s: %s; the way out: %s", no.Component, no.Why, no.Out))
	}
	if err != nil && len(p.Blocked) == 0 && !errors.Is(err, plan.ErrNothing) {
		out.Stuck = append(out.Stuck, err.Error())
	}
}
