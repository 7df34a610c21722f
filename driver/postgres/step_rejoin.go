package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
)

const (
	// rejoinPatience is how long a member may come no further before the step gives up: its agent, or its
	// source, may be out of reach for a while.
	rejoinPatience = 10 * time.Minute
	// deafPatience is the same for one whose server runs and only receives nothing: as soon as it gets through to its
	// primary that goes on by itself.
	deafPatience = time.Minute
	// rejoinCall is how long one question may take.
	rejoinCall = 10 * time.Second
	// rejoinAgain is how often the order itself is given again, by which a member's agent knows that somebody wants it.
	rejoinAgain = 5 * time.Second
	// rejoinRate is what a member may take off its source in a second where no link between their sites is
	// declared; of one that is, half.
	rejoinRate = 64 << 20
	// nearly is how many bytes a follower may be behind and count as one that receives.
	nearly = 16 << 20
	// holdsPatience is for how long the primary's agent may say nothing at the end of a rejoin. What the member
	// holds only the primary knows; the step is then given up, and finds the member as it is when it is tried again.
	holdsPatience = time.Minute
)

// factSalvaged, with "/" and a member, is the salvage in which what only that member held lies.
const factSalvaged = "salvaged"

// doRejoin has a member made a follower of the record's primary again and waits until it holds what that one held.
// The work is its agent's: the order begins it, and asks after it.
func (s *step) doRejoin(ctx context.Context) (driver.Result, error) {
	back := s.Step.Members[0]
	o, err := s.rejoinOrder(back)
	if err != nil {
		return driver.Result{Outcome: run.NotDone}, err
	}
	denied := s.letIn(ctx)
	p := &progress{moved: time.Now()}
	for {
		a, err := s.ask(ctx, back, o, p)
		refused, no := errors.AsType[*agent.Refused](err)
		switch {
		case no && o.Counted && rewrites(a.Facts["rejoin/method"]):
			return s.countOut(ctx, back, err)
		case no && refused.Answer.Code != agent.Busy && refused.Answer.Code != agent.Late:
			return driver.Result{Outcome: run.NotDone}, fmt.Errorf("rejoin: %w", err)
		case err != nil:
		case a.Facts["rejoined"] == "true":
			if err = s.holdsAll(ctx, back); err == nil {
				return s.rejoined(back, a.Facts), nil
			}
			if errors.Is(err, errUntold) {
				return driver.Result{Outcome: run.NotDone, Facts: rejoinFacts(back, a.Facts)}, fmt.Errorf("rejoin: %w", err)
			}
		case a.Facts["failed"] != "":
			err = errors.New(a.Facts["failed"])
			if a.Facts["again"] != "true" {
				return driver.Result{Outcome: run.NotDone, Facts: rejoinFacts(back, a.Facts)}, fmt.Errorf("rejoin %s: %w", back, errors.Join(err, denied))
			}
		}
		if gone := p.still(a.Facts, time.Now()); gone > s.patience() {
			return driver.Result{Outcome: run.NotDone, Facts: rejoinFacts(back, a.Facts)}, fmt.Errorf("rejoin %s: it came no further for %v: %w", back, gone.Round(time.Second), cmp.Or(err, errors.New(howFar(a.Facts))))
		}
		if perr := pause(ctx, p.wait(err)); perr != nil {
			return driver.Result{Outcome: run.Unknown}, fmt.Errorf("rejoin %s: not done yet (%s): %w", back, p.line, errors.Join(err, perr))
		}
	}
}

// rejoinOrder is the order that a member's agent is given, and asked after by.
func (s *step) rejoinOrder(back string) (agent.Order, error) {
	primary := string(s.Store.Primary)
	up, err := s.upstream(primary, s.Store.Epoch, s.Store.Epoch)
	if err != nil {
		return agent.Order{}, err
	}
	o := s.order(agent.Rejoin, back)
	o.Upstream, o.Rate = up, s.room(back, primary)
	o.Anew = s.anew()
	o.Kept = s.Facts[factSalvaged+"/"+back]
	o.Counted = s.counts(back)
	return o, nil
}

// patience is how long the member may come no further.
func (s *step) patience() time.Duration {
	if s.Step.Reason == plan.MemberDeaf {
		return deafPatience
	}
	return rejoinPatience
}

// counts says whether what a member says it holds is rested on.
func (s *step) counts(member string) bool {
	return slices.Contains(s.Store.Sync, estate.MemberID(member)) && !s.former(member)
}

