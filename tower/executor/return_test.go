package executor_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/testkit"
	"github.com/haechi/haechi/tower/executor"
)

// returnHouse is one whose stores were moved from pangyo, which is there again.
func returnHouse(t *testing.T, stores ...estate.StoreID) *house {
	h := newHouse(t, stores...)
	e, records := testkit.ThreeSites(stores...)
	for id, rec := range records {
		rec.Primary, rec.Sync, rec.Former, rec.Epoch, rec.Next = "ansan", []estate.MemberID{"anyang"}, []estate.MemberID{"pangyo"}, 2, 2
		records[id] = rec
	}
	h.book = testkit.NewBook(e, records)
	return h
}

// back is what the record of a store is once its former primary counts again.
var back = situation.Store{Epoch: 2, Next: 2, Primary: "ansan", Sync: []estate.MemberID{"anyang", "pangyo"}, Former: []estate.MemberID{}, Any: 1, LeastAny: 1}

func TestARecoveryEndsAsRecoveredAfterEveryCrash(t *testing.T) {
	whole := recoveryCase(t, -1)
	for n := 1; n < whole; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) { recoveryCase(t, n) })
	}
}

// recoveryCase carries a recovery with a tower that crashes after some events, and another that does not. At each
// point who may have been listed stands in the record, and nobody is counted in full before.
func recoveryCase(t *testing.T, crash int) (events int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := returnHouse(t, "talk-db", "files")
		var mu sync.Mutex // steps of several stores go on at the same time
		listed := map[string]bool{}
		h.world.Before = func(_ context.Context, verb string, task driver.Task) (driver.Result, error) {
			mu.Lock()
			defer mu.Unlock()
			rec, _ := h.book.Store(t.Context(), estate.StoreID(task.Step.Component))
			if verb == "return" {
				listed[task.Step.Component] = true
			}
			if listed[task.Step.Component] && !slices.Contains(rec.Sync, "pangyo") {
				t.Errorf("%s of %s: pangyo may be listed and the record does not say so: %+v", verb, task.Step.Component, rec)
			}
			if verb == "rejoin" && !slices.Contains(rec.Former, "pangyo") {
				t.Errorf("it counts before it has rejoined: %+v", rec)
			}
			return driver.Result{}, nil
		}
		h.book.CrashAfter(crash)
		first := h.tower("tower-ansan")
		id, err := first.Open(t.Context(), 1, h.opening(plan.Recover, "pangyo"))
		if err == nil {
			err = first.Carry(t.Context(), id, 1)
		}
		if err != nil && !errors.Is(err, testkit.ErrCrash) {
			t.Fatal(err)
		}
		h.book.CrashAfter(-1)
		if len(h.book.Events()) == 0 {
			return
		}
		h.book.Depose(2)
		id = h.book.Events()[0].Run
		if err := h.tower("tower-anyang").Carry(t.Context(), id, 2); err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done, recovered")
		h.noActTwice()
		for _, store := range []estate.StoreID{"talk-db", "files"} {
			want := back
			want.Verified = testkit.Compared
			rec, _ := h.book.Store(t.Context(), store)
			if diff := cmp.Diff(want, rec); diff != "" {
				t.Errorf("record of %s: %s", store, diff)
			}
			if lacks := h.missing(store); len(lacks) > 0 {
				t.Errorf("it has recovered, and this is missing: %v", lacks)
			}
		}
		events = len(h.book.Events())
	})
	return events
}

