package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
)

const (
	// proveFor is how long a promotion waits until followers hold all that the new primary
	// holds. Until then the writes of before the switch are on one member.
	proveFor = 20 * time.Second
	// spare is what a step leaves of its time to say what it found.
	spare = 500 * time.Millisecond
)

// doPromote makes the chosen one primary. Its list names only members that were sealed and
// pointed at it under this epoch, and its rule is the estate's: where fewer follow than the rule
// asks for, writes wait for more, and the rule is not weakened silently.
func (s *step) doPromote(ctx context.Context) (driver.Result, error) {
	chosen, list := s.Facts[factChosen], split(s.Facts[factFollowing])
	if chosen == "" || len(list) == 0 {
		return driver.Result{Outcome: run.NotDone}, errors.New("promote: nobody was chosen, or nobody follows: an empty list would let it acknowledge alone")
	}
	if !slices.Contains(s.Step.Members, chosen) {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("promote: %s is not among those that may become primary: %s", chosen, listed(s.Step.Members))
	}
	o := s.order(agent.Promote, chosen)
	o.Sync, o.Any = list, s.rule()
	a, err := s.call(ctx, chosen, o)
	if err != nil {
		return driver.Result{Outcome: outcome(err)}, fmt.Errorf("promote: %w", err)
	}
	return s.afterPromotion(ctx, chosen, list, a.Facts)
}

// afterPromotion gives the followers the new credential and waits until they hold what the
// new primary holds. The record says until then that the primary may be the only one that holds it.
func (s *step) afterPromotion(ctx context.Context, chosen string, list []string, facts map[string]string) (driver.Result, error) {
	up, err := s.upstream(chosen, s.epoch(), s.epoch())
	if err != nil {
		return driver.Result{Outcome: run.Unknown}, err
	}
	told := make(chan error, 1)
	go func() {
		told <- errorsOf(s.all(ctx, list, func(m string) agent.Order {
			o := s.order(agent.Follow, m)
			o.Upstream = up
			return o
		}))
	}()
	proving, giveUp := context.WithCancel(ctx)
	defer giveUp()
	proven, latest := s.await(proving, chosen, s.rule(), facts, func(f map[string]string, want LSN) []string {
		if f["running"] == "false" {
			giveUp() // it does not come back by itself
		}
		return holding(f, list, want)
	})
	note := fmt.Sprintf("%s is primary under epoch %d, timeline %s; %s acknowledge", chosen, s.epoch(), facts["timeline"], listed(list))
	select {
	case err := <-told:
		if err != nil {
			note += fmt.Sprintf("; not all followers have the new credential yet: %v", err)
		}
	case <-ctx.Done():
	}
	if !proven && !s.runs(ctx, chosen) {
		// Nothing that was acknowledged before is at stake yet: the record of before the promotion
		// says best who may hold it. One that calls this member primary would need it.
		return driver.Result{Outcome: run.Unknown}, fmt.Errorf("promote: %s was promoted, and went down or fell silent before others were seen to hold what it holds", chosen)
	}
	rec := s.promoted(chosen, list, toNumber(facts["timeline"])).Forked(situation.Fork{Epoch: s.epoch(), Primary: estate.MemberID(chosen),
		Timeline: toNumber(facts["timeline"]), Oldest: toNumber(facts["oldest_xid"]), Next: toNumber(facts["next_xid"])})
	if !proven {
		rec.LeastAny = 0
		note += fmt.Sprintf("; too few of them hold everything yet (%s): writes wait, and %s may be the only one that holds what was acknowledged before", latest, chosen)
	}
	return driver.Result{Outcome: run.Done, Note: note, Store: &rec, Facts: run.Facts{factPrimary: chosen, "epoch": number(s.epoch()),
		"timeline": facts["timeline"], "lsn": facts["lsn"], "sync": join(list), "any": fmt.Sprint(s.rule()), "proven": yes(proven), "took/promote": facts["took"]}}, nil
}

// runs says whether a member's agent is there and its server up, also where the step's own time is over.
func (s *step) runs(ctx context.Context, member string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), spare/2)
	defer cancel()
	a, err := s.call(ctx, member, s.order(agent.Status, member))
	return err == nil && !down(a.Facts)
}

// down says that a member's agent answers, and that its server is not there: it does not run, or is
// about to end or to begin.
func down(f map[string]string) bool {
	return f["running"] == "false" || f["answers"] != "true" && (f["state"] == "starting" || f["state"] == "stopping")
}

