package response

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/seats"
	"github.com/haechi/haechi/core/situation"
)

func TestTowers(t *testing.T) {
	at := time.Unix(10000, 0)
	e := estate.Estate{Towers: map[estate.TowerID]estate.Tower{}}
	now := situation.Situation{At: at, Things: map[string]situation.Verdict{}, Facts: map[string]map[string]string{}}
	for name, v := range map[estate.TowerID]situation.Verdict{
		"a": {State: situation.Up}, "b": {State: situation.Dead, Since: at.Add(-time.Hour)},
		"c": {State: situation.Lost, Since: at.Add(-time.Minute)}, "d": {State: situation.Up}, "e": {State: situation.Suspect}, "g": {State: situation.Up},
	} {
		e.Towers[name] = estate.Tower{Site: estate.SiteID(name), Address: "x:1"}
		now.Things[situation.TowerTarget(e, name)] = v
	}
	e.Towers["f"] = estate.Tower{Site: "f"}
	now.Facts[situation.TowerTarget(e, "d")] = map[string]string{FactSeat: SeatWaits}
	now.Facts[situation.TowerTarget(e, "b")] = map[string]string{FactSeat: SeatWaits} // from before it died
	now.Facts[situation.TowerTarget(e, "a")] = map[string]string{FactSeat: string(seats.Voter)}
	now.Facts[situation.TowerTarget(e, "g")] = map[string]string{FactSeat: SeatStopped}
	members := []Member{{"g", true}, {"a", true}, {"b", true}, {"c", true}, {"d", true}, {"e", false}, {"f", true}, {"x", true}}
	want := []seats.Tower{
		{ID: "a", Site: "a", Is: seats.Voter, Well: true}, {ID: "b", Site: "b", Is: seats.Voter, Lost: true}, {ID: "c", Site: "c", Is: seats.Voter},
		{ID: "d", Site: "d", Is: seats.Voter, Waits: true}, {ID: "e", Site: "e", Is: seats.Learner}, {ID: "f", Site: "f", Is: seats.Voter, Well: true},
		{ID: "g", Site: "g", Is: seats.Voter},
	}
	if diff := cmp.Diff(want, Towers(e, now, members)); diff != "" {
		t.Error(diff)
	}
	e.Policy.ReseatAfter = 30 * time.Second
	if got := Towers(e, now, members)[2]; !got.Lost {
		t.Errorf("policy gives it up after 30 s: %+v", got)
	}
	if s := Strangers(e, members); len(s) != 1 || s[0] != "x" {
		t.Errorf("strangers: %v", s)
	}
}

func TestReseat(t *testing.T) {
	at := time.Unix(10000, 0)
	e := estate.Estate{Sites: map[estate.SiteID]estate.Site{"a": {}, "b": {}, "c": {}, "d": {}},
		Towers: map[estate.TowerID]estate.Tower{"a": {Site: "a"}, "b": {Site: "b"}, "c": {Site: "c"}, "d": {Site: "d"}}}
	lost := []seats.Tower{{ID: "a", Site: "a", Is: seats.Voter, Lost: true}, {ID: "b", Site: "b", Is: seats.Voter, Well: true},
		{ID: "c", Site: "c", Is: seats.Voter, Well: true}, {ID: "d", Site: "d", Is: seats.Outside, Waits: true}}
	in := Input{Now: situation.Situation{At: at, Things: map[string]situation.Verdict{situation.TowerTarget(e, "a"): {Since: at.Add(-time.Hour)}}},
		Estate: e, Seats: lost, Armed: map[string]bool{"*": true}, Quorum: true}
	decided := func() string {
		var out []string
		for _, d := range Decide(in) {
			out = append(out, d.String())
		}
		return strings.Join(out, "; ")
	}
	want := func(what, want string) {
		t.Helper()
		if got := decided(); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	want("a spare can vote", "start reseat towers")
	in.Open = []OpenRun{{ID: "r-1", Kind: plan.Reseat, Subject: plan.Towers, Status: run.StatusRunning}}
	want("it is under way", "")
	in.Open[0].Status, in.Open[0].Closed = run.StatusFailed, at.Add(-time.Minute)
	want("it was tried", "ask reseat towers people=1")
	in.Open[0].Closed = at.Add(-2 * time.Hour)
	want("it was tried before this loss", "start reseat towers")
	in.Open[0].Status, in.Open[0].Closed = run.StatusDone, at.Add(-10*time.Second)
	in.Now.Facts = map[string]map[string]string{situation.TowerTarget(e, "d"): {FactSeat: SeatWaits, FactWaits: at.Add(-11 * time.Second).Format(time.RFC3339Nano)}}
	want("what it says is from before it was seated", "ask reseat towers people=1")
	in.Now.Facts[situation.TowerTarget(e, "d")][FactWaits] = at.Add(-time.Second).Format(time.RFC3339Nano)
	want("its disk is empty once more, and it was up all the while", "start reseat towers")
	in.Now.Facts = nil
	in.Open = []OpenRun{{ID: "r-2", Kind: plan.Recover, Subject: "d", Status: run.StatusRunning, Seats: true}}
	want("the site's own run seats it", "")
	in.Open[0].Seats = false
	want("that run has no seat to give, and waits for what is missing", "start reseat towers")
	in.Open, in.Older = nil, "tower-b"
	want("a tower could not carry it on", "refuse reseat towers")
	in.Older, in.Armed = "", nil
	want("disarmed", "would reseat towers")
	in.Seats = lost[1:3]
	want("nothing to change", "")
}
