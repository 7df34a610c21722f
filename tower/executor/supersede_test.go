package executor_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/tower/executor"
)

// blockedAt opens an evacuation of pangyo and carries it until verb is asked for, which
// then ends only with its context.
func blockedAt(h *house, x *executor.Executor, verb string) (run.ID, <-chan error) {
	reached := make(chan struct{})
	var blocked atomic.Bool
	h.on(verb, func(ctx context.Context, _ driver.Task) (driver.Result, error) {
		if blocked.Swap(true) { // the successor's own step goes its way
			return driver.Result{}, nil
		}
		close(reached)
		<-ctx.Done()
		return driver.Result{}, ctx.Err()
	})
	id := h.open(x, 1, plan.Evacuate, "pangyo")
	end := background(h.t.Context(), x, id, 1)
	<-reached
	return id, end
}

// Fire in the site that is being evacuated: the seal stays for the successor, and the old
// run closes in the append that opens the new one.
func TestSupersedeTakesTheSealOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		old, end := blockedAt(h, x, "choose")
		began := time.Now()
		id, err := x.Supersede(t.Context(), 1, []run.ID{old}, executor.Successor{Takes: []string{"talk-db", "talk.example."}, Plan: func(context.Context) (executor.Opening, error) {
			return h.opening(plan.LoseSite, "pangyo"), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if err := <-end; err != nil {
			t.Fatal(err)
		}
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(old, "superseded")
		h.closedWith(id, "done")
		if slices.Contains(h.world.Log(), "undo seal talk-db") {
			t.Error("writes were let through to the old primary in between")
		}
		if rec, _ := h.book.Store(t.Context(), "talk-db"); rec.Epoch != 3 {
			t.Errorf("the successor has no epoch of its own: %+v", rec)
		}
	})
}

// What the successor does not touch is taken back.
func TestSupersedeUndoesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		old, end := blockedAt(h, x, "choose")
		id, err := x.Supersede(t.Context(), 1, []run.ID{old}, executor.Successor{Plan: func(context.Context) (executor.Opening, error) {
			return h.opening(plan.CutUsers, "ansan"), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-end; err != nil {
			t.Fatal(err)
		}
		if h.world.Is("seal talk-db") || h.world.Is("halt talk-db") {
			t.Errorf("left behind: %v", h.world.Effects())
		}
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done")
	})
}

// A promotion that began is ended, and the successor's plan is made after that.
func TestSupersedeWaitsForAPromotion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		reached := make(chan struct{})
		h.on("promote", func(context.Context, driver.Task) (driver.Result, error) {
			close(reached)
			time.Sleep(300 * time.Millisecond)
			return driver.Result{}, nil
		})
		old := h.open(x, 1, plan.LoseStore, "talk-db")
		end := background(t.Context(), x, old, 1)
		<-reached
		planned := ""
		id, err := x.Supersede(t.Context(), 1, []run.ID{old}, executor.Successor{Takes: []string{"talk-db"}, Plan: func(ctx context.Context) (executor.Opening, error) {
			rec, _ := h.book.Store(ctx, "talk-db")
			planned = string(rec.Primary)
			return h.opening(plan.LoseSite, "pangyo"), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-end; err != nil || planned != "ansan" {
			t.Fatalf("the successor was planned with primary %q, err %v", planned, err)
		}
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done")
		h.noActTwice()
	})
}

// The chosen member burned while it was promoted: the successor waits seconds, not the
// promotion's minute.
func TestSupersedeDoesNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		old, end := blockedAt(h, x, "promote")
		began := time.Now()
		id, err := x.Supersede(t.Context(), 1, []run.ID{old}, executor.Successor{Takes: []string{"talk-db"}, Plan: func(context.Context) (executor.Opening, error) {
			return h.opening(plan.CutUsers, "ansan"), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if err := <-end; err != nil {
			t.Fatal(err)
		}
		if slices.Contains(h.world.Log(), "undo seal talk-db") {
			t.Error("unsealed after the promotion began")
		}
		_ = x.Carry(t.Context(), id, 1)
	})
}

