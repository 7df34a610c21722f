package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
)

// arriveFor is how long a halted primary's followers are given to show that its last
// record arrived. What was acknowledged is on one of them already, so little is on its way.
const arriveFor = 2 * time.Second

// doHalt ends the living primary cleanly, and is done when a follower has its last record.
func (s *step) doHalt(ctx context.Context) (driver.Result, error) {
	primary := string(s.Store.Primary)
	if err := s.mayHalt(ctx, primary); err != nil {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("halt: %w", err)
	}
	o := s.order(agent.Stop, primary)
	o.Clean = true
	a, err := s.call(ctx, primary, o)
	if err != nil {
		return driver.Result{Outcome: outcome(err)}, fmt.Errorf("halt: %w", err)
	}
	return s.halted(ctx, primary, a.Facts)
}

// mayHalt makes sure that the move can go on before anything stops.
func (s *step) mayHalt(ctx context.Context, primary string) error {
	if !slices.Contains(s.Step.Members, primary) {
		return fmt.Errorf("the step is about %s, the primary is %s", listed(s.Step.Members), primary)
	}
	a, err := s.call(ctx, primary, s.order(agent.Status, primary))
	if err != nil {
		return err
	}
	if s.haltedBefore(a.Facts) {
		return nil
	}
	if n := len(holding(a.Facts, s.helpers(), 1)); n < s.need() {
		return fmt.Errorf("only %d of %d followers receive from %s, %d are needed to take over", n, len(s.helpers()), primary, s.need())
	}
	return nil
}

// halted waits until a follower has replayed the record with which the primary ended, and
// a moment more for the others, so that the choice between them is free.
func (s *step) halted(ctx context.Context, primary string, f map[string]string) (driver.Result, error) {
	end := toLSN(f["halted_lsn"])
	ctx, cancel := context.WithTimeout(ctx, arriveFor)
	defer cancel()
	members := s.helpers()
	answers := make(chan reply, len(members))
	for _, m := range members {
		go func() { answers <- reply{member: m, err: s.whole(ctx, m, end)} }()
	}
	var have []string
	missing := map[string]reply{}
	var late <-chan time.Time
	for waiting := true; waiting && len(have)+len(missing) < len(members); {
		select {
		case r := <-answers:
			if r.err != nil {
				missing[r.member] = r
				break
			}
			have, late = append(have, r.member), time.After(stragglers)
		case <-late:
			waiting = false
		}
	}
	if len(have) == 0 {
		return driver.Result{Outcome: run.NotDone}, errors.Join(fmt.Errorf("halt: no follower has what %s wrote last (%s)", primary, end), errorsOf(missing))
	}
	slices.Sort(have)
	return driver.Result{Outcome: run.Done, Note: fmt.Sprintf("%s ended at %s; all of it is on %s", primary, end, listed(have)),
		Facts: run.Facts{factHalted: primary, factHaltedLSN: end.String(), "took/" + primary: f["took"]}}, nil
}

// whole returns once a member has replayed the record at end.
func (s *step) whole(ctx context.Context, member string, end LSN) error {
	for {
		a, err := s.call(ctx, member, s.order(agent.Position, member))
		if err == nil && end != 0 && toLSN(a.Facts["replayed"]) > end {
			return nil
		}
		if perr := pause(ctx, 4*time.Millisecond); perr != nil {
			return errors.Join(err, perr)
		}
	}
}

// haltedBefore says whether a primary's facts show that this run has halted it. It may wind up still.
func (s *step) haltedBefore(f map[string]string) bool {
	return (f["running"] == "false" || f["state"] == "stopping") && toNumber(f["halted_epoch"]) == s.epoch()
}

