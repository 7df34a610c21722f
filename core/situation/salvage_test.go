package situation_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

func TestRowsArePickedAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string][]int{"1": {1}, "1,3-5": {1, 3, 4, 5}, "5, 1-2,2": {1, 2, 5}} {
		got, err := situation.ParseRows(text)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		again, err := situation.ParseRows(situation.FormatRows(got))
		if err != nil || !cmp.Equal(got, again) {
			t.Errorf("%q: %q is read as %v, %v", text, situation.FormatRows(got), again, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "3-1", "a", "1,", "1-", "1-1000000000", "1-9999999,1-9999999", "1-2-3", "1 2"} {
		if got, err := situation.ParseRows(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

// A record remembers each promotion once, and the newest ones.
func TestARecordRemembersItsPromotions(t *testing.T) {
	var s situation.Store
	for epoch := uint64(1); epoch <= situation.MaxForks+5; epoch++ {
		before := s
		s = s.Forked(situation.Fork{Epoch: epoch, Timeline: epoch})
		s = s.Forked(situation.Fork{Epoch: epoch, Timeline: epoch, Next: 700 + epoch})
		if len(before.Forks) > 0 && before.Forks[len(before.Forks)-1].Epoch != epoch-1 {
			t.Fatal("the record before was changed")
		}
	}
	if n := len(s.Forks); n != situation.MaxForks || s.Forks[n-1].Next != 700+situation.MaxForks+5 || s.Forks[0].Epoch != 6 {
		t.Errorf("%d: %+v … %+v", n, s.Forks[0], s.Forks[n-1])
	}
}

// A run that finds a salvage again does not open it again.
func TestWhatPeopleDecidedOfASalvageStays(t *testing.T) {
	found := situation.Salvage{ID: "r-1-a", State: situation.SalvageOpen, Rows: 3, Holders: []estate.MemberID{"a", "c"}}
	for _, before := range []situation.Salvage{
		{ID: "r-1-a", State: situation.SalvageDiscarded, By: []string{"kim", "lee"}, Holders: []estate.MemberID{"a", "b"}},
		{ID: "r-1-a", State: situation.SalvageOpen, Applied: 1, Written: "2", Holders: []estate.MemberID{"a", "b"}},
	} {
		got := found.Over(before)
		if got.State != before.State || got.Written != before.Written || !cmp.Equal(got.By, before.By) || !cmp.Equal(got.Holders, []estate.MemberID{"a", "b", "c"}) {
			t.Errorf("%+v", got)
		}
	}
	if got := found.Over(situation.Salvage{}); !cmp.Equal(got, found) {
		t.Errorf("%+v", got)
	}
	more := situation.Salvage{ID: "r-1-a", State: situation.SalvageApplied, Applied: 3, Written: "1-3", By: []string{"kim"}, Closed: time.Unix(1, 0)}
	if got := more.Over(found); got.State != situation.SalvageApplied || got.Written != "1-3" {
		t.Errorf("%+v", got)
	}
}