// It burned, and that is known: nothing is waited for.
func TestSupersedeWaitsForNobodyInALostSite(t *testing.T) {
	for site, most := range map[estate.SiteID]time.Duration{"ansan": 100 * time.Millisecond, "anyang": 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, "talk-db")
			x := h.tower("tower-ansan")
			reached := make(chan struct{}, 9)
			h.world.Before = func(ctx context.Context, verb string, _ driver.Task) (driver.Result, error) {
				switch verb {
				case "choose":
					return driver.Result{Outcome: run.Done, Facts: run.Facts{run.FactSite: "ansan"}}, nil
				case "promote":
					reached <- struct{}{}
					<-ctx.Done()
					return driver.Result{}, context.Cause(ctx)
				}
				return driver.Result{}, nil
			}
			old := h.open(x, 1, plan.LoseStore, "talk-db")
			end := background(t.Context(), x, old, 1)
			<-reached
			began := time.Now()
			_, err := x.Supersede(t.Context(), 1, []run.ID{old}, executor.Successor{Takes: []string{"talk-db"}, Lost: []estate.SiteID{site}, Plan: func(context.Context) (executor.Opening, error) {
				return h.opening(plan.CutUsers, "ansan"), nil
			}})
			if took := time.Since(began); err != nil || took > most || site != "ansan" && took < time.Second {
				t.Errorf("%s is lost: it took %v, %v", site, took, err)
			}
			if err := <-end; err != nil {
				t.Fatal(err)
			}
			if slices.Contains(h.world.Log(), "undo seal talk-db") {
				t.Error("unsealed after the promotion began")
			}
		})
	}
}

// No successor, no seal.
func TestSupersedeWithoutSuccessorUnseals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		old, end := blockedAt(h, x, "choose")
		stuck := errors.New("stuck")
		_, err := x.Supersede(t.Context(), 1, []run.ID{old}, executor.Successor{Takes: []string{"talk-db"}, Plan: func(context.Context) (executor.Opening, error) {
			return executor.Opening{}, stuck
		}})
		if !errors.Is(err, stuck) {
			t.Fatalf("err = %v", err)
		}
		if err := <-end; err != nil {
			t.Fatal(err)
		}
		h.closedWith(old, "superseded")
		if h.world.Is("seal talk-db") || h.world.Is("halt talk-db") {
			t.Errorf("left behind: %v", h.world.Effects())
		}
	})
}

// The tower dies while it winds a run up: the next one undoes what was left for a
// successor that nobody opens.
func TestCrashWhileSupersedingUnseals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		old, end := blockedAt(h, x, "choose")
		_, err := x.Supersede(t.Context(), 1, []run.ID{old}, executor.Successor{Takes: []string{"talk-db"}, Plan: func(context.Context) (executor.Opening, error) {
			h.book.Depose(2)
			return h.opening(plan.LoseSite, "pangyo"), nil
		}})
		if !errors.Is(err, executor.ErrDeposed) {
			t.Fatalf("err = %v", err)
		}
		<-end
		if err := h.tower("tower-anyang").Carry(t.Context(), old, 2); err != nil {
			t.Fatal(err)
		}
		h.closedWith(old, "superseded")
		if h.world.Is("seal talk-db") || h.world.Is("halt talk-db") {
			t.Errorf("left behind: %v", h.world.Effects())
		}
	})
}

// A run that nobody carries here can be superseded too, for example after a claim.
func TestSupersedeARunThatNobodyCarries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		first := h.tower("tower-ansan")
		ctx, cancel := context.WithCancel(t.Context())
		old := h.open(first, 1, plan.Evacuate, "pangyo")
		h.on("choose", func(context.Context, driver.Task) (driver.Result, error) {
			cancel()
			return driver.Result{}, nil
		})
		_ = first.Carry(ctx, old, 1)
		h.book.Depose(2)
		x := h.tower("tower-anyang")
		id, err := x.Supersede(t.Context(), 2, []run.ID{old}, executor.Successor{Takes: []string{"talk-db", "talk.example."}, Plan: func(context.Context) (executor.Opening, error) {
			return h.opening(plan.LoseSite, "pangyo"), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Carry(t.Context(), id, 2); err != nil {
			t.Fatal(err)
		}
		h.closedWith(old, "superseded")
		h.closedWith(id, "done")
	})
}

