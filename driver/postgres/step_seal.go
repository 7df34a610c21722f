package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
)

const (
	// sealLeast is for a step that has a second.
	sealLeast = 650 * time.Millisecond
	// unsealFor is how long the way back is given before the executor looks at it again.
	unsealFor = 300 * time.Millisecond
	// stragglers is how much longer the rest is waited for once enough are sealed: whoever is
	// sealed now follows the new primary from the start.
	stragglers = 100 * time.Millisecond
)

// sealFor is how long members are given to answer a seal. With the unsealing it has to fit in the step's limit: writes
// may wait meanwhile.
func (s *step) sealFor() time.Duration { return max(sealLeast, time.Duration(s.Step.Limit)*65/100) }

// need is how many of the record's helpers must be sealed: m - k + 1. Then every write that
// was acknowledged is on one of them, and too few are left to acknowledge another.
func (s *step) need() int { return len(s.helpers()) - s.Store.LeastAny + 1 }

// sealed are the members among replies that are sealed, sorted.
func sealed(replies map[string]reply, epoch uint64) []string {
	var out []string
	for m, r := range replies {
		if r.err == nil && r.Facts["sealed"] == "true" && toNumber(r.Facts["sealed_epoch"]) == epoch {
			out = append(out, m)
		}
	}
	slices.Sort(out)
	return out
}

// counting are those sealed members that the record counts as helpers. A halted primary counts as
// one where one is all that may be missing: see plan.counts.
func (s *step) counting(members []string) []string {
	return slices.DeleteFunc(slices.Clone(members), func(m string) bool {
		if m == string(s.Store.Primary) {
			return !s.clean(m) || s.Store.LeastAny != 1
		}
		return !slices.Contains(s.helpers(), m) || s.outside(m)
	})
}

// sealable are the members that the step seals.
func (s *step) sealable() []string {
	return slices.DeleteFunc(slices.Clone(s.Step.Members), s.outside)
}

func (s *step) doSeal(ctx context.Context) (driver.Result, error) {
	if s.Store.Epoch == 0 {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("seal: store %s was never adopted, so nobody knows who may acknowledge", s.Step.Component)
	}
	need := s.need()
	accepted := s.Facts[run.FactAccepted+string(plan.Seal)]
	if accepted != "" {
		need = 1
	} else if s.Store.LeastAny < 1 || s.Store.Alone {
		return s.acksAlone()
	}
	replies := s.sealThem(ctx, need)
	have := sealed(replies, s.epoch())
	if n := len(s.counting(have)); n >= need {
		note := fmt.Sprintf("%d of %d sealed (%d needed)", n, len(s.helpers()), need)
		if accepted != "" && n < s.need() {
			note += fmt.Sprintf("; the loss of what only the others hold was accepted by %s", accepted)
		}
		return driver.Result{Outcome: run.Done, Facts: sealFacts(replies, have), Note: note}, nil
	}
	return s.tooFew(ctx, replies, have)
}

// acksAlone refuses a seal that would prove nothing.
func (s *step) acksAlone() (driver.Result, error) {
	return driver.Result{Outcome: run.NotDone, Ask: fmt.Sprintf(
			"%s of %s may have acknowledged writes alone, so sealing the others proves nothing: what only it holds would be lost. "+
				"Fence it or wait for its mandate to end, or let those whom the policy accept-data-loss names accept the loss", s.Store.Primary, s.Step.Component)},
		fmt.Errorf("seal: the primary %s may acknowledge alone", s.Store.Primary)
}

// sealThem orders every member at the same time and returns when enough are sealed and
// the rest had a moment more, when all have answered, or when the time is over.
func (s *step) sealThem(ctx context.Context, need int) map[string]reply {
	ctx, cancel := context.WithTimeout(ctx, s.sealFor())
	defer cancel()
	members := s.sealable()
	answers := make(chan reply, len(members))
	for _, m := range members {
		go func() {
			o := s.order(agent.Seal, m)
			o.Sync, o.Any = s.peers(m), s.rule()
			a, err := s.call(ctx, m, o)
			answers <- reply{m, a, err}
		}()
	}
	out := map[string]reply{}
	var late <-chan time.Time
	for len(out) < len(members) {
		select {
		case r := <-answers:
			out[r.member] = r
			if late == nil && len(s.counting(sealed(out, s.epoch()))) >= need {
				late = time.After(stragglers)
			}
		case <-late:
			return s.missing(out, members)
		case <-ctx.Done():
			// Each call ends with ctx, so the rest is there in no time.
			r := <-answers
			out[r.member] = r
		}
	}
	return out
}