func (s *step) lookHalt(ctx context.Context) (driver.Result, error) {
	primary := string(s.Store.Primary)
	a, err := s.call(ctx, primary, s.order(agent.Status, primary))
	switch {
	case err != nil:
		return driver.Result{Outcome: run.Unknown}, err
	case s.haltedBefore(a.Facts):
		return s.halted(ctx, primary, a.Facts)
	case a.Facts["running"] == "true" && a.Facts["state"] == "stopping":
		return driver.Result{Outcome: run.Unknown}, fmt.Errorf("halt: %s is stopping", primary)
	}
	return driver.Result{Outcome: run.NotDone}, nil
}

// undoHalt starts the primary again. If another member was chosen, that one is let go first, so
// that its promotion cannot happen any more.
func (s *step) undoHalt(ctx context.Context) (driver.Result, error) {
	if chosen := s.Facts[factChosen]; chosen != "" {
		if _, err := s.call(ctx, chosen, s.order(agent.Unseal, chosen)); err != nil {
			return driver.Result{Outcome: run.NotDone}, fmt.Errorf("start %s: not before %s is let go, since it may be primary already: %w", s.Store.Primary, chosen, err)
		}
	}
	primary := string(s.Store.Primary)
	if _, err := s.call(ctx, primary, s.order(agent.Start, primary)); err != nil {
		return driver.Result{Outcome: outcome(err)}, fmt.Errorf("start %s: %w", primary, err)
	}
	return driver.Result{Outcome: run.Done, Note: primary + " serves again"}, nil
}

// doReturn brings a halted former primary back as a follower, and lists it when it holds
// everything. The executor has put it into the record's list before: from then on it counts.
func (s *step) doReturn(ctx context.Context) (driver.Result, error) {
	back := s.Step.Members[0]
	primary := string(s.Store.Primary)
	if !slices.Contains(s.Store.Sync, estate.MemberID(back)) {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("return: the record does not count %s yet, so it must not be listed", back)
	}
	up, err := s.upstream(primary, s.Store.Epoch, s.Store.Epoch)
	if err != nil {
		return driver.Result{Outcome: run.NotDone}, err
	}
	o := s.order(agent.Follow, back)
	o.Upstream = up
	if _, err := s.call(ctx, back, o); err != nil {
		return s.notReturned(ctx, back, outcome(err), fmt.Errorf("return: %w", err))
	}
	if err := s.caughtUp(ctx, primary, back); err != nil {
		return s.notReturned(ctx, back, run.NotDone, err)
	}
	o = s.order(agent.Promote, primary)
	o.Sync, o.Any = s.helpers(), s.rule()
	if _, err := s.call(ctx, primary, o); err != nil {
		return driver.Result{Outcome: outcome(err)}, fmt.Errorf("return: list %s: %w", back, err)
	}
	return s.returned(back), nil
}

// returned is the record in which the member counts in full.
func (s *step) returned(back string) driver.Result {
	rec := s.Store
	rec.Former = slices.DeleteFunc(slices.Clone(rec.Former), func(m estate.MemberID) bool { return string(m) == back })
	if s.Facts[factHalted] != back {
		rec.Verified, rec.LeftOut = time.Time{}, nil // it went another way for a while: whether all hold the same has to be found out anew
	}
	return driver.Result{Outcome: run.Done, Store: &rec, Note: back + " follows " + string(s.Store.Primary) + " and may acknowledge again",
		Facts: run.Facts{"returned": back, "sync": join(s.helpers())}}
}

const (
	// unlistFor is how long the primary is given to take a member that did not return off its list.
	unlistFor = 2 * time.Second
	// unlistSoon is the same where the run is not wanted any more: most likely the primary is lost, and what moves its
	// store waits for this.
	unlistSoon = 500 * time.Millisecond
)

// takeBack is the time for taking back what the primary may have been told. It ends by itself.
func takeBack(ctx context.Context) (context.Context, context.CancelFunc) {
	patience := unlistFor
	if ctx.Err() != nil {
		patience = unlistSoon
	}
	return context.WithTimeout(context.WithoutCancel(ctx), patience)
}