// The tower dies when a run is wound up and before its successor is open. Whoever drives next carries the run, which lets go
// of its store, and winds it up once more: at no time are two runs open.
func TestCrashWhileSupersedingLeavesOneRunOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		first := h.tower("tower-ansan")
		old, end := blockedAt(h, first, "choose")
		next := executor.Successor{Takes: []string{"talk-db", "talk.example."}, Plan: func(context.Context) (executor.Opening, error) {
			h.book.Depose(2)
			return h.opening(plan.LoseSite, "pangyo"), nil
		}}
		if _, err := first.Supersede(t.Context(), 1, []run.ID{old}, next); !errors.Is(err, executor.ErrDeposed) {
			t.Fatalf("err = %v", err)
		}
		<-end

		letting := make(chan struct{})
		h.on(string(plan.Unseal), func(context.Context, driver.Task) (driver.Result, error) {
			close(letting)
			time.Sleep(300 * time.Millisecond)
			return driver.Result{}, nil
		})
		x := h.tower("tower-anyang")
		carried := background(t.Context(), x, old, 2)
		<-letting
		id, err := x.Supersede(t.Context(), 2, []run.ID{old}, next)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-carried; err != nil {
			t.Fatal(err)
		}
		if err := x.Carry(t.Context(), id, 2); err != nil {
			t.Fatal(err)
		}
		h.closedWith(old, "superseded")
		h.closedWith(id, "done")
		open := map[run.ID]bool{}
		for _, ev := range h.book.Events() {
			switch ev.Kind {
			case run.Opened:
				open[ev.Run] = true
			case run.Closed:
				delete(open, ev.Run)
			}
			if len(open) > 1 {
				t.Fatalf("two runs are open at once: %v", open)
			}
		}
	})
}

// Whoever carries all open runs finds the old one open until its successor is: that must
// not claim it in between.
func TestNobodyClaimsARunThatIsHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		old, end := blockedAt(h, x, "choose")
		var again <-chan error
		id, err := x.Supersede(t.Context(), 1, []run.ID{old}, executor.Successor{Takes: []string{"talk-db"}, Plan: func(context.Context) (executor.Opening, error) {
			<-end
			again = background(t.Context(), x, old, 1)
			time.Sleep(time.Second)
			return h.opening(plan.LoseSite, "pangyo"), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-again; err != nil {
			t.Fatal(err)
		}
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(old, "superseded")
		h.closedWith(id, "done")
		if slices.Contains(h.world.Log(), "undo seal talk-db") {
			t.Error("it was unsealed in between")
		}
	})
}

// The rule is on record as weak before it is weak, and as it was when it surely stayed so.
func TestAloneIsOnRecordBeforeItIsSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		during := situation.Store{}
		h.on("alone", func(ctx context.Context, _ driver.Task) (driver.Result, error) {
			during, _ = h.book.Store(ctx, "talk-db")
			return driver.Result{Outcome: run.NotDone, Ask: "no mandate can be had"}, nil
		})
		id := h.open(x, 1, plan.GoAlone, "talk-db")
		end := background(t.Context(), x, id, 1)
		synctest.Wait()
		if !during.Alone || during.LeastAny != 0 {
			t.Errorf("during it the record says %+v", during)
		}
		if after, _ := h.book.Store(t.Context(), "talk-db"); after.Alone || after.LeastAny != 1 {
			t.Errorf("after it the record says %+v", after)
		}
		if err := x.Tell(t.Context(), id, executor.Request{Kind: run.Aborted, By: "kim"}); err != nil {
			t.Fatal(err)
		}
		if err := <-end; err != nil {
			t.Fatal(err)
		}
	})
}

// An act whose end is not known may have weakened the rule; that a look finds it not in force, or not
// any more, does not make the record say that it never was.
func TestAloneStaysOnRecordWhereItMayHaveBeenSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		tries := 0
		h.on("alone", func(context.Context, driver.Task) (driver.Result, error) {
			if tries++; tries == 1 {
				return driver.Result{}, errors.New("the answer is lost")
			}
			return driver.Result{Outcome: run.NotDone, Ask: "no mandate can be had"}, nil
		})
		id := h.open(x, 1, plan.GoAlone, "talk-db")
		end := background(t.Context(), x, id, 1)
		time.Sleep(time.Minute) // of synctest
		synctest.Wait()
		if after, _ := h.book.Store(t.Context(), "talk-db"); tries < 2 || !after.Alone || after.LeastAny != 0 {
			t.Errorf("after %d tries the record says %+v", tries, after)
		}
		if err := x.Tell(t.Context(), id, executor.Request{Kind: run.Aborted, By: "kim"}); err != nil {
			t.Fatal(err)
		}
		if err := <-end; err != nil {
			t.Fatal(err)
		}
	})
}
