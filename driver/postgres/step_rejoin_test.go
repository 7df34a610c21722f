package postgres

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
)

// lostAnyang is a store that was moved from anyang: that was fenced, and is not counted.
func (w *fakeWorld) lostAnyang() {
	w.store.Sync, w.store.Former = []estate.MemberID{"ansan"}, []estate.MemberID{"anyang"}
	w.members["pangyo"].mem.List = []string{"ansan"}
	w.members["anyang"].mem = memory{Role: asPrimary, Reign: 9, Fenced: true}
}

func TestAMemberRejoinsAndCountsOnlyLater(t *testing.T) {
	w := newFakeWorld(t)
	w.lostAnyang()
	f := run.Facts{factSalvaged + "/anyang": "r-1-anyang"}
	res, err := w.driver().Do(t.Context(), w.task(plan.Rejoin, f, "anyang"))
	if err != nil || res.Outcome != run.Done || res.Store != nil || !strings.Contains(res.Note, "by a rewind: its log goes on beyond the fork") {
		t.Fatalf("%+v %v", res, err)
	}
	heard := w.members["anyang"].heard
	o := heard[0]
	if o.Verb != agent.Rejoin || o.Kept != "r-1-anyang" || o.Counted || o.Rate != rejoinRate || o.Upstream.Member != "pangyo" || o.Upstream.Credential != 1 || o.Reign != 1 {
		t.Errorf("%+v", o)
	}
	if res.Facts["rejoin/method/anyang"] != byRewind {
		t.Errorf("facts %v", res.Facts)
	}
	if l := w.members["pangyo"].mem.List; !cmp.Equal(l, []string{"ansan"}) {
		t.Errorf("the primary lists %v", l)
	}
}

// The work may take hours, and neither a link that drops nor a source that falls silent ends the step; time in which
// nothing moves does, and what is not passing does at once.
func TestARejoinIsAskedAfter(t *testing.T) {
	at := func(seen string) map[string]string {
		return map[string]string{"rejoin/phase": "copying", "rejoin/bytes": seen}
	}
	dropped := map[string]string{"failed": "pangyo fell silent", "again": "true", "rejoin/phase": "copying"}
	t.Run("Resumed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeWorld(t)
			w.lostAnyang()
			w.members["anyang"].rejoins = []map[string]string{at("1"), at("2"), dropped, dropped, at("3"), dropped, at("4")}
			if res, err := w.driver().Do(t.Context(), w.task(plan.Rejoin, nil, "anyang")); err != nil || res.Outcome != run.Done {
				t.Errorf("%+v %v", res, err)
			}
		})
	})
	t.Run("DiskFull", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeWorld(t)
			w.lostAnyang()
			w.members["anyang"].rejoins = []map[string]string{at("1"), {"failed": "the disk is full", "again": "false"}}
			if res, err := w.driver().Do(t.Context(), w.task(plan.Rejoin, nil, "anyang")); err == nil || res.Outcome != run.NotDone || !strings.Contains(err.Error(), "the disk is full") {
				t.Errorf("%+v %v", res, err)
			}
		})
	})
	t.Run("Deaf", func(t *testing.T) { // it runs, and goes on by itself as soon as it gets through
		synctest.Test(t, func(t *testing.T) {
			w := newFakeWorld(t)
			for range 100 {
				w.members["anyang"].rejoins = append(w.members["anyang"].rejoins, dropped)
			}
			task := w.task(plan.Rejoin, nil, "anyang")
			task.Step.Reason = plan.MemberDeaf
			began := time.Now()
			res, err := w.driver().Do(t.Context(), task)
			if took := time.Since(began); err == nil || res.Outcome != run.NotDone || took < deafPatience || took > 2*deafPatience || !strings.Contains(err.Error(), "fell silent") {
				t.Errorf("%+v %v after %v", res, err, took)
			}
		})
	})
	t.Run("OutOfReach", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeWorld(t)
			w.lostAnyang()
			w.members["anyang"].down = true
			began := time.Now()
			res, err := w.driver().Do(t.Context(), w.task(plan.Rejoin, nil, "anyang"))
			if took := time.Since(began); err == nil || res.Outcome != run.NotDone || took < rejoinPatience || took > rejoinPatience+time.Minute {
				t.Errorf("%+v %v after %v", res, err, took)
			}
		})
	})
}