// anew says whether the member is to be copied whatever is known of it.
func (s *step) anew() bool { return s.Step.Args[plan.ArgAnew] == "true" }

// room is how many bytes a second a member may take off another: half of the narrowest link that is declared
// between their sites, shared with those that come back beside it.
func (s *step) room(to, from string) int64 {
	a, b := s.store.Members[estate.MemberID(to)].Site, s.store.Members[estate.MemberID(from)].Site
	out := float64(rejoinRate)
	declared := false
	for _, l := range s.Estate.Links {
		if l.Gbps > 0 && (l.Between == [2]estate.SiteID{a, b} || l.Between == [2]estate.SiteID{b, a}) {
			half := l.Gbps * 1e9 / 8 / 2
			if !declared || half < out {
				out, declared = half, true
			}
		}
	}
	share, err := strconv.Atoi(s.Step.Args[plan.ArgShare])
	if err != nil || share < 1 {
		share = 1
	}
	return max(int64(out)/int64(share), 1<<20)
}

// letIn has the primary grant what members that come back need, as it does when it is promoted; a primary of
// before that has not. It is told its list again, without those that are not counted.
func (s *step) letIn(ctx context.Context) error {
	primary := string(s.Store.Primary)
	list := slices.DeleteFunc(s.helpers(), s.former)
	if s.Store.Alone || len(list) < s.rule() {
		return nil // a list would change what it acknowledges
	}
	ctx, cancel := context.WithTimeout(ctx, rejoinCall)
	defer cancel()
	o := s.order(agent.Promote, primary)
	o.Sync, o.Any = list, s.rule()
	_, err := s.call(ctx, primary, o)
	return err
}

// ask gives the order, or looks how far it is where it is known to be under way.
func (s *step) ask(ctx context.Context, back string, o agent.Order, p *progress) (agent.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, rejoinCall)
	defer cancel()
	if p.underWay && time.Since(p.ordered) < rejoinAgain {
		look := s.order(agent.Status, back)
		look.Run = "" // one that others asked for will do
		a, err := s.call(ctx, back, look)
		if err != nil || a.Facts["rejoin/phase"] != "" && a.Facts["rejoin/over"] == "" {
			return a, err
		}
	}
	p.ordered = time.Now()
	a, err := s.call(ctx, back, o)
	p.underWay = err == nil && a.Facts["rejoined"] == "" && a.Facts["failed"] == ""
	return a, err
}

// progress is what is known of a member that comes back.
type progress struct {
	underWay bool
	ordered  time.Time // when the order was given last
	moved    time.Time // when it last came further
	mark     string    // how far it was then
	line     string
	tries    int
}

// still says for how long the member has come no further.
func (p *progress) still(f map[string]string, now time.Time) time.Duration {
	if line := howFar(f); line != "" {
		p.line = line
	}
	mark := strings.Join([]string{f["rejoin/phase"], f["rejoin/taken"], f["rejoin/bytes"]}, " ")
	if f["rejoin/phase"] != "" && f["failed"] == "" && mark != p.mark {
		p.mark, p.moved, p.tries = mark, now, 0
	}
	return now.Sub(p.moved)
}

// howFar is a line for people.
func howFar(f map[string]string) string {
	line := f["rejoin/phase"]
	if of := toNumber(f["rejoin/of"]); of > 0 && f["rejoin/over"] == "" {
		line += fmt.Sprintf(", %d of %d MB", toNumber(f["rejoin/bytes"])>>20, of>>20)
	}
	return line
}

// wait is the pause before the next question; a little longer each time after something went wrong.
func (p *progress) wait(err error) time.Duration {
	if err == nil {
		return 250 * time.Millisecond
	}
	p.tries++
	return min(250*time.Millisecond<<min(p.tries, 10), 10*time.Second)
}