// notReturned takes the member out of the record's list again where it is surely not listed. An
// earlier try may have had it listed and not have heard so: the primary is told the list without it first, and others
// have to hold what was acknowledged on its word.
func (s *step) notReturned(ctx context.Context, back string, o run.Outcome, err error) (driver.Result, error) {
	res := driver.Result{Outcome: o}
	if o != run.NotDone || !s.former(back) {
		return res, err
	}
	ctx, cancel := takeBack(ctx)
	defer cancel()
	rec := s.Store
	rec.Sync = slices.DeleteFunc(slices.Clone(rec.Sync), func(m estate.MemberID) bool { return string(m) == back })
	rest := slices.DeleteFunc(s.helpers(), func(m string) bool { return m == back })
	if still := s.unlist(ctx, back, rest); still != nil {
		return res, errors.Join(err, fmt.Errorf("return: %s still counts, since it may be listed, and may hold what others do not: %w", back, still))
	}
	res.Store = &rec
	return res, err
}

// caughtUp waits until a follower has flushed what its primary had when it was asked first.
func (s *step) caughtUp(ctx context.Context, primary, back string) error {
	var want LSN
	for {
		a, err := s.call(ctx, primary, s.order(agent.Status, primary))
		if err == nil && want == 0 {
			want = toLSN(a.Facts["lsn"])
		}
		if c := parseClient(a.Facts["client/"+back]); err == nil && want != 0 && c.state == "streaming" && c.flushed >= want {
			return nil
		}
		if perr := pause(ctx, 20*time.Millisecond); perr != nil {
			return fmt.Errorf("return: %s does not hold what %s holds yet (%q); if its server says that its timeline forked, it must be rewound: %w",
				back, primary, a.Facts["client/"+back], errors.Join(err, perr))
		}
	}
}

func (s *step) lookReturn(ctx context.Context) (driver.Result, error) {
	back, primary := s.Step.Members[0], string(s.Store.Primary)
	a, err := s.call(ctx, primary, s.order(agent.Status, primary))
	if err != nil {
		return driver.Result{Outcome: run.Unknown}, err
	}
	if a.Facts["sync_names"] == syncNames(s.rule(), s.helpers()) && len(holding(a.Facts, []string{back}, 1)) == 1 {
		return s.returned(back), nil
	}
	return driver.Result{Outcome: run.NotDone}, nil
}

// doFence stops a member at once and for good.
func (s *step) doFence(ctx context.Context) (driver.Result, error) {
	for _, m := range s.Step.Members {
		if m == string(s.Store.Primary) && s.Store.LeastAny > 0 {
			return driver.Result{Outcome: run.NotDone}, fmt.Errorf("fence: %s is the primary of the record; it is moved, not fenced", m)
		}
	}
	got := s.all(ctx, s.Step.Members, func(m string) agent.Order { return s.order(agent.Fence, m) })
	worst := run.Done
	for _, r := range got {
		if o := outcome(r.err); o != run.Done && worst != run.Unknown {
			worst = o
		}
	}
	if err := errorsOf(got); err != nil {
		return driver.Result{Outcome: worst}, fmt.Errorf("fence: %w", err)
	}
	return driver.Result{Outcome: run.Done, Facts: run.Facts{factFenced: join(s.Step.Members)},
		Note: listed(s.Step.Members) + " stopped; the data is kept for salvage"}, nil
}

func (s *step) lookFence(ctx context.Context) (driver.Result, error) {
	got := s.all(ctx, s.Step.Members, func(m string) agent.Order { return s.order(agent.Status, m) })
	if err := errorsOf(got); err != nil {
		return driver.Result{Outcome: run.Unknown}, err
	}
	for _, r := range got {
		if r.Facts["fenced"] != "true" || r.Facts["running"] != "false" {
			return driver.Result{Outcome: run.NotDone}, nil
		}
	}
	return driver.Result{Outcome: run.Done, Facts: run.Facts{factFenced: join(s.Step.Members)}}, nil
}