// Whether the member holds all only its primary knows. Where that one's agent is gone the step says so, and
// does not wait for as long as the whole of it may take; a short silence ends nothing.
func TestARejoinDoesNotWaitForASilentPrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		w.lostAnyang()
		w.members["pangyo"].down = true
		began := time.Now()
		res, err := w.driver().Do(t.Context(), w.task(plan.Rejoin, nil, "anyang"))
		if took := time.Since(began); err == nil || res.Outcome != run.NotDone || took < holdsPatience || took > 2*holdsPatience {
			t.Errorf("%+v %v after %v", res, err, took)
		}
		if err != nil && !strings.Contains(err.Error(), "whether anyang holds what pangyo holds is not known: the primary's agent has not said how far its server is for 1m0s; start that agent") {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		w.lostAnyang()
		pangyo := w.members["pangyo"]
		pangyo.down = true
		time.AfterFunc(holdsPatience/2, func() {
			pangyo.mu.Lock()
			defer pangyo.mu.Unlock()
			pangyo.down = false
		})
		if res, err := w.driver().Do(t.Context(), w.task(plan.Rejoin, nil, "anyang")); err != nil || res.Outcome != run.Done {
			t.Errorf("%+v %v", res, err)
		}
	})
}

// A member that counts is not rewritten before others hold all that was acknowledged and the record says
// that it counts no more.
func TestAMemberIsCountedOutBeforeItIsMadeAnew(t *testing.T) {
	w := newFakeWorld(t)
	w.members["anyang"].refuses, w.members["anyang"].dead = "it would have to be made anew", true
	res, err := w.driver().Do(t.Context(), w.task(plan.Rejoin, nil, "anyang"))
	if err == nil || res.Outcome != run.NotDone || res.Store == nil {
		t.Fatalf("%+v %v", res, err)
	}
	want := w.store
	want.Sync, want.Former = []estate.MemberID{"ansan"}, []estate.MemberID{"anyang"}
	if diff := cmp.Diff(want, *res.Store); diff != "" {
		t.Error(diff)
	}
	if l := w.members["pangyo"].mem.List; !cmp.Equal(l, []string{"ansan"}) {
		t.Errorf("the primary lists %v", l)
	}
	w.store = *res.Store
	if res, err = w.driver().Do(t.Context(), w.task(plan.Rejoin, nil, "anyang")); err != nil || res.Outcome != run.Done {
		t.Errorf("then: %+v %v", res, err)
	}

	// With nobody else to acknowledge it stays what it is.
	w = newFakeWorld(t)
	w.store.Sync = []estate.MemberID{"anyang"}
	w.members["anyang"].refuses = "it would have to be made anew"
	if res, err := w.driver().Do(t.Context(), w.task(plan.Rejoin, nil, "anyang")); err == nil || res.Store != nil || !strings.Contains(err.Error(), "bring another member back first") {
		t.Errorf("%+v %v", res, err)
	}

	// What is refused for another reason counts nobody out.
	w = newFakeWorld(t)
	w.members["anyang"].unsafe = "the data directory is of another cluster"
	if res, err := w.driver().Do(t.Context(), w.task(plan.Rejoin, nil, "anyang")); err == nil || res.Store != nil {
		t.Errorf("%+v %v", res, err)
	}

	// Nor while the other one is behind.
	w = newFakeWorld(t)
	w.members["anyang"].refuses, w.members["ansan"].dead = "it would have to be made anew", true
	synctest.Test(t, func(t *testing.T) {
		if res, err := w.driver().Do(t.Context(), w.task(plan.Rejoin, nil, "anyang")); err == nil || res.Store != nil || !strings.Contains(err.Error(), "is not counted out") {
			t.Errorf("%+v %v", res, err)
		}
	})
}

