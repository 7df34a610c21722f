package executor_test

import (
	"context"
	"errors"
	"slices"
	"strings"
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

// on runs f when the world is asked for a verb; other verbs go their way.
func (h *house) on(verb string, f func(context.Context, driver.Task) (driver.Result, error)) {
	h.world.Before = func(ctx context.Context, v string, t driver.Task) (driver.Result, error) {
		if v == verb {
			return f(ctx, t)
		}
		return driver.Result{}, nil
	}
}

func TestTooFewSealedIsUndoneAtOnceAndAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		accepted := ""
		h.on("seal", func(_ context.Context, task driver.Task) (driver.Result, error) {
			if accepted = task.Facts["accepted/seal"]; accepted != "" {
				return driver.Result{}, nil
			}
			return driver.Result{Outcome: run.NotDone, Note: "1 of 2 sealed", Ask: "one member is sealed of two; 3 s of writes are at stake"}, nil
		})
		x := h.tower("tower-ansan")
		began := time.Now()
		id := h.open(x, 1, plan.LoseSite, "pangyo")
		end := background(t.Context(), x, id, 1)
		synctest.Wait()
		if !slices.Contains(h.world.Log(), "undo seal talk-db") || time.Since(began) > time.Second {
			t.Fatalf("it was not unsealed within a second: %v", h.world.Log())
		}
		r := h.read(id)
		if q := r.Questions()[1]; r.Status() != run.StatusAsked || q.People != 2 || !q.Accepts {
			t.Fatalf("nobody was asked: %s", r)
		}
		if !h.world.Is("withdraw talk.example. @pangyo") {
			t.Error("the name waited for the store's question")
		}

		for _, person := range []string{"kim", "kim", "lee"} {
			synctest.Wait()
			if accepted != "" {
				t.Fatal("one person was enough")
			}
			if err := x.Tell(t.Context(), id, executor.Request{Kind: run.Approved, By: person}); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-end; err != nil {
			t.Fatal(err)
		}
		if accepted != "kim,lee" {
			t.Errorf("the driver was told %q", accepted)
		}
		h.closedWith(id, "done")
	})
}

func TestSealOverItsLimitIsUndoneWithoutALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		h.on("seal", func(ctx context.Context, _ driver.Task) (driver.Result, error) {
			<-ctx.Done()
			return driver.Result{}, ctx.Err()
		})
		x := h.tower("tower-ansan")
		began := time.Now()
		id := h.open(x, 1, plan.LoseSite, "pangyo")
		end := background(t.Context(), x, id, 1)
		time.Sleep(time.Second)
		synctest.Wait()
		if !slices.Contains(h.world.Log(), "undo seal talk-db") || time.Since(began) > time.Second {
			t.Fatalf("it was not unsealed within a second: %v", h.world.Log())
		}
		if err := x.Tell(t.Context(), id, executor.Request{Kind: run.Aborted, By: "kim"}); err != nil {
			t.Fatal(err)
		}
		if err := <-end; err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "undone")
	})
}

// A promotion whose end nobody heard of is looked for, not done again.
func TestUnknownIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		times := 0
		h.on("promote", func(ctx context.Context, task driver.Task) (driver.Result, error) {
			if times++; times > 1 { // the world's own Do below, and any attempt after it
				return driver.Result{}, nil
			}
			if _, err := h.world.Do(ctx, task); err != nil {
				return driver.Result{}, err
			}
			return driver.Result{}, errors.New("connection reset")
		})
		x := h.tower("tower-ansan")
		id := h.open(x, 1, plan.LoseSite, "pangyo")
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done")
		h.noActTwice()
		if rec, _ := h.book.Store(t.Context(), "talk-db"); rec.Primary != "ansan" {
			t.Errorf("what the look found was not put on record: %+v", rec)
		}
	})
}

