package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/history"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/web"
)

func TestHistoryIsTold(t *testing.T) {
	at := time.Date(2026, 11, 23, 3, 0, 0, 0, time.Local)
	tn := newTown(t, pki.Viewer)
	tn.tower(desk{HistoryFunc: func(id estate.StoreID) (history.Life, error) {
		if id != "talk-db" {
			return history.Life{}, &web.Refused{Code: web.NotFound, Why: `the estate has no store "` + string(id) + `"`, Do: "the stores are [talk-db]"}
		}
		return history.Life{Store: id, Verified: at, Gap: "r-000001 and the runs before it cannot be read",
			Reigns:   []history.Reign{{Epoch: 2, Timeline: 2, Primary: "ansan", From: at, Run: "r-000002", Kind: "lose-site", Because: []string{"pangyo is lost"}}},
			Events:   []history.Event{{At: at, What: history.Salvaged, Run: "r-000003", Members: []string{"pangyo"}, Text: "3 rows"}},
			Salvages: []situation.Salvage{{ID: "r-000003-pangyo", Member: "pangyo", Rows: 3, State: situation.SalvageApplied, Applied: 3, By: []string{"kim", "lee"}, Holders: []estate.MemberID{"ansan", "pangyo"}}},
		}, nil
	}})
	out, err := tn.haechi("history", "talk-db")
	for _, want := range []string{"all members held the same at 2026-11-23 03:00:00.000", "not all is told: r-000001", "ansan", "now", "pangyo is lost", "salvaged", "3 rows", "applied (3 rows) by kim, lee", "ansan,pangyo"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%q is missing: %v\n%s", want, err, out)
		}
	}
	out, err = tn.haechi("history", "talk-db", "-o", "json")
	var life history.Life
	if err != nil || json.Unmarshal([]byte(out), &life) != nil || len(life.Reigns) != 1 || !life.Verified.Equal(at) {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := tn.haechi("history", "mail-db"); err == nil || !strings.Contains(err.Error(), `no store "mail-db"`) || !strings.Contains(err.Error(), "talk-db") {
		t.Errorf("%v", err)
	}
}

func TestStatusSaysWhatIsMissing(t *testing.T) {
	n := peace()
	tn := newTown(t, pki.Viewer)
	tn.tower(desk{NowFunc: func() web.Now { return n }})
	if out, err := tn.haechi("status"); err != nil || !strings.Contains(out, "all is as redundant as declared") {
		t.Errorf("%v\n%s", err, out)
	}
	n.Missing = []web.Lack{{Kind: situation.LackMember, Text: "talk-db: b is not counted"}}
	n.Stores[0].Differs = "1 row of public.w on b"
	n.Missing[0].Text += "; its members differ: " + n.Stores[0].Differs
	n.Stores[0].Members = append(n.Stores[0].Members, web.Member{ID: "b", Role: web.RoleFormer, Jobs: []web.Job{{What: "rejoin", Phase: "copies", Bytes: 31, Of: 100, ETAS: 41}}})
	out, err := tn.haechi("status")
	for _, want := range []string{"missing until all is as redundant as declared:\n  talk-db: b is not counted", "rejoin: copies, 31%, about 41s more"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%q is missing: %v\n%s", want, err, out)
		}
	}
	// Once below as missing, once in words of what to do about it; not beside the store a third time.
	if got := strings.Count(out, "1 row of public.w on b"); got > 2 {
		t.Errorf("it is said %d times:\n%s", got, out)
	}
}

// The way home is told by what speaks for it and against it; a primary that is at home has nowhere to go.
func TestTheWayHomeIsTold(t *testing.T) {
	for want, f := range map[string]response.Failback{
		"talk-db: pangyo is its primary: it is at home\n":                                     {From: "pangyo", To: "pangyo", Against: []string{"pangyo is its primary: it is at home"}},
		"talk-db: ansan -> pangyo: not now\n  against  pangyo is lost\n":                      {From: "ansan", To: "pangyo", Against: []string{"pangyo is lost"}},
		"talk-db: ansan -> pangyo: possible, when a person says so (haechi failback talk-db)": {From: "ansan", To: "pangyo"},
	} {
		var out strings.Builder
		f.Store = "talk-db"
		if drawFailback(&out, f); !strings.HasPrefix(out.String(), want) {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	}
}
