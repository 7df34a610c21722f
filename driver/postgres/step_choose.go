package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
)

// doChoose finds the sealed member that holds the most and waits until it has replayed it.
func (s *step) doChoose(ctx context.Context) (driver.Result, error) {
	held, err := s.held(ctx)
	if err != nil {
		return driver.Result{Outcome: run.NotDone}, err
	}
	best, err := choose(held, s.Store, s.Step.Args[plan.ArgPrefer])
	if err != nil {
		return driver.Result{Outcome: run.NotDone, Ask: s.Step.Component + ": " + err.Error()}, fmt.Errorf("choose: %w", err)
	}
	if !slices.Contains(s.Step.Members, best.Member) || s.outside(best.Member) {
		return driver.Result{Outcome: run.NotDone, Ask: fmt.Sprintf("%s: %s holds the most (%s) and may not become primary in this plan; another one would lose what only it holds", s.Step.Component, best.Member, best.LSN)},
			fmt.Errorf("choose: %s holds the most and is not among the candidates %s", best.Member, listed(s.Step.Members))
	}
	f, err := s.replayed(ctx, best.Member)
	if err != nil {
		return driver.Result{Outcome: run.NotDone}, err
	}
	if end := toLSN(s.Facts[factHaltedLSN]); end != 0 && toLSN(f["replayed"]) <= end {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("choose: %s has replayed up to %s; %s ended at %s", best.Member, f["replayed"], s.Facts[factHalted], end)
	}
	if toNumber(f["credential"]) == 0 {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("choose: role %s on %s has the credential of no known epoch, so nobody could follow it; is the root secret the same on every host?", ReplicationRole, best.Member)
	}
	return driver.Result{Outcome: run.Done, Note: fmt.Sprintf("%s holds the most: timeline %d, %s", best.Member, best.Timeline, best.LSN),
		Facts: run.Facts{factChosen: best.Member, factCredential: f["credential"], factHeld: join(membersOf(held)),
			run.FactSite:  string(s.store.Members[estate.MemberID(best.Member)].Site),
			factChosenLSN: best.LSN.String(), factChosenReplayed: f["replayed"], factChosenTimeline: number(best.Timeline)}}, nil
}

// held returns what each sealed member holds. What the seal said is final where it says so;
// a server that was started since has to replay first, and is asked until it is done.
func (s *step) held(ctx context.Context) ([]Held, error) {
	var out []Held
	var errs []error
	for _, m := range split(s.Facts[factSealed]) {
		fact := func(k string) string { return s.Facts[k+"/"+m] }
		// Who was pointed at a primary that the record does not know may have its timeline on the
		// disk and not have replayed so far, and then does not say so.
		known := toNumber(fact("agent/upstream_reign")) <= s.Store.Epoch
		if fact("final") == "true" && (known || fact("replayed_all") == "true") {
			out = append(out, heldOf(m, fact))
			continue
		}
		f, err := s.replayed(ctx, m)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, heldOf(m, func(k string) string { return f[k] }))
	}
	if len(s.counting(membersOf(out))) < s.need() && s.Facts[run.FactAccepted+string(plan.Seal)] == "" {
		return nil, fmt.Errorf("choose: only %s have said what they hold, %d are needed: %w", listed(membersOf(out)), s.need(), errors.Join(errs...))
	}
	return out, nil
}

func heldOf(m string, fact func(string) string) Held {
	return Held{Member: m, Timeline: toNumber(fact("timeline")), LSN: max(toLSN(fact("lsn")), toLSN(fact("received"))), Reign: toNumber(fact("agent/upstream_reign"))}
}

func membersOf(held []Held) []string {
	var out []string
	for _, h := range held {
		out = append(out, h.Member)
	}
	return out
}

// replayed waits until a sealed member has replayed all that it holds. A seal that is
// repeated ends whoever blocks replay.
func (s *step) replayed(ctx context.Context, member string) (map[string]string, error) {
	if s.Facts["replayed_all/"+member] == "true" && s.Facts["credential/"+member] != "" {
		f := map[string]string{} // it was at its end when it was sealed, and nothing came since
		for _, k := range []string{"credential", "lsn", "timeline", "replayed"} {
			f[k] = s.Facts[k+"/"+member]
		}
		return f, nil
	}
	for wait := 4 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		a, err := s.call(ctx, member, s.order(agent.Position, member))
		switch {
		case err != nil:
			return nil, err
		case a.Facts["sealed"] != "true" || toNumber(a.Facts["sealed_epoch"]) != s.epoch():
			return nil, fmt.Errorf("choose: %s is not sealed any more", member)
		case a.Facts["running"] != "true":
			if a, err = s.call(ctx, member, s.order(agent.Start, member)); err != nil {
				return nil, fmt.Errorf("choose: %s is sealed but does not run, and cannot be started: %w", member, err)
			}
		case a.Facts["replayed_all"] == "true":
			return a.Facts, nil
		case a.Facts["replay_blocked_by"] != "":
			if _, err := s.call(ctx, member, s.order(agent.Seal, member)); err != nil {
				return nil, err
			}
		}
		if err := pause(ctx, wait); err != nil {
			return nil, fmt.Errorf("choose: %s has not replayed all it holds yet (%s of %s): %w", member, a.Facts["replayed"], a.Facts["lsn"], err)
		}
	}
}
