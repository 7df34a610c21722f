package executor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/testkit"
	"github.com/haechi/haechi/tower/executor"
)

// zone is the name servers of one name: which of them give the answers of pangyo.
type zone struct {
	book  *testkit.Book
	gives map[string]bool
	well  func(watch int) bool // how users fare in each watch; nil: well
	seen  int
	wrong []string
}

// drivers are what the executor orders. Each act holds that the records never call out what a server gives.
func (z *zone) drivers() map[string]driver.Driver {
	set := func(on bool) func(context.Context, driver.Task) (driver.Result, error) {
		return func(_ context.Context, t driver.Task) (driver.Result, error) {
			for _, m := range t.Step.Members {
				if z.gives[m] = on; !on {
					delete(z.gives, m)
				}
			}
			z.check(fmt.Sprintf("%s %v", t.Step.Verb, t.Step.Members))
			return driver.Result{Outcome: run.Done}, nil
		}
	}
	undo := set(false)
	names := &testkit.Driver{UndoFunc: undo,
		DoFunc: func(ctx context.Context, t driver.Task) (driver.Result, error) {
			return set(t.Step.Verb == plan.Announce)(ctx, t)
		},
		LookFunc: func(_ context.Context, t driver.Task) (driver.Result, error) {
			for _, m := range t.Step.Members {
				if z.gives[m] != (t.Step.Verb == plan.Announce) {
					return driver.Result{Outcome: run.NotDone}, nil
				}
			}
			return driver.Result{Outcome: run.Done}, nil
		}}
	eyes := &testkit.Driver{
		LookFunc: func(context.Context, driver.Task) (driver.Result, error) {
			return driver.Result{Outcome: run.NotDone}, nil
		},
		DoFunc: func(context.Context, driver.Task) (driver.Result, error) {
			if z.seen++; z.well != nil && !z.well(z.seen) {
				return driver.Result{Outcome: run.NotDone, Note: "isp-a: talk in pangyo answers with status 503"}, nil
			}
			return driver.Result{Outcome: run.Done}, nil
		}}
	return map[string]driver.Driver{plan.DNS: names, plan.Eyes: eyes}
}

// check holds that what is out by the records is given by no server.
func (z *zone) check(when string) {
	out, part := z.book.Out("talk.example."), z.book.Part("talk.example.")
	if len(z.gives) > 0 && slices.Contains(out, "pangyo") && !slices.Contains(part, "pangyo") {
		z.wrong = append(z.wrong, fmt.Sprintf("%s: %v give pangyo, which counts as out", when, slices.Sorted(maps.Keys(z.gives))))
	}
}

// home is a house whose name has pangyo out of it, and whose users are watched.
func home(t *testing.T) (*house, *zone, func(name string) *executor.Executor) {
	t.Helper()
	h := newHouse(t)
	h.estate.Services["talk"] = estate.Service{Probes: []estate.Probe{{HTTP: "http://{address}/"}}}
	h.book.Estates[1] = h.estate
	z := &zone{book: h.book, gives: map[string]bool{"ns-pangyo": true, "ns-ansan": true, "ns-anyang": true}}
	tower := func(name string) *executor.Executor {
		x, err := executor.New(executor.Config{Tower: name, Book: h.book, Now: time.Now, Log: slog.New(slog.DiscardHandler), Drivers: z.drivers()})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := tower("tower-ansan")
	id, err := x.Open(t.Context(), 1, h.opening(plan.CutUsers, "pangyo"))
	if err == nil {
		err = x.Carry(t.Context(), id, 1)
	}
	if err != nil || len(z.gives) > 0 {
		t.Fatalf("before: %v, %v give pangyo", err, z.gives)
	}
	return h, z, tower
}

func (h *house) serving() executor.Opening {
	h.t.Helper()
	p, err := plan.Make(plan.Input{Estate: h.estate, Kind: plan.Serve, Subject: "pangyo", Because: []string{"a test"},
		Withdrawn: map[estate.NameID][]estate.SiteID{"talk.example.": h.book.Out("talk.example.")}})
	if err != nil {
		h.t.Fatal(err)
	}
	return executor.Opening{Plan: p, Estate: h.estate, Version: 1}
}

// Kill the tower after every number of events while users come home: at no instant do the records call
// out what a server gives, and the next tower brings them all.
func TestRecordsKnowWhoIsOnTheWayHome(t *testing.T) {
	total := 0
	for n := -1; n < total || n < 0; n++ {
		synctest.Test(t, func(t *testing.T) {
			h, z, tower := home(t)
			before := len(h.book.Events())
			h.book.CrashAfter(n)
			x := tower("tower-ansan")
			id, err := x.Open(t.Context(), 1, h.serving())
			if err == nil {
				err = x.Carry(t.Context(), id, 1)
			}
			if err != nil && !errors.Is(err, testkit.ErrCrash) {
				t.Fatal(err)
			}
			z.check("after the crash")
			h.book.CrashAfter(-1)
			if id != "" {
				h.book.Depose(2)
				if err := tower("tower-anyang").Carry(t.Context(), id, 2); err != nil {
					t.Fatal(err)
				}
				h.closedWith(id, "done")
				if out := h.book.Out("talk.example."); len(z.gives) != 3 || len(out) != 0 {
					t.Errorf("after %d events: %v give pangyo, out are %v", n, z.gives, out)
				}
			}
			for _, w := range z.wrong {
				t.Errorf("after %d events: %s", n, w)
			}
			if n < 0 {
				total = len(h.book.Events()) - before
			}
		})
	}
}

// Users who fare badly in any stage are called back from all, and the records say so.
func TestUsersAreCalledBack(t *testing.T) {
	for stage := 1; stage <= 3; stage++ {
		synctest.Test(t, func(t *testing.T) {
			h, z, tower := home(t)
			z.well = func(watch int) bool { return watch < stage }
			x := tower("tower-ansan")
			id, err := x.Open(t.Context(), 1, h.serving())
			if err == nil {
				err = x.Carry(t.Context(), id, 1)
			}
			if err != nil {
				t.Fatal(err)
			}
			h.closedWith(id, fmt.Sprintf("failed: step %d watch talk.example.: isp-a: talk in pangyo answers with status 503", 2*stage))
			out, part := h.book.Out("talk.example."), h.book.Part("talk.example.")
			if len(z.gives) != 0 || !slices.Equal(out, []estate.SiteID{"pangyo"}) || len(part) != 0 || len(z.wrong) > 0 {
				t.Errorf("stage %d: %v give pangyo, out are %v, on their way %v, wrong %v", stage, z.gives, out, part, z.wrong)
			}
			if got := h.book.Intent("pangyo"); got == "serving" {
				t.Errorf("stage %d: the site is wanted as %s, though nobody is sent there", stage, got)
			}
		})
	}
}
