package trial

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab/talk"
)

var fire = time.Date(2026, 11, 23, 15, 19, 0, 0, time.UTC)

func at(ms int) time.Time { return fire.Add(time.Duration(ms) * time.Millisecond) }

func TestSecondsThatNeverHappenedAreNull(t *testing.T) {
	b, err := json.Marshal(map[string]Seconds{"a": Never, "b": 1.23456789})
	if err != nil || string(b) != `{"a":null,"b":1.2346}` {
		t.Fatalf("%s, %v", b, err)
	}
	var back map[string]Seconds
	if err := json.Unmarshal(b, &back); err != nil || back["a"] != Never || back["b"] != 1.2346 {
		t.Fatalf("%v, %v", back, err)
	}
}

func TestFeedTakesLinesInPieces(t *testing.T) {
	var heard []string
	f := newFeed(func(e talk.Event) { heard = append(heard, e.Kind) })
	for _, piece := range []string{`{"kind":"ra`, "te\",\"acked\":5}\n{\"kind\":\"ack-first-after\",\"mark\":\"fault\"}\nnot JSON\n{", "\"kind\":\"rate\"}\n"} {
		if n, err := f.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	if diff := cmp.Diff([]string{"rate", "ack-first-after", "rate"}, heard); diff != "" {
		t.Error(diff)
	}
	all, _ := f.seen()
	if !happened("ack-first-after", mark)(all) || happened("all-served-after", mark)(all) {
		t.Error("what happened is not what was reported")
	}
}

func TestSteady(t *testing.T) {
	events := func(counts ...int) (out []talk.Event) {
		for _, c := range counts {
			out = append(out, talk.Event{Kind: "rate", Acked: c})
		}
		return out
	}
	for _, c := range []struct {
		name string
		all  []talk.Event
		want bool
	}{
		{"too short", events(50, 50), false},
		{"as wanted", events(50, 50, 40, 60), true},
		{"uneven", events(0, 150, 0, 50), true},
		{"too few", events(20, 20, 20, 20), false},
		{"old plenty does not count", events(500, 500, 0, 0, 0, 0), false},
	} {
		if got := steady(c.all, 4, 500); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if steady(events(2000, 0, 0, 0, 0), 5, 500) {
		t.Error("a hole is no steady flow")
	}
}

func TestBarsCountAroundTheFault(t *testing.T) {
	y := talk.Tally{Ended: at(350), Acks: []talk.Ack{{Acked: at(-3000)}, {Acked: at(-150)}, {Acked: at(-120)}, {Acked: at(10)}, {Acked: at(260)}, {Acked: at(5000)}}}
	got := bars(y, fire, 200*time.Millisecond, time.Minute)
	if diff := cmp.Diff(Bars{From: .2, Count: []int{2, 0, 1, 0, 1}}, got); diff != "" {
		t.Error(diff)
	}
}

// events are a journal's entries of a run that seals, fails once, and promotes.
func entries(t *testing.T) []journal.Entry {
	p := &plan.Plan{Kind: plan.LoseSite, Subject: "pangyo", Hash: "h", Steps: []plan.Step{{ID: 1, Verb: plan.Seal, Component: "talk-db"}, {ID: 2, Verb: plan.Promote, Component: "talk-db"}}}
	dns := &plan.Plan{Kind: plan.LevelDNS, Steps: []plan.Step{{ID: 1, Verb: plan.Level}}}
	var out []journal.Entry
	add := func(ms int, kind string, data any) {
		raw, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, journal.Entry{Seq: uint64(len(out) + 1), At: at(ms), Kind: kind, Data: raw})
	}
	event := func(ms int, id run.ID, kind run.EventKind, step int, o run.Outcome, p *plan.Plan) {
		add(ms, "run", run.Event{Run: id, Kind: kind, At: at(ms), Step: step, Outcome: o, Plan: p})
	}
	event(-500, "r-1", run.Opened, 0, 0, p) // adoption or whatever was before
	event(-400, "r-1", run.Closed, 0, 0, nil)
	add(555, "verdict", nil)
	out[len(out)-1].Subject = "ansan"
	add(560, "verdict", nil)
	out[len(out)-1].Subject, out[len(out)-1].Text = "pangyo", "pangyo is lost since "+at(530).Format("15:04:05.000")+": nobody sees it"
	event(561, "r-2", run.Opened, 0, 0, dns)
	event(570, "r-3", run.Opened, 0, 0, p)
	event(572, "r-3", run.Began, 1, 0, nil)
	event(700, "r-3", run.Ended, 1, run.NotDone, nil)
	event(701, "r-3", run.Began, 1, 0, nil)
	event(800, "r-3", run.Ended, 1, run.Done, nil)
	event(900, "r-3", run.Began, 2, 0, nil)
	event(1100, "r-3", run.Ended, 2, run.Done, nil)
	return out
}

func TestAccountIsOfTheRunThatPromotes(t *testing.T) {
	all := entries(t)
	_, open, err := account(all, fire)
	if err != nil || !open {
		t.Fatalf("open %v, %v", open, err)
	}
	raw, err := json.Marshal(run.Event{Run: "r-3", Kind: run.Closed, At: at(1200)})
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, journal.Entry{At: at(1200), Kind: "run", Data: raw})
	got, open, err := account(all, fire)
	if err != nil || open {
		t.Fatalf("open %v, %v", open, err)
	}
	want := Account{
		Run: "r-3", PlanHash: "h", Verdict: at(530), Opened: at(570), Sealed: at(800), Promoted: at(1100),
		Steps: []Act{{"seal", "talk-db", at(572), at(800), "done"}, {"promote", "talk-db", at(900), at(1100), "done"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	f := Figures{At: fire}
	f.tell(got)
	if s := fmt.Sprint(f.Verdict, f.Opened, f.Sealed, f.Promoted); s != "0.53 0.57 0.8 1.1" {
		t.Error(s)
	}
}

func TestStoreThatFellSilentFirstIsTheBelief(t *testing.T) {
	all := entries(t)
	for i := range all {
		if all[i].Kind == "verdict" { // the site's comes later, or never
			all[i].Subject = "anyang"
		}
	}
	got, _, err := account(all, fire)
	if err != nil || !got.Verdict.Equal(got.Opened) || got.Run != "r-3" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNoRunIsNoAccount(t *testing.T) {
	if _, _, err := account(entries(t)[:2], fire); err == nil {
		t.Error("a run from before the fault was taken for its answer")
	}
}