func TestFailedMoveOfAPersonEndsWhereItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		h.on("choose", func(context.Context, driver.Task) (driver.Result, error) {
			return driver.Result{Outcome: run.NotDone, Note: "ansan is behind"}, nil
		})
		x := h.tower("tower-ansan")
		id := h.open(x, 1, plan.Evacuate, "pangyo")
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "failed: step 3 choose talk-db: ansan is behind")
		if left := h.world.Effects(); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		log := strings.Join(h.world.Log(), "\n")
		if !strings.HasSuffix(log, "undo seal talk-db\nundo halt talk-db") {
			t.Errorf("undone in a strange order:\n%s", log)
		}
		if got := h.book.Intent("pangyo"); got != situation.Serving {
			t.Errorf("intent %q", got)
		}
	})
}

// A store that is sealed goes through to its promotion before the run rests.
func TestPauseDoesNotHoldWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		reached, goOn := make(chan struct{}), make(chan struct{})
		h.on("seal", func(context.Context, driver.Task) (driver.Result, error) {
			close(reached)
			<-goOn
			return driver.Result{}, nil
		})
		x := h.tower("tower-ansan")
		id := h.open(x, 1, plan.Evacuate, "pangyo")
		end := background(t.Context(), x, id, 1)
		<-reached
		if err := x.Tell(t.Context(), id, executor.Request{Kind: run.Paused, By: "kim"}); err != nil {
			t.Fatal(err)
		}
		close(goOn)
		synctest.Wait()
		if !h.world.Is("promote talk-db") || h.world.Is("return talk-db") || h.world.Is("withdraw talk.example. @pangyo") {
			t.Fatalf("paused at %v", h.world.Effects())
		}
		if got := h.read(id).Status(); got != run.StatusPaused {
			t.Errorf("status %s", got)
		}
		if err := x.Tell(t.Context(), id, executor.Request{Kind: run.Paused, By: "lee"}); err == nil {
			t.Error("paused twice")
		}
		if err := x.Tell(t.Context(), id, executor.Request{Kind: run.Resumed, By: "kim"}); err != nil {
			t.Fatal(err)
		}
		if err := <-end; err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done")
	})
}

func TestAbortBeforeAndAfterThePromotion(t *testing.T) {
	for verb, want := range map[string]string{
		"seal":    "",
		"choose":  "",
		"promote": "choose talk-db,follow talk-db,halt talk-db,promote talk-db,return talk-db,seal talk-db",
	} {
		t.Run(verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, "talk-db")
				x := h.tower("tower-ansan")
				reached, goOn := make(chan struct{}), make(chan struct{})
				h.on(verb, func(ctx context.Context, _ driver.Task) (driver.Result, error) {
					close(reached)
					select {
					case <-goOn:
					case <-ctx.Done():
						return driver.Result{}, ctx.Err()
					}
					return driver.Result{}, nil
				})
				id := h.open(x, 1, plan.Evacuate, "pangyo")
				end := background(t.Context(), x, id, 1)
				<-reached
				if err := x.Tell(t.Context(), id, executor.Request{Kind: run.Aborted, By: "kim"}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				close(goOn)
				if err := <-end; err != nil {
					t.Fatal(err)
				}
				h.closedWith(id, "undone")
				if got := strings.Join(h.world.Effects(), ","); got != want {
					t.Errorf("left: %s", got)
				}
			})
		})
	}
}

func TestAskedBeforeTheFirstStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		o := h.opening(plan.LoseSite, "pangyo")
		o.Ask, o.People = "policy wants one person's word", 1
		id, err := x.Open(t.Context(), 1, o)
		if err != nil {
			t.Fatal(err)
		}
		end := background(t.Context(), x, id, 1)
		time.Sleep(time.Minute)
		if got := h.world.Log(); len(got) != 0 {
			t.Fatalf("it began: %v", got)
		}
		if err := x.Tell(t.Context(), id, executor.Request{Kind: run.Approved, By: "kim"}); err != nil {
			t.Fatal(err)
		}
		if err := <-end; err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done")
	})
}

