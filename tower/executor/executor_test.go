package executor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/testkit"
	"github.com/haechi/haechi/tower/executor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is one estate with its book and its world, and executors that come and go.
type house struct {
	t      *testing.T
	estate estate.Estate
	book   *testkit.Book
	world  *testkit.World
}

func newHouse(t *testing.T, stores ...estate.StoreID) *house {
	e, records := testkit.ThreeSites(stores...)
	return &house{t: t, estate: e, book: testkit.NewBook(e, records), world: testkit.NewWorld()}
}

// tower is an executor as a freshly started tower has it.
func (h *house) tower(name string) *executor.Executor {
	h.t.Helper()
	x, err := executor.New(executor.Config{Tower: name, Book: h.book, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Drivers: map[string]driver.Driver{"postgres": h.world, plan.DNS: h.world, plan.EstateDriver: h.world}})
	if err != nil {
		h.t.Fatal(err)
	}
	return x
}

// opening plans from the records as they are.
func (h *house) opening(kind plan.Kind, subject string) executor.Opening {
	h.t.Helper()
	stores := map[estate.StoreID]situation.Store{}
	for id := range h.estate.Stores {
		stores[id], _ = h.book.Store(h.t.Context(), id)
	}
	p, err := plan.Make(plan.Input{Estate: h.estate, Stores: stores, Kind: kind, Subject: subject, Because: []string{"a test"}})
	if err != nil {
		h.t.Fatal(err)
	}
	return executor.Opening{Plan: p, Estate: h.estate, Version: 1}
}

func (h *house) open(x *executor.Executor, term uint64, kind plan.Kind, subject string) run.ID {
	h.t.Helper()
	id, err := x.Open(h.t.Context(), term, h.opening(kind, subject))
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

// read is the run as its log tells it.
func (h *house) read(id run.ID) run.Run {
	h.t.Helper()
	events, err := h.book.Load(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	r, err := run.Replay(events)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h *house) closedWith(id run.ID, want string) {
	h.t.Helper()
	if r := h.read(id); r.Closed != want {
		h.t.Fatalf("closed with %q, want %q\n%s", r.Closed, want, r)
	}
}

// noActTwice fails where something was done twice without a look or an undo in between.
func (h *house) noActTwice() {
	h.t.Helper()
	done := map[string]bool{}
	for _, line := range h.world.Log() {
		verb, what, _ := strings.Cut(line, " ")
		if verb == "do" && done[what] {
			h.t.Fatalf("%s was done twice without a look:\n%s", what, strings.Join(h.world.Log(), "\n"))
		}
		done[what] = verb == "do"
	}
}

// background carries a run in a goroutine; the channel gets its end.
func background(ctx context.Context, x *executor.Executor, id run.ID, term uint64) <-chan error {
	end := make(chan error, 1)
	go func() { end <- x.Carry(ctx, id, term) }()
	return end
}

// Others see a run as soon as it is written, before Open has returned. Whoever carries it then goes on with what Open
// began: were it claimed, Open's carrier would be left over, and begin the run once more when it has ended.
func TestARunIsCarriedByOneAlsoWhileItIsOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		var end <-chan error
		h.book.AfterFunc = func(events []run.Event) error {
			if events[0].Kind == run.Opened {
				end = background(t.Context(), x, events[0].Run, 1)
				synctest.Wait()
			}
			return nil
		}
		id := h.open(x, 1, plan.LoseSite, "pangyo")
		if err := <-end; err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done")
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.noActTwice()
		events, _ := h.book.Load(t.Context(), id)
		if slices.ContainsFunc(events, func(ev run.Event) bool { return ev.Kind == run.Claimed }) {
			t.Error("it was claimed by the tower that opened it")
		}
	})
}

func TestCarryLosesSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		id := h.open(x, 1, plan.LoseSite, "pangyo")
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done")
		want := []string{"choose talk-db", "follow talk-db", "promote talk-db", "seal talk-db", "withdraw talk.example. @pangyo"}
		if diff := cmp.Diff(want, h.world.Effects()); diff != "" {
			t.Error(diff)
		}
		rec, _ := h.book.Store(t.Context(), "talk-db")
		if rec.Primary != "ansan" || rec.Epoch != 2 || rec.Next != 2 {
			t.Errorf("record %+v", rec)
		}
		if diff := cmp.Diff([]estate.SiteID{"pangyo"}, h.book.Out("talk.example.")); diff != "" {
			t.Error(diff)
		}
		// Opened with the begins; one append after each of four steps, at most one more for the name.
		if h.book.Appends() > 6 {
			t.Errorf("%d appends", h.book.Appends())
		}
	})
}

func TestCarryEvacuates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		id := h.open(x, 1, plan.Evacuate, "pangyo")
		if got := h.book.Intent("pangyo"); got != situation.Draining {
			t.Errorf("intent %q while it is open", got)
		}
		var listed []estate.MemberID
		h.world.Before = func(ctx context.Context, verb string, _ driver.Task) (driver.Result, error) {
			if verb == "return" {
				rec, _ := h.book.Store(ctx, "talk-db")
				listed = rec.Sync
			}
			return driver.Result{}, nil
		}
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done")
		if got := h.book.Intent("pangyo"); got != situation.Drained {
			t.Errorf("intent %q after it", got)
		}
		if diff := cmp.Diff([]estate.MemberID{"anyang", "pangyo"}, listed); diff != "" {
			t.Errorf("the record did not count the returning member before it was listed:\n%s", diff)
		}
	})
}