// That a member follows says nothing of whether it was made anew: its agent says so, by the run that wanted it.
func TestAFollowerIsMadeAnewWhereAPersonWantsIt(t *testing.T) {
	w := newFakeWorld(t)
	w.members["anyang"].refuses = "it counts, and would have to be made anew"
	task := func() driver.Task {
		task := w.task(plan.Rejoin, nil, "anyang")
		task.Step.Args = map[string]string{plan.ArgAnew: "true"}
		return task
	}
	if res, err := w.driver().Do(t.Context(), task()); err == nil || res.Store == nil || len(res.Store.Former) != 1 {
		t.Fatalf("it is not counted out first: %+v %v", res, err)
	} else {
		w.store = *res.Store
	}
	if res, err := w.driver().Look(t.Context(), task()); res.Outcome != run.NotDone {
		t.Errorf("it follows, and that was taken for made anew: %+v %v", res, err)
	}
	w.members["anyang"].mem.Due = "r-1" // as its agent remembers; whoever brings it back later knows nothing of it
	if res, err := w.driver().Look(t.Context(), w.task(plan.Rejoin, nil, "anyang")); res.Outcome != run.NotDone {
		t.Errorf("it was counted out to be made anew, and is taken for back: %+v %v", res, err)
	}
	w.members["anyang"].mem.Due = ""
	if res, err := w.driver().Do(t.Context(), task()); err != nil || res.Outcome != run.Done {
		t.Fatalf("%+v %v", res, err)
	}
	heard := w.members["anyang"].heard
	var o agent.Order
	for _, h := range heard {
		if h.Verb == agent.Rejoin {
			o = h
		}
	}
	if !o.Anew || o.Run == "" || o.Counted {
		t.Errorf("%+v", o)
	}
	if res, err := w.driver().Look(t.Context(), task()); res.Outcome != run.Done {
		t.Errorf("afterwards: %+v %v", res, err)
	}
}

func TestARejoinLeavesRoomOnTheLink(t *testing.T) {
	w := newFakeWorld(t)
	w.estate.Links = map[string]estate.Link{
		"wide": {Between: [2]estate.SiteID{"pangyo", "anyang"}, Gbps: 8}, "narrow": {Between: [2]estate.SiteID{"anyang", "pangyo"}, Gbps: 0.8},
		"other": {Between: [2]estate.SiteID{"anyang", "ansan"}, Gbps: 0.01}, "unknown": {Between: [2]estate.SiteID{"pangyo", "anyang"}},
	}
	s, err := w.driver().open(w.task(plan.Rejoin, nil, "anyang"))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.room("anyang", "pangyo"); got != 50_000_000 {
		t.Errorf("half of 0.8 Gbit/s: %d", got)
	}
	s.Step.Args = map[string]string{plan.ArgShare: "4"}
	if got := s.room("anyang", "pangyo"); got != 12_500_000 {
		t.Errorf("a quarter of that: %d", got)
	}
	if got := s.room("ansan", "pangyo"); got != rejoinRate/4 {
		t.Errorf("no link is declared: %d", got)
	}
}

// What returns by way of a loss has to be compared anew; what a planned move halted has not.
func TestAReturnForgetsTheComparison(t *testing.T) {
	for name, tt := range map[string]struct {
		facts run.Facts
		kept  bool
	}{"Rejoined": {nil, false}, "Halted": {run.Facts{factHalted: "anyang"}, true}} {
		w := newFakeWorld(t)
		w.lostAnyang()
		w.store.Verified = time.Unix(1, 0)
		s, err := w.driver().open(w.task(plan.Return, tt.facts, "anyang"))
		if err != nil {
			t.Fatal(err)
		}
		if rec := s.returned("anyang").Store; rec.Verified.IsZero() == tt.kept || len(rec.Former) > 0 {
			t.Errorf("%s: %+v", name, rec)
		}
	}
}

// Who has rejoined and is not counted yet may hold more than whoever is chosen.
func TestALateMemberThatRejoinedIsCompared(t *testing.T) {
	w := newFakeWorld(t)
	w.store.Former = []estate.MemberID{"anyang"}
	w.members["anyang"].mem = memory{Role: asFollower, Upstream: &agent.Upstream{Member: "pangyo", Credential: 1, Reign: 1}}
	w.members["anyang"].lsn = 0x9000000
	task := w.task(plan.Follow, run.Facts{factChosen: "ansan", factSealed: "ansan", factHeld: "ansan", factCredential: "1", factChosenLSN: "0/3000100", factChosenReplayed: "0/3000100", factChosenTimeline: "1"}, "ansan", "anyang")
	task.Step.Args = map[string]string{plan.ArgHalted: "anyang"}
	res, err := w.driver().Do(t.Context(), task)
	if err == nil || !strings.Contains(err.Error(), "anyang holds up to 0/9000000") {
		t.Errorf("%+v %v", res, err)
	}
}