func TestOpenIsRefusedWhenSettingsChanged(t *testing.T) {
	h := newHouse(t, "talk-db")
	h.book.SetBasis(8)
	o := h.opening(plan.LoseSite, "pangyo")
	o.Basis = 7
	if _, err := h.tower("tower-ansan").Open(t.Context(), 1, o); !errors.Is(err, executor.ErrRefused) {
		t.Fatalf("err = %v", err)
	}
	if len(h.book.Events()) != 0 {
		t.Error("something was written")
	}
}

func TestTellNobody(t *testing.T) {
	h := newHouse(t, "talk-db")
	x := h.tower("tower-ansan")
	if err := x.Tell(t.Context(), "r-000009", executor.Request{Kind: run.Paused}); !errors.Is(err, executor.ErrNotCarried) {
		t.Errorf("err = %v", err)
	}
	if err := x.Tell(t.Context(), "r-000009", executor.Request{Kind: run.Closed}); err == nil {
		t.Error("a person closed a run")
	}
}

// Stores that do not need each other move at the same time.
func TestIndependentStoresMoveTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db", "files")
		both := make(chan struct{}, 2)
		h.on("seal", func(ctx context.Context, _ driver.Task) (driver.Result, error) {
			both <- struct{}{}
			for len(both) < 2 {
				time.Sleep(time.Millisecond)
				if ctx.Err() != nil {
					return driver.Result{}, ctx.Err()
				}
			}
			return driver.Result{}, nil
		})
		x := h.tower("tower-ansan")
		id := h.open(x, 1, plan.LoseSite, "pangyo")
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done")
	})
}

// A salvage is given up by as many people as accept-data-loss names; who they are stands in its record,
// and what was decided is not undone by a run that finds it again.
func TestASalvageIsGivenUpByThoseWhomPolicyNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		found := situation.Salvage{ID: "r-000001-pangyo", Store: "talk-db", State: situation.SalvageOpen, Rows: 2}
		h.book.Found(found)
		h.on("discard", func(_ context.Context, task driver.Task) (driver.Result, error) {
			rec := task.Salvage
			who := task.Facts[run.FactAccepted+string(plan.Discard)]
			if who == "" {
				return driver.Result{Outcome: run.NotDone, Note: "2 rows", Ask: "2 rows are given up"}, nil
			}
			rec.State, rec.By = situation.SalvageDiscarded, strings.Split(who, ",")
			return driver.Result{Outcome: run.Done, Salvage: &rec}, nil
		})
		stores := map[estate.StoreID]situation.Store{}
		stores["talk-db"], _ = h.book.Store(t.Context(), "talk-db")
		p, err := plan.Make(plan.Input{Estate: h.estate, Stores: stores, Kind: plan.GiveUp, Subject: "talk-db", Choice: plan.Choice{Salvage: found, By: "kim"}})
		if err != nil {
			t.Fatal(err)
		}
		x := h.tower("tower-ansan")
		id, err := x.Open(t.Context(), 1, executor.Opening{Plan: p, Estate: h.estate, Version: 1})
		if err != nil {
			t.Fatal(err)
		}
		end := background(t.Context(), x, id, 1)
		synctest.Wait()
		if q := h.read(id).Questions()[1]; q.People != 2 || !q.Accepts {
			t.Fatalf("nobody was asked: %s", h.read(id))
		}
		for _, person := range []string{"kim", "kim", "lee"} {
			synctest.Wait()
			if s, _ := h.book.Salvage(t.Context(), found.ID); s.State != situation.SalvageOpen {
				t.Fatal("one person was enough")
			}
			if err := x.Tell(t.Context(), id, executor.Request{Kind: run.Approved, By: person}); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-end; err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done")
		s, _ := h.book.Salvage(t.Context(), found.ID)
		if s.State != situation.SalvageDiscarded || !slices.Equal(s.By, []string{"kim", "lee"}) {
			t.Errorf("%+v", s)
		}
		if again := found.Over(s); again.State != situation.SalvageDiscarded {
			t.Errorf("%+v", again)
		}
	})
}
