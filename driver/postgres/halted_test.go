package postgres

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// cutShort is a store whose move was cut short: pangyo is halted and holds up to where it
// ended; ansan, where it was to go, is gone.
func cutShort(t *testing.T) *fakeWorld {
	t.Helper()
	w := newFakeWorld(t)
	p := w.members["pangyo"]
	p.primary, p.mem.Halted = false, &halted{Epoch: 2, Timeline: 1, LSN: p.lsn - 0x78}
	w.members["ansan"].down = true
	return w
}

// moves carries a store's move without ansan, and with pangyo as the plan knows it.
func (w *fakeWorld) moves(t *testing.T, clean string) (run.Facts, driverResult) {
	t.Helper()
	f := run.Facts{}
	for _, v := range []plan.Verb{plan.Seal, plan.Choose, plan.Follow, plan.Promote} {
		task := w.task(v, f, "anyang", "pangyo")
		task.Epoch, task.Step.Args = 3, map[string]string{plan.ArgHalted: clean}
		res, err := w.driver().Do(t.Context(), task)
		if err != nil || res.Outcome != run.Done {
			return f, driverResult{v, res.Ask, res.Store, err}
		}
		maps.Copy(f, res.Facts)
		if v == plan.Promote {
			return f, driverResult{v, "", res.Store, nil}
		}
	}
	return f, driverResult{}
}

type driverResult struct {
	verb  plan.Verb
	ask   string
	store *situation.Store
	err   error
}

func TestTheNewestOfSealedAndHaltedIsPromoted(t *testing.T) {
	for name, c := range map[string]struct {
		anyang func(*fakeMember)
		want   string
	}{
		"the halted one holds more":                       {func(m *fakeMember) { m.lsn = m.w.members["pangyo"].lsn - 1 }, "pangyo"},
		"the halted one is behind a follower of the lost": {func(m *fakeMember) { m.tl, m.lsn, m.mem.Upstream.Reign = 2, 0x10, 2 }, "anyang"},
		"what was received last is not replayed": {func(m *fakeMember) {
			m.lsn, m.mem.Upstream.Reign, m.received = m.w.members["pangyo"].lsn, 2, m.w.members["pangyo"].lsn+1
		}, "anyang"},
	} {
		t.Run(name, func(t *testing.T) {
			w := cutShort(t)
			c.anyang(w.members["anyang"])
			f, got := w.moves(t, "pangyo")
			if got.err != nil || got.store == nil {
				t.Fatalf("%s: %v", got.verb, got.err)
			}
			other := estate.MemberID(strings.Trim(strings.Replace("anyang,pangyo", c.want, "", 1), ","))
			want := situation.Store{Epoch: 3, Primary: estate.MemberID(c.want), Sync: []estate.MemberID{other}, Any: 1, LeastAny: 1,
				Former: []estate.MemberID{"ansan"}, Next: 2, Timeline: got.store.Timeline,
				Forks: []situation.Fork{{Epoch: 3, Primary: estate.MemberID(c.want), Timeline: got.store.Timeline}}}
			if diff := cmp.Diff(want, *got.store); diff != "" {
				t.Errorf("%v\n%s", f, diff)
			}
			if m := w.members[c.want]; !m.primary || !slices.Equal(m.mem.List, []string{string(other)}) {
				t.Errorf("%s: %+v", c.want, m.mem)
			}
		})
	}
}

