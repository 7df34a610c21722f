package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
)

// doFollow points the others at the chosen one. Each that cannot be reached is left out; it
// is not listed then, and comes back later.
func (s *step) doFollow(ctx context.Context) (driver.Result, error) {
	chosen := s.Facts[factChosen]
	if chosen == "" {
		return driver.Result{Outcome: run.NotDone}, errors.New("follow: nobody was chosen")
	}
	up, err := s.upstream(chosen, toNumber(s.Facts[factCredential]), s.epoch())
	if err != nil {
		return driver.Result{Outcome: run.NotDone}, err
	}
	others := slices.DeleteFunc(s.sealable(), func(m string) bool { return m == chosen })
	if len(others) == 0 {
		return s.nobodyFollows(chosen, nil)
	}
	got := s.followers(ctx, others, up)
	var following []string
	f := run.Facts{}
	for _, m := range others {
		if got[m].err == nil {
			following = append(following, m)
			f["streaming/"+m] = got[m].Facts["streaming"]
		}
	}
	if len(following) == 0 {
		return s.nobodyFollows(chosen, got)
	}
	f[factFollowing] = join(following)
	note := fmt.Sprintf("%s receive from %s", listed(following), chosen)
	if len(following) < s.rule() {
		note += fmt.Sprintf("; the rule asks for %d, so writes will wait for another", s.rule())
	}
	return driver.Result{Outcome: run.Done, Facts: f, Note: note}, nil
}

// followers points members at up, all at the same time. Whoever was not compared with the chosen one is
// sealed first, since only then is it certain that it has stopped receiving from elsewhere, and
// what it holds can be known.
func (s *step) followers(ctx context.Context, members []string, up *agent.Upstream) map[string]reply {
	known := split(cmp.Or(s.Facts[factHeld], s.Facts[factSealed]))
	late := slices.DeleteFunc(slices.Clone(members), func(m string) bool { return slices.Contains(known, m) })
	unsealed := s.all(ctx, late, func(m string) agent.Order {
		o := s.order(agent.Seal, m)
		o.Sync, o.Any = s.peers(m), s.rule()
		return o
	})
	for m, r := range unsealed {
		// A former primary that was halted was so by the very run that made the record's primary what it is, and
		// that one held everything. The record's own may hold more than anybody, and so may one that has rejoined.
		if r.err == nil && !(s.former(m) && r.Facts["halted_lsn"] != "") {
			r.err = s.holdsMore(r)
			unsealed[m] = r
		}
	}
	ready := slices.DeleteFunc(slices.Clone(members), func(m string) bool { return unsealed[m].err != nil })
	got := s.all(ctx, ready, func(m string) agent.Order {
		o := s.order(agent.Follow, m)
		o.Upstream = up
		return o
	})
	for m, r := range unsealed {
		if r.err != nil {
			got[m] = r
		}
	}
	return got
}

// holdsMore refuses a late one that may hold what the chosen one does not: none of it was acknowledged,
// but pointed at the chosen one it would show a position ahead of the truth, and commits below that
// would be acknowledged at once.
func (s *step) holdsMore(r reply) error {
	h := heldOf(r.member, func(k string) string { return r.Facts[k] })
	whole := r.Facts["final"] == "true" && h.Timeline <= toNumber(s.Facts[factChosenTimeline]) && h.LSN <= toLSN(s.Facts[factChosenLSN])
	if r.Facts["running"] == "false" && r.Facts["halted_lsn"] != "" {
		// It ended with the record that begins there; whoever has replayed beyond has all of it.
		h.Timeline, h.LSN = toNumber(r.Facts["halted_timeline"]), toLSN(r.Facts["halted_lsn"])
		whole = h.Timeline == toNumber(s.Facts[factChosenTimeline]) && h.LSN < toLSN(s.Facts[factChosenReplayed])
	}
	if whole {
		return nil
	}
	return fmt.Errorf("member %s holds up to %s on timeline %d, the chosen one up to %s on %s: it must be rewound first",
		r.member, h.LSN, h.Timeline, s.Facts[factChosenLSN], s.Facts[factChosenTimeline])
}

// nobodyFollows refuses to go on to a promotion after which nobody could acknowledge.
func (s *step) nobodyFollows(chosen string, got map[string]reply) (driver.Result, error) {
	out := run.NotDone
	for _, r := range got {
		if !agent.Unchanged(r.err) {
			out = run.Unknown // it may have heard
		}
	}
	why := errorsOf(got)
	if why == nil {
		why = errors.New("there is no other")
	}
	return driver.Result{Outcome: out, Ask: fmt.Sprintf(
			"%s: no other member can follow %s, so it would have to acknowledge alone, and the estate says alone: %s. Bring another member back",
			s.Step.Component, chosen, orRefuse(s.store.Alone))},
		fmt.Errorf("follow: nobody can follow %s: %w", chosen, why)
}

func orRefuse(alone string) string {
	if alone == "" {
		return "refuse"
	}
	return alone
}

func (s *step) lookFollow(ctx context.Context) (driver.Result, error) {
	chosen := s.Facts[factChosen]
	others := slices.DeleteFunc(s.sealable(), func(m string) bool { return m == chosen })
	got := s.all(ctx, others, func(m string) agent.Order { return s.order(agent.Status, m) })
	var following []string
	for _, m := range others {
		if f := got[m].Facts; got[m].err == nil && f["agent/upstream"] == chosen && toNumber(f["agent/upstream_reign"]) == s.epoch() && f["sealed"] == "false" {
			following = append(following, m)
		}
	}
	if len(following) == len(others) && len(others) > 0 {
		return driver.Result{Outcome: run.Done, Facts: run.Facts{factFollowing: join(following)}, Note: listed(following) + " receive from " + chosen}, nil
	}
	// Doing it again reaches those that did not hear of it; it changes nothing for the rest.
	return driver.Result{Outcome: run.NotDone}, nil
}