// holdsAll waits until the member has flushed what its primary had when it was asked first, while it runs. Where
// the primary's agent does not tell that for [holdsPatience] the error is [errUntold].
func (s *step) holdsAll(ctx context.Context, back string) error {
	primary := string(s.Store.Primary)
	var want LSN
	asked, heard := time.Now(), time.Now()
	for {
		a, err := s.look(ctx, primary)
		at := toLSN(a.Facts["lsn"])
		switch {
		case at != 0:
			heard, want = time.Now(), cmp.Or(want, at)
		case time.Since(heard) > holdsPatience:
			return fmt.Errorf("whether %s holds what %s holds is not known: %w for %v; start that agent, or look why its server does not answer it, then try again: %w",
				back, primary, errUntold, holdsPatience, cmp.Or(err, errors.New("its server does not answer it")))
		}
		if len(flushed(a.Facts, []string{back}, want)) == 1 {
			return nil
		}
		if time.Since(asked) > time.Second {
			asked = time.Now()
			if m, err := s.look(ctx, back); err == nil && m.Facts["receiver"] == "" {
				return fmt.Errorf("%s does not receive from %s any more", back, primary)
			}
		}
		if perr := pause(ctx, 50*time.Millisecond); perr != nil {
			return fmt.Errorf("%s does not hold yet what %s holds (%q): %w", back, primary, a.Facts["client/"+back], errors.Join(err, perr))
		}
	}
}

// errUntold: nobody says how far the primary is.
var errUntold = errors.New("the primary's agent has not said how far its server is")

// look asks a member's agent how it is, and waits for it no longer than for any question.
func (s *step) look(ctx context.Context, member string) (agent.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, rejoinCall)
	defer cancel()
	return s.call(ctx, member, s.order(agent.Status, member))
}

// rejoinFacts are what is kept of how a member came back.
func rejoinFacts(back string, f map[string]string) run.Facts {
	out := run.Facts{}
	for _, k := range []string{"method", "reason", "taken", "of", "corrupt"} {
		if v := f["rejoin/"+k]; v != "" {
			out["rejoin/"+k+"/"+back] = v
		}
	}
	return out
}

// rejoined says how the member came back. Its record stays as it is: it counts only once it is listed.
func (s *step) rejoined(back string, f map[string]string) driver.Result {
	note := fmt.Sprintf("%s receives from %s", back, s.Store.Primary)
	if m := f["rejoin/method"]; m != "" {
		note += fmt.Sprintf(", by a %s: %s", m, f["rejoin/reason"])
		if rewrites(m) {
			note += fmt.Sprintf("; %d MB were sent", toNumber(f["rejoin/taken"])>>20)
		}
	}
	if c := f["rejoin/corrupt"]; c != "" {
		note += "; pages whose checksum is wrong on " + string(s.Store.Primary) + " itself: " + c
	}
	return driver.Result{Outcome: run.Done, Note: note, Facts: rejoinFacts(back, f)}
}

// countOut counts a member out that has to be made anew: the next try may rewrite it.
func (s *step) countOut(ctx context.Context, back string, why error) (driver.Result, error) {
	rec, err := s.without(ctx, back)
	if err != nil {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("rejoin: %w: %w", err, why)
	}
	return driver.Result{Outcome: run.NotDone, Store: &rec, Note: back + " is counted out"}, fmt.Errorf("rejoin: %s is counted out, and made anew next: %w", back, why)
}

// doCountOut counts a member out that is gone for good.
func (s *step) doCountOut(ctx context.Context) (driver.Result, error) {
	out := s.Step.Args[plan.ArgMember]
	if !s.listedInRecord(out) {
		return countedOut(out, nil), nil
	}
	rec, err := s.without(ctx, out)
	switch {
	case errors.Is(err, errListing):
		return driver.Result{Outcome: outcome(err)}, fmt.Errorf("count-out: %w", err)
	case err != nil:
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("count-out: %w", err)
	}
	return countedOut(out, &rec), nil
}

// lookCountOut says whether the primary lists the member no more, and others hold what it holds: then the record may say
// so, too.
func (s *step) lookCountOut(ctx context.Context) (driver.Result, error) {
	out, primary := s.Step.Args[plan.ArgMember], string(s.Store.Primary)
	if !s.listedInRecord(out) {
		return countedOut(out, nil), nil
	}
	a, err := s.call(ctx, primary, s.order(agent.Status, primary))
	if err != nil {
		return driver.Result{Outcome: run.Unknown}, err
	}
	rest := s.rest(out)
	if s.Store.Alone || len(rest) < s.rule() || a.Facts["sync_names"] != syncNames(s.rule(), rest) {
		return driver.Result{Outcome: run.NotDone}, nil
	}
	if proven, _ := s.prove(ctx, primary, rest, s.rule(), a.Facts); !proven {
		return driver.Result{Outcome: run.NotDone}, nil
	}
	rec := s.unlisted(out)
	return countedOut(out, &rec), nil
}

// errListing: what became of the order to the primary, its cause says.
var errListing = errors.New("tell the primary its list")

func (s *step) listedInRecord(m string) bool {
	return slices.Contains(s.Store.Sync, estate.MemberID(m))
}