// missing is what a store lacks by its record, where all servers do what that says.
func (h *house) missing(id estate.StoreID) []situation.Lack {
	h.t.Helper()
	rec, err := h.book.Store(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	facts := map[string]map[string]string{}
	for m := range h.estate.Stores[id].Members {
		facts[situation.DatabaseTarget(h.estate, id, m)] = map[string]string{situation.FactRunning: "true"}
	}
	primary := facts[situation.DatabaseTarget(h.estate, id, rec.Primary)]
	primary[situation.FactRole], primary[situation.FactAnswers] = situation.RolePrimary, "true"
	for _, m := range rec.Sync {
		primary[situation.FactClient+string(m)] = "streaming quorum bytes=0"
	}
	return situation.Standing{Estate: h.estate, Now: situation.Situation{Facts: facts}, Stores: map[estate.StoreID]situation.Store{id: rec}}.OfStore(id)
}

// A planned move loses nothing, and nobody was away: what was compared before stays so. Whoever drives it to its end
// knows from the log alone who was halted.
func TestAPlannedMoveKeepsTheComparisonAfterEveryCrash(t *testing.T) {
	crash := func(n int) (events int) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, "talk-db")
			e, records := testkit.ThreeSites("talk-db")
			rec := records["talk-db"]
			rec.Verified = testkit.Compared
			records["talk-db"] = rec
			h.book = testkit.NewBook(e, records)
			h.book.CrashAfter(n)
			first := h.tower("tower-ansan")
			id, err := first.Open(t.Context(), 1, h.opening(plan.Failover, "talk-db"))
			if err == nil {
				err = first.Carry(t.Context(), id, 1)
			}
			if err != nil && !errors.Is(err, testkit.ErrCrash) {
				t.Fatal(err)
			}
			h.book.CrashAfter(-1)
			if len(h.book.Events()) == 0 {
				return
			}
			h.book.Depose(2)
			id = h.book.Events()[0].Run
			if err := h.tower("tower-anyang").Carry(t.Context(), id, 2); err != nil {
				t.Fatal(err)
			}
			h.closedWith(id, "done")
			want := situation.Store{Epoch: 2, Next: 2, Primary: "ansan", Sync: []estate.MemberID{"anyang", "pangyo"}, Former: []estate.MemberID{}, Any: 1, LeastAny: 1, Verified: testkit.Compared}
			got, _ := h.book.Store(t.Context(), "talk-db")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if lacks := h.missing("talk-db"); len(lacks) > 0 {
				t.Error(lacks)
			}
			events = len(h.book.Events())
		})
		return events
	}
	for n := range crash(-1) {
		crash(n)
	}
}

// The agent of the halted primary starts anew just when that is to follow: its tries are spread over some seconds. Writes
// go on meanwhile, and what they waited for before is not spread.
func TestAReturnBearsThatAnAgentStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		var began, promoted, back time.Time
		choices := 0
		h.world.Before = func(_ context.Context, verb string, _ driver.Task) (driver.Result, error) {
			switch {
			case verb == "halt":
				began = time.Now()
			case verb == "choose":
				if choices++; choices < run.Tries {
					return driver.Result{Outcome: run.NotDone}, errors.New("not all is replayed yet")
				}
			case verb == "promote":
				promoted = time.Now()
			case verb == "return" && back.IsZero():
				back = time.Now().Add(5 * time.Second)
				fallthrough
			case verb == "return" && time.Now().Before(back):
				return driver.Result{Outcome: run.NotDone}, errors.New("connection refused")
			}
			return driver.Result{}, nil
		}
		id := h.open(x, 1, plan.Failover, "talk-db")
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done")
		if pause := promoted.Sub(began); choices != run.Tries || pause > time.Second {
			t.Errorf("writes waited for %v, and a member was chosen at try %d", pause, choices)
		}
	})
}