func TestAHaltedPrimaryCountsOnlyWhereItIsKnownHowItEnded(t *testing.T) {
	for name, c := range map[string]struct {
		clean string
		spoil func(*fakeWorld)
	}{
		"the plan does not know":    {"", func(*fakeWorld) {}},
		"it was not halted cleanly": {"pangyo", func(w *fakeWorld) { w.members["pangyo"].mem.Halted = nil }},
		"its agent is silent":       {"pangyo", func(w *fakeWorld) { w.members["pangyo"].down = true }},
		"two may be missing":        {"pangyo", func(w *fakeWorld) { w.members["anyang"].down = true }},
	} {
		t.Run(name, func(t *testing.T) {
			w := cutShort(t)
			c.spoil(w)
			if _, got := w.moves(t, c.clean); got.verb != plan.Seal || got.err == nil || got.ask == "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestALateFollowerThatHoldsMoreThanTheChosenIsLeftOut(t *testing.T) {
	w := newFakeWorld(t)
	w.members["ansan"].lsn = w.members["anyang"].lsn + 1
	f := run.Facts{factSealed: "anyang", factHeld: "anyang", factChosen: "anyang", factCredential: "1",
		factChosenLSN: w.members["anyang"].lsn.String(), factChosenTimeline: "1"}
	res, err := w.driver().Do(t.Context(), w.task(plan.Follow, f, "ansan", "anyang"))
	if err == nil || res.Outcome == run.Done || !strings.Contains(err.Error(), "must be rewound first") {
		t.Errorf("%v %v", res, err)
	}
}

// The record's primary is halted and comes to the seal late, after the choice was made without it.
func TestALateHaltedPrimaryFollowsOnlyWhoHoldsAllOfIt(t *testing.T) {
	for name, c := range map[string]struct {
		replayed LSN
		timeline uint64
		follows  bool
	}{
		"the chosen one has its last record":        {1, 1, true},
		"the chosen one lacks its last record":      {0, 1, false},
		"the chosen one is on another timeline":     {1, 2, false},
		"it is not known how far the chosen one is": {0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := cutShort(t)
			p, chosen := w.members["pangyo"], w.members["anyang"]
			p.dead = true
			f := run.Facts{factSealed: "anyang", factHeld: "anyang", factChosen: "anyang", factCredential: "1",
				factChosenLSN: (p.lsn + 0x1000).String(), factChosenReplayed: (p.mem.Halted.LSN + c.replayed).String(), factChosenTimeline: number(c.timeline)}
			if c.timeline == 0 {
				delete(f, factChosenReplayed)
			}
			task := w.task(plan.Follow, f, "anyang", "pangyo")
			task.Epoch, task.Step.Args = 3, map[string]string{plan.ArgHalted: "pangyo"}
			res, err := w.driver().Do(t.Context(), task)
			if follows := err == nil && res.Outcome == run.Done; follows != c.follows || follows != (p.mem.Upstream != nil && p.mem.Upstream.Member == chosen.name) {
				t.Errorf("follows: %v, %v; pangyo %+v", res, err, p.mem)
			}
		})
	}
}

// An earlier try had the member listed and did not hear so; then the member died. It counts until
// the primary's list is surely without it: a write that only those two hold was acknowledged.
func TestAMemberThatDidNotReturnCountsUntilItIsSurelyNotListed(t *testing.T) {
	for name, silent := range map[string]bool{"the primary takes it off": false, "the primary is silent": true} {
		t.Run(name, func(t *testing.T) {
			w := newFakeWorld(t)
			back, primary := w.members["pangyo"], w.members["anyang"]
			w.store = situation.Store{Epoch: 2, Primary: "anyang", Sync: []estate.MemberID{"ansan", "pangyo"}, Any: 1, LeastAny: 1, Former: []estate.MemberID{"pangyo"}, Next: 2, Timeline: 2}
			primary.primary, primary.tl, primary.mem = true, 2, memory{Role: asPrimary, Reign: 2, List: []string{"ansan", "pangyo"}, Any: 1}
			back.down, primary.down = true, silent
			res, err := w.driver().Do(t.Context(), w.task(plan.Return, nil, "pangyo"))
			if err == nil || res.Outcome != run.NotDone {
				t.Fatalf("%+v %v", res, err)
			}
			listed := slices.Contains(primary.mem.List, "pangyo")
			counts := res.Store == nil || slices.Contains(res.Store.Sync, "pangyo")
			if listed && !counts || counts != silent {
				t.Errorf("listed: %v, counts: %v, %v", listed, counts, err)
			}
		})
	}
}