// A member that is gone for good is counted out without its word, once others hold all that was acknowledged; what a seal
// then waits for are those that are left.
func TestAMemberThatIsGoneIsCountedOut(t *testing.T) {
	w := newFakeWorld(t)
	w.members["anyang"].down = true
	task := func() driver.Task {
		task := w.task(plan.CountOut, nil, "pangyo")
		task.Step.Args = map[string]string{plan.ArgMember: "anyang"}
		return task
	}
	if res, err := w.driver().Look(t.Context(), task()); err != nil || res.Outcome != run.NotDone {
		t.Errorf("before: %+v %v", res, err)
	}
	res, err := w.driver().Do(t.Context(), task())
	if err != nil || res.Outcome != run.Done || res.Store == nil {
		t.Fatalf("%+v %v", res, err)
	}
	want := w.store
	want.Sync, want.Former = []estate.MemberID{"ansan"}, []estate.MemberID{"anyang"}
	if diff := cmp.Diff(want, *res.Store); diff != "" {
		t.Error(diff)
	}
	if l := w.members["pangyo"].mem.List; !cmp.Equal(l, []string{"ansan"}) || len(w.members["anyang"].heard) > 0 {
		t.Errorf("the primary lists %v; anyang heard %v", l, w.members["anyang"].heard)
	}
	w.store = *res.Store
	if res, err := w.driver().Look(t.Context(), task()); err != nil || res.Outcome != run.Done {
		t.Errorf("after: %+v %v", res, err)
	}
	if res, err := w.driver().Do(t.Context(), task()); err != nil || res.Outcome != run.Done || res.Store != nil {
		t.Errorf("again: %+v %v", res, err)
	}

	// What it acknowledged may stand nowhere else while the other one is behind.
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWorld(t)
		w.members["anyang"].down, w.members["ansan"].dead = true, true
		task := w.task(plan.CountOut, nil, "pangyo")
		task.Step.Args = map[string]string{plan.ArgMember: "anyang"}
		if res, err := w.driver().Do(t.Context(), task); err == nil || res.Outcome != run.NotDone || res.Store != nil || !strings.Contains(err.Error(), "is not counted out") {
			t.Errorf("%+v %v", res, err)
		}
		if l := w.members["pangyo"].mem.List; !cmp.Equal(l, []string{"ansan", "anyang"}) {
			t.Errorf("the primary lists %v, and the record says otherwise", l)
		}
	})

	// A list would change what a primary that is alone acknowledges.
	w = newFakeWorld(t)
	w.store.Alone = true
	if res, err := w.driver().Do(t.Context(), task()); err == nil || res.Store != nil || len(w.members["pangyo"].heard) > 0 || !strings.Contains(err.Error(), "under a mandate") {
		t.Errorf("%+v %v", res, err)
	}

	// Without it nobody could acknowledge.
	w = newFakeWorld(t)
	w.store.Sync = []estate.MemberID{"anyang"}
	if res, err := w.driver().Do(t.Context(), task()); err == nil || res.Store != nil || !strings.Contains(err.Error(), "bring another member back first") {
		t.Errorf("%+v %v", res, err)
	}
}

// A member that is new to its store and was not listed yet when another one was promoted is no former one: there is
// nothing of the store to be read from it.
func TestAPromotionMakesNoFormerMemberOfANewOne(t *testing.T) {
	w := newFakeWorld(t)
	w.store.Sync = []estate.MemberID{"ansan"} // anyang was just added
	s, err := w.driver().open(w.task(plan.Promote, nil, "ansan"))
	if err != nil {
		t.Fatal(err)
	}
	if rec := s.promoted("ansan", nil, 2); !cmp.Equal(rec.Former, []estate.MemberID{"pangyo"}) || len(rec.Sync) > 0 {
		t.Errorf("%+v", rec)
	}
}