// missing notes those that have not answered.
func (s *step) missing(out map[string]reply, members []string) map[string]reply {
	for _, m := range members {
		if _, ok := out[m]; !ok {
			out[m] = reply{member: m, err: fmt.Errorf("member %s: has not answered yet", m)}
		}
	}
	return out
}

// sealFacts are what later steps want to know of the sealed.
func sealFacts(replies map[string]reply, have []string) run.Facts {
	f := run.Facts{factSealed: join(have)}
	for _, m := range have {
		for _, k := range []string{"lsn", "received", "timeline", "final", "replayed", "replayed_all", "credential", "replay_blocked_by", "agent/upstream_reign", "took"} {
			if v := replies[m].Facts[k]; v != "" {
				f[k+"/"+m] = v
			}
		}
	}
	return f
}

// tooFew lets those that were sealed go again at once and says what is at stake.
func (s *step) tooFew(ctx context.Context, replies map[string]reply, have []string) (driver.Result, error) {
	why := fmt.Errorf("seal: %d of %d members are sealed, %d are needed: %w", len(s.counting(have)), len(s.helpers()), s.need(), errorsOf(replies))
	back, backErr := s.unsealThem(ctx, replies)
	res := driver.Result{Outcome: run.NotDone,
		Note: fmt.Sprintf("sealed %s, let go again: %s", listed(have), listed(back))}
	if s.Facts[factHalted] == "" { // else it is a planned move, which is taken back, and nothing is at stake
		res.Ask = s.atStake(have)
	}
	if backErr != nil {
		res.Outcome = run.Unknown
		return res, fmt.Errorf("%w; not let go again: %w", why, backErr)
	}
	return res, why
}

// atStake is the question to people.
func (s *step) atStake(have []string) string {
	who := fmt.Sprintf("the old primary %s, if it lives, may go on acknowledging with them", s.Store.Primary)
	if s.clean(string(s.Store.Primary)) {
		who = fmt.Sprintf("%s is halted, but whoever was to take over from it may have been promoted and may go on acknowledging with them", s.Store.Primary)
	}
	return fmt.Sprintf("%s: only %d of the %d members that may hold its writes could be sealed (%s), %d are needed. "+
		"Writes that only the others hold cannot be ruled out, and %s. "+
		"Those whom the policy accept-data-loss names may accept that; or bring another member back, then it is tried again",
		s.Step.Component, len(s.counting(have)), len(s.helpers()), listed(have), s.need(), who)
}

func listed[S ~string](members []S) string {
	if len(members) == 0 {
		return "none"
	}
	words := make([]string, len(members))
	for i, m := range members {
		words[i] = string(m)
	}
	return strings.Join(words, ", ")
}

// unsealThem lets go every member that may have been sealed and returns those that said yes.
func (s *step) unsealThem(ctx context.Context, replies map[string]reply) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unsealFor)
	defer cancel()
	var members []string
	for _, m := range slices.Sorted(maps.Keys(replies)) {
		if err := replies[m].err; err == nil || !agent.Unchanged(err) {
			members = append(members, m)
		}
	}
	got := s.all(ctx, members, func(m string) agent.Order { return s.order(agent.Unseal, m) })
	s.forgive(got, sealed(replies, s.epoch()))
	return slices.Sorted(maps.Keys(got)), errorsOf(got)
}

// forgive takes those out of replies that cannot be reached and never said that they were
// sealed: most likely they never heard of it. It returns them, sorted. Should one be sealed
// all the same, it shows when it is back: a sealed member is an unmet premise.
func (s *step) forgive(replies map[string]reply, knownSealed []string) []string {
	var away []string
	maps.DeleteFunc(replies, func(m string, r reply) bool {
		gone := errors.Is(r.err, agent.ErrUnreached) && !slices.Contains(knownSealed, m)
		if gone {
			away = append(away, m)
		}
		return gone
	})
	slices.Sort(away)
	return away
}

