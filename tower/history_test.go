package tower

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/web"
)

// A life is told from the runs that may have touched the store, and from no others.
func TestHistoryIsToldFromTheRuns(t *testing.T) {
	at := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	adopt := plan.Plan{Kind: plan.AdoptNew, Subject: "talk-db", Steps: []plan.Step{{ID: 1, Verb: plan.Adopt, Component: "talk-db"}}}
	events := []run.Event{
		{Run: "r-000001", Seq: 1, Kind: run.Opened, At: at, Plan: &adopt, By: "kim", Epochs: map[string]uint64{"talk-db": 1}},
		{Run: "r-000001", Seq: 2, Kind: run.Ended, Step: 1, Outcome: run.Done, At: at.Add(time.Second), Facts: run.Facts{"primary": "a", "timeline": "1"}},
	}
	n := bare(t, beliefs{estate: estate.Estate{Stores: map[estate.StoreID]estate.Store{"talk-db": {}}}, snap: state.Snapshot{
		Index: map[run.ID]state.RunInfo{
			"r-000001": {Kind: plan.AdoptNew, Subject: "talk-db"}, "r-000002": {Kind: plan.LevelDNS, Subject: "ns-a"}, "r-000003": {Kind: plan.Failover, Subject: "mail-db"},
		},
		Runs:     map[run.ID][]run.Event{"r-000001": events},
		Stores:   map[estate.StoreID]situation.Store{"talk-db": {Epoch: 1, Verified: at}},
		Salvages: map[string]situation.Salvage{"r-000009-a": {ID: "r-000009-a", Store: "talk-db"}},
	}})
	life, err := n.History(t.Context(), "talk-db")
	if err != nil || life.Gap != "" || len(life.Reigns) != 1 || life.Reigns[0].Primary != "a" || len(life.Salvages) != 1 || !life.Verified.Equal(at) {
		t.Fatalf("%v: %+v", err, life)
	}
	_, err = n.History(t.Context(), "mail-db")
	if no, ok := errors.AsType[*web.Refused](err); !ok || no.Code != web.NotFound || !strings.Contains(no.Do, "talk-db") {
		t.Fatalf("a store that is not there: %v", err)
	}
}

func TestRunsThatMayHaveTouchedAStore(t *testing.T) {
	index := map[run.ID]state.RunInfo{}
	for i, r := range []state.RunInfo{
		{Kind: plan.AdoptNew, Subject: "talk-db"}, {Kind: plan.AdoptNew, Subject: "mail-db"}, {Kind: plan.LoseSite, Subject: "a"}, {Kind: plan.Recover, Subject: "a"},
		{Kind: plan.Serve, Subject: "a"}, {Kind: plan.Reseat}, {Kind: plan.VerifyAll, Subject: "talk-db"}, {Kind: plan.Restore, Subject: "r-000003-a"}, {Kind: plan.CutUsers, Subject: "a"},
	} {
		index[run.ID("r-00000"+string(rune('1'+i)))] = r
	}
	if got := touching(state.Snapshot{Index: index}, "talk-db"); !slices.Equal(got, []run.ID{"r-000001", "r-000003", "r-000004", "r-000007", "r-000008"}) {
		t.Error(got)
	}
}

// What an agent is at, and which salvage comes first.
func TestWhatTheStoresPageIsToldOf(t *testing.T) {
	got := webJobs(map[string]string{"rejoin/phase": "copies", "rejoin/bytes": "31", "rejoin/of": "100", "rejoin/eta_s": "4.5", "check/phase": "messages", "salvage/bytes": "7"})
	want := []web.Job{{What: "rejoin", Phase: "copies", Bytes: 31, Of: 100, ETAS: 4.5}, {What: "check", Phase: "messages", ETAS: -1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = webJobs(map[string]string{"rejoin/phase": "not done: the disk is full", "rejoin/over": "true", "rejoin/bytes": "31", "rejoin/of": "100", "rejoin/eta_s": "4.5"})
	if diff := cmp.Diff([]web.Job{{What: "rejoin", Phase: "not done: the disk is full", ETAS: -1}}, got); diff != "" {
		t.Error(diff)
	}
	at := time.Unix(1000, 0)
	b := beliefs{snap: state.Snapshot{Salvages: map[string]situation.Salvage{
		"1": {ID: "1", Store: "talk-db", At: at, State: situation.SalvageOpen}, "2": {ID: "2", Store: "talk-db", At: at.Add(2 * time.Hour), State: situation.SalvageApplied},
		"3": {ID: "3", Store: "talk-db", At: at.Add(time.Hour), State: situation.SalvageEmpty}, "4": {ID: "4", Store: "mail-db", At: at},
	}}}
	var order []string
	for _, s := range b.salvages("talk-db") {
		order = append(order, s.ID)
	}
	if !slices.Equal(order, []string{"1", "2", "3"}) {
		t.Error(order)
	}
}
