package executor_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/testkit"
)

// A member that is new to its store may be listed from the begin of its return on, and counts only after its end:
// where it is not listed after all, nothing is left that says so.
func TestANewMemberCountsOnlyOnceItIsListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "talk-db")
		e, records := testkit.ThreeSites("talk-db")
		records["talk-db"] = situation.Store{Epoch: 2, Next: 2, Primary: "ansan", Sync: []estate.MemberID{"anyang"}, Any: 1, LeastAny: 1}
		h.book = testkit.NewBook(e, records)
		seen := false
		h.world.Before = func(_ context.Context, verb string, _ driver.Task) (driver.Result, error) {
			if rec, _ := h.book.Store(t.Context(), "talk-db"); verb == "return" {
				seen = slices.Contains(rec.Sync, "pangyo") && slices.Contains(rec.Former, "pangyo")
			}
			return driver.Result{}, nil
		}
		x := h.tower("tower-ansan")
		id := h.open(x, 1, plan.Recover, "pangyo")
		if err := x.Carry(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		h.closedWith(id, "done, recovered")
		if !seen {
			t.Error("it counted while it was not known to be listed")
		}
		rec, _ := h.book.Store(t.Context(), "talk-db")
		want := back
		want.Verified = testkit.Compared // which a recovery does at its end
		if diff := cmp.Diff(want, rec); diff != "" {
			t.Error(diff)
		}
	})
}
