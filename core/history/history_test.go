package history_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/history"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

var begun = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

// log is one run's events, a second apart, from so many seconds on.
func log(id run.ID, from int, p plan.Plan, epoch uint64, by string, events ...run.Event) []run.Event {
	for i := range p.Steps {
		p.Steps[i].ID, p.Steps[i].Component = i+1, "talk-db"
	}
	opened := run.Event{Kind: run.Opened, Plan: &p, By: by}
	if epoch > 0 {
		opened.Epochs = map[string]uint64{"talk-db": epoch}
	}
	out := append([]run.Event{opened}, events...)
	for i := range out {
		out[i].Run, out[i].Seq, out[i].At = id, i+1, begun.Add(time.Duration(from+i)*time.Second)
	}
	return out
}

func done(step int, why string, facts ...string) run.Event {
	ev := run.Event{Kind: run.Ended, Step: step, Outcome: run.Done, Why: why, Facts: run.Facts{}}
	for i := 0; i < len(facts); i += 2 {
		ev.Facts[facts[i]] = facts[i+1]
	}
	return ev
}

// life is a store that was adopted, lost its site, came back, was compared, and was moved home.
func life() [][]run.Event {
	step := func(v plan.Verb, members ...string) plan.Step { return plan.Step{Verb: v, Members: members} }
	return [][]run.Event{
		log("r-3", 200, plan.Plan{Kind: plan.Recover, Subject: "pangyo", Because: []string{"pangyo is up again"},
			Steps: []plan.Step{step(plan.Salvage, "pangyo", "ansan"), step(plan.Rejoin, "pangyo"), step(plan.Return, "pangyo"), step(plan.Verify, "pangyo", "ansan")}}, 0, "",
			done(1, "3 rows, in two sites"), done(2, "pg_rewind"), done(3, "it is listed"), done(4, "all hold the same")),
		log("r-1", 0, plan.Plan{Kind: plan.AdoptNew, Steps: []plan.Step{step(plan.Adopt, "pangyo", "ansan")}}, 1, "kim", done(1, "", "primary", "pangyo", "timeline", "1")),
		log("r-2", 100, plan.Plan{Kind: plan.LoseSite, Subject: "pangyo", Because: []string{"pangyo is lost"},
			Steps: []plan.Step{step(plan.Seal, "ansan"), step(plan.Promote, "ansan")}}, 2, "",
			run.Event{Kind: run.Asked, Step: 1, Why: "up to 14 writes are at stake", Facts: run.Facts{run.FactAccepts: "loss"}},
			run.Event{Kind: run.Approved, By: "kim"}, done(1, ""), done(2, "", "primary", "ansan", "timeline", "2", "proven", "false")),
		log("r-4", 300, plan.Plan{Kind: plan.Failover, Subject: "talk-db", Steps: []plan.Step{step(plan.Halt, "ansan"), step(plan.Promote, "pangyo")}}, 3, "lee",
			done(1, ""), done(2, "", "primary", "pangyo", "timeline", "3"), run.Event{Kind: run.Closed, Why: "done"}),
		log("r-5", 400, plan.Plan{Kind: plan.VerifyAll, Steps: []plan.Step{step(plan.Verify, "pangyo", "ansan")}}, 0, "lee",
			done(1, "1 row of messages differs", "report", `{"found":[{"kind":"unsettled"},{"kind":"missing","member":"ansan"}]}`), run.Event{Kind: run.Closed, Why: "done"}),
		log("r-6", 500, plan.Plan{Kind: plan.VerifyAll, Steps: []plan.Step{step(plan.Verify, "pangyo", "ansan")}}, 0, "lee",
			done(1, "2 rows could not be settled", "report", `{"found":[{"kind":"unsettled"}]}`), run.Event{Kind: run.Closed, Why: "failed: the rest"}),
		log("r-7", 600, plan.Plan{Kind: plan.VerifyAll, Steps: []plan.Step{step(plan.Verify, "ansan", "anyang", "pangyo")}}, 0, "",
			done(1, "pangyo and ansan hold the same; anyang has not answered", "report", `{"primary":"pangyo","followers":["ansan"]}`), run.Event{Kind: run.Closed, Why: "done"}),
		log("r-8", 700, plan.Plan{Kind: plan.Uncount, Steps: []plan.Step{{Verb: plan.CountOut, Members: []string{"pangyo"}, Args: map[string]string{plan.ArgMember: "anyang"}}}}, 0, "lee",
			done(1, "anyang is counted out"), run.Event{Kind: run.Closed, Why: "done"}),
	}
}

func TestLifeOfAStore(t *testing.T) {
	all := []situation.Salvage{{ID: "r-3-pangyo", Store: "talk-db", Rows: 3}, {ID: "r-9-b", Store: "mail-db"}}
	got := history.Tell("talk-db", situation.Store{Verified: begun, Differs: "1 row"}, all, life())
	want := `1 pangyo timeline 1 from 1 until 103 by r-1 adopt [kim asked for it]
2 ansan timeline 2 from 104 until 301 by r-2 lose-site [pangyo is lost]
3 pangyo timeline 3 from 302 until - by r-4 failover [lee asked for it]
102 loss-accepted [ansan] by [kim]: up to 14 writes are at stake
104 unproven [ansan] by []: 
201 salvaged [pangyo] by []: 3 rows, in two sites
202 rejoined [pangyo] by []: pg_rewind
203 returned [pangyo] by []: it is listed
204 verified [pangyo ansan] by []: all hold the same
401 differs [pangyo ansan] by [lee]: 1 row of messages differs
501 unsettled [pangyo ansan] by [lee]: 2 rows could not be settled
502 failed [] by []: failed: the rest
601 verified [ansan pangyo] by []: pangyo and ansan hold the same; anyang has not answered
701 counted-out [anyang] by [lee]: anyang is counted out
`
	if s := draw(got); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	if len(got.Salvages) != 1 || got.Salvages[0].ID != "r-3-pangyo" || !got.Verified.Equal(begun) || got.Differs != "1 row" {
		t.Errorf("%+v", got)
	}
}

func draw(l history.Life) string {
	var b strings.Builder
	second := func(at time.Time) string {
		if at.IsZero() {
			return "-"
		}
		return fmt.Sprint(int(at.Sub(begun).Seconds()))
	}
	for _, r := range l.Reigns {
		fmt.Fprintf(&b, "%d %s timeline %d from %s until %s by %s %s %v\n", r.Epoch, r.Primary, r.Timeline, second(r.From), second(r.Until), r.Run, r.Kind, r.Because)
	}
	for _, e := range l.Events {
		fmt.Fprintf(&b, "%s %s %v by %v: %s\n", second(e.At), e.What, e.Members, e.By, e.Text)
	}
	return b.String()
}

// Runs about other stores, and a loss that was taken over by another run, say nothing of this one.
func TestWhatIsNotOfThisLife(t *testing.T) {
	other := log("r-6", 0, plan.Plan{Kind: plan.Failover, Steps: []plan.Step{{Verb: plan.Promote}}}, 1, "", run.Event{Kind: run.Began, Step: 1}, run.Event{Kind: run.Closed, Why: "superseded"})
	if got := history.Tell("talk-db", situation.Store{}, nil, [][]run.Event{other}); len(got.Reigns)+len(got.Events) != 0 {
		t.Errorf("a run that was superseded: %+v", got)
	}
	if got := history.Tell(estate.StoreID("mail-db"), situation.Store{}, nil, life()); len(got.Reigns)+len(got.Events) != 0 {
		t.Errorf("another store: %+v", got)
	}
}