// Kill the tower after every number of events, before and after they are written, and let
// another take over: it ends in the same place without doing a step twice without a look.
func TestAnotherTowerEndsTheRunAfterEveryCrash(t *testing.T) {
	for _, kind := range []plan.Kind{plan.LoseSite, plan.Evacuate} {
		total := crashCase(t, kind, func(*testkit.Book) {})
		for n := 1; n < total; n++ {
			t.Run(fmt.Sprintf("%s/before/%d", kind, n), func(t *testing.T) {
				crashCase(t, kind, func(b *testkit.Book) { b.CrashAfter(n) })
			})
			t.Run(fmt.Sprintf("%s/after/%d", kind, n), func(t *testing.T) {
				crashCase(t, kind, func(b *testkit.Book) {
					left := n
					b.AfterFunc = func(events []run.Event) error {
						if left -= len(events); left <= 0 {
							return fmt.Errorf("%w: %w", testkit.ErrCrash, executor.ErrRefused)
						}
						return nil
					}
				})
			})
		}
	}
}

// crashCase runs one plan over two stores with a first tower that crashes and a second
// that does not, and returns how many events there were.
func crashCase(t *testing.T, kind plan.Kind, crash func(*testkit.Book)) int {
	t.Helper()
	var total int
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db", "files")
		crash(h.book)
		first := h.tower("tower-ansan")
		id, err := first.Open(t.Context(), 1, h.opening(kind, "pangyo"))
		if err == nil {
			err = first.Carry(t.Context(), id, 1)
		}
		if err != nil && !errors.Is(err, testkit.ErrCrash) {
			t.Fatal(err)
		}
		h.book.CrashAfter(-1)
		h.book.AfterFunc = nil
		if len(h.book.Events()) == 0 {
			return // it was never opened, so there is nothing to end
		}
		h.book.Depose(2)
		id = h.book.Events()[0].Run
		if err := h.tower("tower-anyang").Carry(t.Context(), id, 2); err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done")
		h.noActTwice()
		for _, store := range []estate.StoreID{"talk-db", "files"} {
			if rec, _ := h.book.Store(t.Context(), store); rec.Primary != "ansan" || rec.Epoch != 2 || rec.LeastAny != 1 {
				t.Errorf("record of %s: %+v", store, rec)
			}
		}
		if out := h.book.Out("talk.example."); !slices.Equal(out, []estate.SiteID{"pangyo"}) {
			t.Errorf("out of the name: %v", out)
		}
		total = len(h.book.Events())
	})
	return total
}

func TestDeposedStopsAtOnceAndJournalsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		h.world.Before = func(ctx context.Context, verb string, _ driver.Task) (driver.Result, error) {
			if verb == "choose" {
				h.book.Depose(2)
			}
			return driver.Result{}, nil
		}
		id := h.open(x, 1, plan.LoseSite, "pangyo")
		err := x.Carry(t.Context(), id, 1)
		if !errors.Is(err, executor.ErrDeposed) {
			t.Fatalf("err = %v", err)
		}
		if last := h.book.Events()[len(h.book.Events())-1]; last.Kind == run.Ended && last.Outcome != run.Done {
			t.Errorf("it journaled its own end as a failure: %s", run.Text(last))
		}
		if h.world.Is("promote talk-db") {
			t.Error("it went on")
		}
	})
}

// A driver whose leadership ends is stopped by its context, and the cause is told.
func TestContextCauseIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		x := h.tower("tower-ansan")
		h.world.Before = func(ctx context.Context, verb string, _ driver.Task) (driver.Result, error) {
			<-ctx.Done()
			return driver.Result{}, ctx.Err()
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		id := h.open(x, 1, plan.LoseSite, "pangyo")
		time.AfterFunc(100*time.Millisecond, func() { cancel(executor.ErrDeposed) })
		if err := x.Carry(ctx, id, 1); !errors.Is(err, executor.ErrDeposed) {
			t.Fatalf("err = %v", err)
		}
	})
}

func TestAppendWithLostAnswerIsNotWrittenTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		n := 0
		h.book.AfterFunc = func([]run.Event) error {
			if n++; n%2 == 1 {
				return errors.New("no answer in time")
			}
			return nil
		}
		x := h.tower("tower-ansan")
		id := h.open(x, 1, plan.LoseSite, "pangyo")
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done")
		h.noActTwice()
	})
}

// The towers elect a leader while the begin of the seal is written: that takes nothing
// from the seal's second.
func TestSlowAppendTakesNoTimeFromASeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		h.book.AppendFunc = func([]run.Event) error {
			time.Sleep(1500 * time.Millisecond)
			return nil
		}
		h.world.Before = func(ctx context.Context, verb string, _ driver.Task) (driver.Result, error) {
			if verb == "seal" {
				time.Sleep(500 * time.Millisecond)
			}
			return driver.Result{}, ctx.Err()
		}
		x := h.tower("tower-ansan")
		id := h.open(x, 1, plan.LoseSite, "pangyo")
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done")
		if slices.ContainsFunc(h.world.Log(), func(s string) bool { return strings.HasPrefix(s, "undo") }) {
			t.Error("the seal ran out of time")
		}
	})
}