func (s *step) lookSeal(ctx context.Context) (driver.Result, error) {
	replies := s.all(ctx, s.sealable(), func(m string) agent.Order { return s.order(agent.Position, m) })
	have := sealed(replies, s.epoch())
	switch n := len(s.counting(have)); {
	case n >= s.need() && s.Store.LeastAny > 0:
		return driver.Result{Outcome: run.Done, Facts: sealFacts(replies, have), Note: fmt.Sprintf("%d sealed", n)}, nil
	case n+s.silent(replies) >= s.need():
		return driver.Result{Outcome: run.Unknown}, errorsOf(replies)
	}
	return driver.Result{Outcome: run.NotDone, Note: fmt.Sprintf("sealed: %s; %d needed", listed(have), s.need())}, nil
}

// silent counts the members of which nothing is known.
func (s *step) silent(replies map[string]reply) int {
	n := 0
	for _, r := range replies {
		if r.err != nil {
			n++
		}
	}
	return n
}

// undoSeal lets the members receive from the primary of the record again, unless a promotion has begun.
// The chosen one goes first: once it is let go, no promotion of this run can happen any more.
func (s *step) undoSeal(ctx context.Context) (driver.Result, error) {
	members := s.sealable()
	if chosen := s.Facts[factChosen]; chosen != "" {
		if _, err := s.call(ctx, chosen, s.order(agent.Unseal, chosen)); err != nil {
			return driver.Result{Outcome: run.NotDone, Note: "the promotion of " + chosen + " may have begun"},
				fmt.Errorf("unseal: nobody is let go before %s is, since it may be primary already: %w", chosen, err)
		}
		members = slices.DeleteFunc(members, func(m string) bool { return m == chosen })
	}
	got := s.all(ctx, members, func(m string) agent.Order { return s.order(agent.Unseal, m) })
	away := s.forgive(got, split(s.Facts[factSealed]))
	if err := errorsOf(got); err != nil {
		return driver.Result{Outcome: run.Unknown}, fmt.Errorf("unseal: %w", err)
	}
	note := "let go: " + listed(slices.Sorted(maps.Keys(got)))
	if len(away) > 0 {
		note += "; out of reach, and sealed if it heard: " + listed(away)
	}
	return driver.Result{Outcome: run.Done, Note: note}, nil
}

// doUnseal lets members go that a run which is over left sealed, or pointed at somebody who was never promoted.
func (s *step) doUnseal(ctx context.Context) (driver.Result, error) {
	for _, m := range s.Step.Members {
		if m == string(s.Store.Primary) || s.former(m) {
			return driver.Result{Outcome: run.NotDone}, fmt.Errorf("unseal: %s is, or was, the primary: it does not just follow again", m)
		}
	}
	got := s.all(ctx, s.Step.Members, func(m string) agent.Order { return s.order(agent.Unseal, m) })
	worst := run.Done
	for _, r := range got {
		if o := outcome(r.err); o != run.Done && worst != run.Unknown {
			worst = o
		}
	}
	if err := errorsOf(got); err != nil {
		return driver.Result{Outcome: worst}, fmt.Errorf("unseal: %w", err)
	}
	return driver.Result{Outcome: run.Done, Note: listed(s.Step.Members) + " follows " + string(s.Store.Primary) + " again"}, nil
}

func (s *step) lookUnseal(ctx context.Context) (driver.Result, error) {
	got := s.all(ctx, s.Step.Members, func(m string) agent.Order { return s.order(agent.Status, m) })
	if err := errorsOf(got); err != nil {
		return driver.Result{Outcome: run.Unknown}, err
	}
	for _, r := range got {
		if r.Facts[situation.FactSealed] != "false" || toNumber(r.Facts[situation.FactReign]) != s.Store.Epoch {
			return driver.Result{Outcome: run.NotDone}, nil
		}
	}
	return driver.Result{Outcome: run.Done}, nil
}