// A store that comes under haechi has no primary by the record yet, and nobody who went another way.
func TestAnAdoptionMakesNoFormerMember(t *testing.T) {
	w := newFakeWorld(t)
	w.store = situation.Store{}
	s, err := w.driver().open(w.task(plan.Adopt, nil, "pangyo"))
	if err != nil {
		t.Fatal(err)
	}
	if rec := s.promoted("pangyo", []string{"ansan", "anyang"}, 1); len(rec.Former) > 0 {
		t.Errorf("%q", rec.Former)
	}
}

// One that was counted out and left out of the estate may be named again later, after a promotion too: that it went another way is
// not forgotten, so it is fenced, and read before anything on it is rewritten.
func TestAPromotionForgetsNoFormerMember(t *testing.T) {
	w := newFakeWorld(t)
	w.store.Former = []estate.MemberID{"jeju"} // of which the estate knows nothing
	s, err := w.driver().open(w.task(plan.Promote, nil, "ansan"))
	if err != nil {
		t.Fatal(err)
	}
	rec := s.promoted("ansan", []string{"anyang"}, 2)
	if !cmp.Equal(rec.Former, []estate.MemberID{"jeju", "pangyo"}) || !cmp.Equal(rec.Sync, []estate.MemberID{"anyang"}) {
		t.Errorf("%+v", rec)
	}
}

// The server shows its new list before each of its senders has read it. What it acknowledged meanwhile on the word of the member
// that is counted out has to be on others, too, before the record leaves that one out; so it is with one whose return failed.
func TestAMemberIsCountedOutOnlyOnceNothingIsAcknowledgedOnItsWord(t *testing.T) {
	leaves := map[string]func(*fakeWorld) driver.Task{
		"CountedOut": func(w *fakeWorld) driver.Task {
			task := w.task(plan.CountOut, nil, "pangyo")
			task.Step.Args = map[string]string{plan.ArgMember: "anyang"}
			return task
		},
		"NotReturned": func(w *fakeWorld) driver.Task {
			w.store.Former = []estate.MemberID{"anyang"}
			w.members["anyang"].down = true
			return w.task(plan.Return, nil, "anyang")
		},
	}
	for name, leave := range leaves {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld(t)
				task := leave(w)
				p := w.members["pangyo"]
				p.stale, w.members["ansan"].flushed = 3, p.lsn
				if res, err := w.driver().Do(t.Context(), task); err == nil || res.Store != nil || !strings.Contains(err.Error(), "only none hold what pangyo holds, 1 are needed") {
					t.Errorf("ansan lacks what was acknowledged on anyang's word: %+v %v", res, err)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld(t)
				task := leave(w)
				p, ansan := w.members["pangyo"], w.members["ansan"]
				p.stale, ansan.flushed = 3, p.lsn
				time.AfterFunc(unlistFor/2, func() {
					p.mu.Lock()
					defer p.mu.Unlock()
					ansan.flushed = 0
				})
				res, _ := w.driver().Do(t.Context(), task)
				if res.Store == nil || !cmp.Equal(res.Store.Sync, []estate.MemberID{"ansan"}) || !cmp.Equal(res.Store.Former, []estate.MemberID{"anyang"}) {
					t.Errorf("ansan holds it by now: %+v", res)
				}
			})
		})
	}
}

// A fire in the primary's site ends a return that nobody wants any more: what moves the store does not wait for the dead.
func TestAReturnThatIsNotWantedAnyMoreEndsSoon(t *testing.T) {
	for name, c := range map[string]struct {
		wanted bool
		within time.Duration
	}{"Wanted": {true, unlistFor}, "NotWanted": {false, unlistSoon}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeWorld(t)
				w.store.Former = []estate.MemberID{"anyang"}
				w.members["anyang"].down, w.members["pangyo"].hang = true, true
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if !c.wanted {
					cancel()
				}
				began := time.Now()
				if res, err := w.driver().Do(ctx, w.task(plan.Return, nil, "anyang")); err == nil || res.Store != nil {
					t.Errorf("%+v %v", res, err)
				}
				if took := time.Since(began); took != c.within {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}