func countedOut(member string, rec *situation.Store) driver.Result {
	return driver.Result{Outcome: run.Done, Store: rec, Note: fmt.Sprintf("%q is counted out: nothing rests on its word any more", member)}
}

// rest are those that the primary may list beside a member.
func (s *step) rest(out string) []string {
	return slices.DeleteFunc(s.helpers(), func(m string) bool { return m == out || s.former(m) })
}

// unlisted is the record without a member.
func (s *step) unlisted(out string) situation.Store {
	rec, id := s.Store, estate.MemberID(out)
	rec.Sync = slices.DeleteFunc(slices.Clone(rec.Sync), func(m estate.MemberID) bool { return m == id })
	rec.Former = append(slices.Clone(rec.Former), id)
	slices.Sort(rec.Former)
	rec.Former = slices.Compact(rec.Former)
	return rec
}

// without takes a member off the primary's list, and returns the record without it once others hold all that was
// acknowledged: then nothing rests on its word any more. Where it fails the record as it is still holds, whatever the
// primary lists, since it counts on no fewer members than that; the list is put back as well as can be.
func (s *step) without(ctx context.Context, out string) (situation.Store, error) {
	primary := string(s.Store.Primary)
	rest := s.rest(out)
	switch {
	case s.Store.Alone:
		return s.Store, fmt.Errorf("%s acknowledges alone, under a mandate: to list others would end that; wait until it has ended", primary)
	case len(rest) < s.rule():
		return s.Store, fmt.Errorf("without %s only %s could acknowledge, and the rule asks for %d: bring another member back first", out, listed(rest), s.rule())
	}
	switch err := s.unlist(ctx, out, rest); {
	case errors.Is(err, errListing):
		return s.Store, err
	case err != nil:
		ctx, cancel := takeBack(ctx)
		defer cancel()
		o := s.order(agent.Promote, primary)
		o.Sync, o.Any = slices.DeleteFunc(s.helpers(), s.former), s.rule()
		_, back := s.call(ctx, primary, o)
		return s.Store, errors.Join(fmt.Errorf("%s is not counted out: %w", out, err), back)
	}
	return s.unlisted(out), nil
}

// unlist has the primary list rest alone, and returns once they hold all that may have been acknowledged on the word of out. Each
// sender reads the list by itself, some time after the server shows it, and until then goes on acknowledging by the old one; so
// what counts is what was written by the look after that which shows out off the list.
func (s *step) unlist(ctx context.Context, out string, rest []string) error {
	primary := string(s.Store.Primary)
	o := s.order(agent.Promote, primary)
	o.Sync, o.Any = rest, s.rule()
	a, err := s.call(ctx, primary, o)
	if err != nil {
		return fmt.Errorf("%w without %s: %w", errListing, out, err)
	}
	off, want := false, LSN(0)
	proven, have := s.await(ctx, primary, s.rule(), a.Facts, func(f map[string]string, _ LSN) []string {
		if !off {
			off = f["answers"] == "true" && !counted(f, out)
			return nil
		}
		want = cmp.Or(want, toLSN(f["lsn"]))
		return holding(f, rest, want)
	})
	switch {
	case proven:
		return nil
	case !off:
		return fmt.Errorf("%s does not show that it has stopped counting on %s (%q)", primary, out, a.Facts["client/"+out])
	}
	return fmt.Errorf("only %s hold what %s holds, %d are needed", have, primary, s.rule())
}

// lookRejoin says whether the member receives from the record's primary, under its epoch. The order is given again
// where that is not known: it changes nothing where it is so.
func (s *step) lookRejoin(ctx context.Context) (driver.Result, error) {
	back, primary := s.Step.Members[0], string(s.Store.Primary)
	got := s.all(ctx, []string{back, primary}, func(m string) agent.Order { return s.order(agent.Status, m) })
	b, p := got[back].Facts, got[primary].Facts
	c := parseClient(p["client/"+back])
	ours := b["agent/role"] == asFollower && toNumber(b["agent/upstream_reign"]) == s.Store.Epoch && b["broken"] == "" && b["sealed"] == "false" &&
		(!s.anew() || b["agent/anew"] == string(s.Run)) && (b["agent/due"] == "" || s.counts(back))
	if ours && c.state == "streaming" && c.flushed+nearly >= toLSN(p["lsn"]) {
		return s.rejoined(back, b), nil
	}
	return driver.Result{Outcome: run.NotDone, Note: howFar(b)}, nil
}
