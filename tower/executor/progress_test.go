package executor_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/tower/executor"
)

// comparing opens a run of one long step, whose driver tells what it has come to, and then goes on
// until its context ends, or it was begun the last time.
func (h *house) comparing(x *executor.Executor, verb plan.Verb, begins int) (id run.ID, told chan run.Facts) {
	h.t.Helper()
	told = make(chan run.Facts, begins)
	h.on(string(verb), func(ctx context.Context, t driver.Task) (driver.Result, error) {
		if begins--; begins == 0 {
			told <- t.Facts
			return driver.Result{}, nil
		}
		t.Tell(run.Facts{"place": t.Facts["place"] + "x"}, "so far")
		told <- t.Facts
		<-ctx.Done()
		return driver.Result{Outcome: run.NotDone, Facts: run.Facts{"left": "off"}}, context.Cause(ctx)
	})
	s := plan.Step{ID: 1, Verb: verb, Driver: "postgres", Component: "talk-db", Reason: plan.Asked, Limit: estate.Duration(time.Hour)}
	p := plan.Plan{Version: 1, Kind: plan.VerifyAll, Subject: "talk-db", Steps: []plan.Step{s}, Because: []string{"a test"}}
	p.Hash = plan.Hash(p)
	id, err := x.Open(h.t.Context(), 1, executor.Opening{Plan: p, Estate: h.estate, Version: 1})
	if err != nil {
		h.t.Fatal(err)
	}
	return id, told
}

// Paused, a long step is left off in the middle, as often as people like, and goes on from what it told.
func TestALongStepRestsWhileItsRunIsPaused(t *testing.T) {
	for _, verb := range []plan.Verb{plan.Salvage, plan.Rejoin, plan.Verify} {
		t.Run(string(verb), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { rests(t, verb) }) })
	}
}

func rests(t *testing.T, verb plan.Verb) {
	h := newHouse(t, "talk-db")
	x := h.tower("tower-ansan")
	id, told := h.comparing(x, verb, 5)
	end := background(t.Context(), x, id, 1)
	for _, want := range []string{"", "x", "xx", "xxx"} {
		if got := <-told; got["place"] != want {
			t.Fatalf("it began at %q, not at %q", got["place"], want)
		}
		if err := x.Tell(t.Context(), id, executor.Request{Kind: run.Paused, By: "kim"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if r := h.read(id); r.Status() != run.StatusPaused || r.Steps[0].State != run.Ready || r.Steps[0].Facts["left"] != "off" {
			t.Fatalf("%s\n%v", r, r.Steps[0].Facts)
		}
		if err := x.Tell(t.Context(), id, executor.Request{Kind: run.Resumed, By: "kim"}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff("xxxx", (<-told)["place"]); diff != "" {
		t.Error(diff)
	}
	if err := <-end; err != nil {
		t.Fatal(err)
	}
	h.closedWith(id, "done")
}

// Another tower goes on from what was told before the first one died.
func TestAnotherTowerGoesOnWhereALongStepWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		id, told := h.comparing(h.tower("tower-ansan"), plan.Verify, 2)
		dying, die := context.WithCancel(t.Context())
		end := background(dying, h.tower("tower-ansan"), id, 1)
		<-told
		synctest.Wait()
		die()
		<-end
		h.book.Depose(2)
		if err := h.tower("tower-anyang").Carry(t.Context(), id, 2); err != nil {
			t.Fatal(err)
		}
		if got := <-told; got["place"] != "x" {
			t.Errorf("it began at %q", got["place"])
		}
		h.closedWith(id, "done")
	})
}