// promoted is the store's record from now on. Who is neither primary nor listed is not counted
// before it has been proven on the new timeline; of that nobody is forgotten whom the estate names no more: it may be named
// again, with what only it holds.
func (s *step) promoted(chosen string, list []string, timeline uint64) situation.Store {
	rec := s.Store
	rec.Epoch, rec.Primary, rec.Timeline, rec.Alone = s.epoch(), estate.MemberID(chosen), timeline, false
	rec.Any, rec.LeastAny = s.rule(), s.rule()
	rec.Sync, rec.Former = nil, nil
	for _, m := range list {
		rec.Sync = append(rec.Sync, estate.MemberID(m))
	}
	// One that is new to the store, and was not listed yet, is in none of these: it holds nothing that has to be read first.
	for _, id := range slices.Concat(s.Store.Sync, s.Store.Former, []estate.MemberID{s.Store.Primary}) {
		if id != "" && string(id) != chosen && !slices.Contains(list, string(id)) { // one that is only being adopted has no primary yet
			rec.Former = append(rec.Former, id)
		}
	}
	slices.Sort(rec.Sync)
	slices.Sort(rec.Former)
	rec.Former = slices.Compact(rec.Former)
	return rec
}

// prove waits until n of list are counted by the primary's rule and hold what it held at first. It
// returns what was seen last.
func (s *step) prove(ctx context.Context, primary string, list []string, n int, first map[string]string) (bool, string) {
	return s.await(ctx, primary, n, first, func(f map[string]string, want LSN) []string { return holding(f, list, want) })
}

// await asks the primary until, by what it says, n members have all that it held at first.
func (s *step) await(ctx context.Context, primary string, n int, first map[string]string, who func(map[string]string, LSN) []string) (bool, string) {
	end := time.Now().Add(proveFor)
	if d, ok := ctx.Deadline(); ok && d.Add(-spare).Before(end) {
		end = d.Add(-spare)
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	want := toLSN(first["lsn"])
	for f, wait := first, 3*time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		have := who(f, want)
		if len(have) >= n {
			return true, listed(have)
		}
		if pause(ctx, wait) != nil {
			return false, listed(have)
		}
		a, err := s.call(ctx, primary, s.order(agent.Status, primary))
		if err != nil {
			f = nil
			continue
		}
		f = a.Facts
	}
}

// holding are the members of list that a primary's facts show streaming, counted by its
// rule, with at least want flushed.
func holding(f map[string]string, list []string, want LSN) []string {
	return slices.DeleteFunc(flushed(f, list, want), func(m string) bool { return !counted(f, m) })
}

// counted says whether a primary's facts show that it counts on a member's word.
func counted(f map[string]string, member string) bool {
	c := parseClient(f["client/"+member])
	return c.sync == "quorum" || c.sync == "sync"
}

// flushed are the members of list that a primary's facts show streaming with at least want
// flushed, whether or not its rule counts them.
func flushed(f map[string]string, list []string, want LSN) []string {
	var out []string
	for _, m := range list {
		c := parseClient(f["client/"+m])
		if c.state == "streaming" && want != 0 && c.flushed >= want {
			out = append(out, m)
		}
	}
	return out
}

// client is one follower as its primary sees it.
type client struct {
	state, sync string
	flushed     LSN
	behind      uint64 // bytes not replayed
	replayLag   time.Duration
}

// parseClient reads a "client/…" fact.
func parseClient(fact string) client {
	var c client
	for i, w := range strings.Fields(fact) {
		k, v, _ := strings.Cut(w, "=")
		switch {
		case i == 0:
			c.state = w
		case i == 1:
			c.sync = w
		case k == "flush_lsn":
			c.flushed = toLSN(v)
		case k == "bytes":
			c.behind = toNumber(v)
		case k == "replay_lag_ms":
			c.replayLag = time.Duration(toNumber(v)) * time.Millisecond
		}
	}
	return c
}

func (s *step) lookPromote(ctx context.Context) (driver.Result, error) {
	chosen, list := s.Facts[factChosen], split(s.Facts[factFollowing])
	a, err := s.call(ctx, chosen, s.order(agent.Status, chosen))
	if err == nil && down(a.Facts) {
		return driver.Result{Outcome: run.NotDone, Note: chosen + " went down while it was promoted; to promote it again starts it"}, nil
	}
	if err != nil || a.Facts["answers"] != "true" {
		return driver.Result{Outcome: run.Unknown}, fmt.Errorf("promote: %s does not say what it is: %w", chosen, errors.Join(err, errors.New(a.Facts["error"])))
	}
	if a.Facts["in_recovery"] == "true" || toNumber(a.Facts["agent/reign"]) != s.epoch() || a.Facts["agent/role"] != asPrimary {
		return driver.Result{Outcome: run.NotDone, Note: chosen + " is still a follower"}, nil
	}
	if a.Facts["sync_names"] != syncNames(s.rule(), list) || toNumber(a.Facts["credential"]) != s.epoch() {
		return driver.Result{Outcome: run.NotDone, Note: chosen + " is primary; its list or credential is not level yet"}, nil
	}
	return s.afterPromotion(ctx, chosen, list, a.Facts)
}