// A member that comes back may take hours. A loss meanwhile does not wait for it.
func TestARecoveryYieldsToALossAtOnce(t *testing.T) {
	for _, verb := range []string{"salvage", "rejoin", "return", "verify", "redundant"} {
		synctest.Test(t, func(t *testing.T) {
			h := returnHouse(t, "talk-db")
			x := h.tower("tower-anyang")
			reached := make(chan struct{}, 9)
			h.on(verb, func(ctx context.Context, _ driver.Task) (driver.Result, error) {
				reached <- struct{}{}
				<-ctx.Done()
				return driver.Result{}, context.Cause(ctx)
			})
			old := h.open(x, 1, plan.Recover, "pangyo")
			end := background(t.Context(), x, old, 1)
			<-reached
			began := time.Now()
			id, err := x.Supersede(t.Context(), 1, []run.ID{old}, executor.Successor{Takes: []string{"talk-db"}, Lost: []estate.SiteID{"ansan"},
				Plan: func(context.Context) (executor.Opening, error) { return h.opening(plan.CutUsers, "anyang"), nil }})
			if took := time.Since(began); err != nil || took > 100*time.Millisecond {
				t.Fatalf("%s: %v after %v", verb, err, took)
			}
			if err := <-end; err != nil {
				t.Fatal(err)
			}
			h.closedWith(old, "superseded")
			if err := x.Carry(t.Context(), id, 1); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Another member comes back while a recovery only compares: its run takes the recovery's place, so that one run alone writes
// the record, and compares all of them after that.
func TestARejoinTakesThePlaceOfAComparison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := returnHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		comparing, begun := make(chan struct{}), 0
		h.on("verify", func(ctx context.Context, _ driver.Task) (driver.Result, error) {
			if begun++; begun > 1 {
				return driver.Result{}, nil
			}
			close(comparing)
			<-ctx.Done()
			return driver.Result{Outcome: run.NotDone}, context.Cause(ctx)
		})
		old := h.open(x, 1, plan.Recover, "pangyo")
		end := background(t.Context(), x, old, 1)
		<-comparing
		id, err := x.Supersede(t.Context(), 1, []run.ID{old}, executor.Successor{Takes: []string{"talk-db"}, Plan: func(ctx context.Context) (executor.Opening, error) {
			rec, err := h.book.Store(ctx, "talk-db")
			if err != nil {
				return executor.Opening{}, err
			}
			p, err := plan.Make(plan.Input{Estate: h.estate, Stores: map[estate.StoreID]situation.Store{"talk-db": rec}, Kind: plan.BringBack, Subject: "talk-db", Target: "anyang", Because: []string{"a test"},
				Now: situation.Situation{Facts: map[string]map[string]string{situation.DatabaseTarget(h.estate, "talk-db", "anyang"): {situation.FactRunning: "false"}}}})
			return executor.Opening{Plan: p, Estate: h.estate, Version: 1}, err
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-end; err != nil {
			t.Fatal(err)
		}
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(old, "superseded")
		h.closedWith(id, "done")
		want := back
		want.Verified = testkit.Compared
		if rec, _ := h.book.Store(t.Context(), "talk-db"); !cmp.Equal(want, rec) || begun != 2 {
			t.Errorf("compared %d times: %s", begun, cmp.Diff(want, rec))
		}
		if lacks := h.missing("talk-db"); len(lacks) > 0 {
			t.Error(lacks)
		}
	})
}

// Two runs about one store at once: what the one has written is not lost when the other, which read the record
// before, comes to its end. The other looks again, and goes by the record as it is then.
func TestARunDoesNotOverwriteWhatAnotherWrote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := returnHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		comparing, returned := make(chan struct{}, 1), make(chan struct{})
		at := time.Unix(1, 0).UTC()
		old := h.open(x, 1, plan.VerifyAll, "talk-db")
		h.world.Before = func(ctx context.Context, verb string, task driver.Task) (driver.Result, error) {
			if verb != "verify" {
				return driver.Result{}, nil
			}
			if task.Run == old {
				comparing <- struct{}{}
				<-returned
				rec := task.Store
				rec.Verified = at
				return driver.Result{Outcome: run.Done, Store: &rec}, nil
			}
			return driver.Result{Outcome: run.Done}, nil
		}
		end := background(t.Context(), x, old, 1)
		<-comparing
		id := h.open(x, 1, plan.Recover, "pangyo")
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		close(returned)
		if err := <-end; !errors.Is(err, executor.ErrRefused) {
			t.Fatalf("err = %v", err)
		}
		if rec, _ := h.book.Store(t.Context(), "talk-db"); !cmp.Equal(back, rec) {
			t.Fatalf("the one that is listed does not count: %s", cmp.Diff(back, rec))
		}
		if err := x.Carry(t.Context(), old, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(old, "done")
		want := back
		want.Verified = at
		if rec, _ := h.book.Store(t.Context(), "talk-db"); !cmp.Equal(want, rec) {
			t.Fatal(cmp.Diff(want, rec))
		}
	})
}
