package tower

import (
	"slices"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/testkit"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/web"
)

// open is a snapshot with one open run, of which the steps of some components, or those with some verbs, are done.
func open(t *testing.T, p plan.Plan, done ...string) state.Snapshot {
	t.Helper()
	events := []run.Event{{Run: "r-1", Seq: 1, Kind: run.Opened, Plan: &p, Term: 1, At: time.Unix(1, 0)}}
	for _, s := range p.Steps {
		if slices.Contains(done, s.Component) || slices.Contains(done, string(s.Verb)) {
			for _, kind := range []run.EventKind{run.Began, run.Ended} {
				events = append(events, run.Event{Run: "r-1", Seq: len(events) + 1, Kind: kind, Step: s.ID, Outcome: run.Done, Term: 1, At: time.Unix(2, 0)})
			}
		}
	}
	_, err := run.Replay(events)
	must(t, err)
	return state.Snapshot{Runs: map[run.ID][]run.Event{"r-1": events},
		Index: map[run.ID]state.RunInfo{"r-1": {ID: "r-1", Kind: p.Kind, Subject: p.Subject, Opened: time.Unix(1, 0)}}}
}

// While a member comes back, which may take hours, people order what has nothing to do with it.
func TestWhatIsOrderedBesideARecovery(t *testing.T) {
	e, stores := testkit.ThreeSites("talk-db", "mail-db")
	rec := stores["talk-db"]
	rec.Primary, rec.Sync, rec.Former = "ansan", []estate.MemberID{"anyang"}, []estate.MemberID{"pangyo"}
	stores["talk-db"] = rec
	in := plan.Input{Estate: e, Stores: stores, Kind: plan.Recover, Subject: "pangyo"}
	back, err := plan.Make(in)
	must(t, err)
	make := func(k plan.Kind, subject string) plan.Plan {
		p, err := plan.Make(plan.Input{Estate: e, Stores: stores, Kind: k, Subject: subject})
		must(t, err)
		return p
	}
	returned := []string{"salvage", "rejoin", "return"}
	for name, tt := range map[string]struct {
		kind    plan.Kind
		subject string
		done    []string
		why     string
		takes   bool
	}{
		"AnotherStore":      {plan.Failover, "mail-db", nil, "", false},
		"TheSameStore":      {plan.Failover, "talk-db", nil, "run r-1 (recover pangyo) is about talk-db too", false},
		"WhenThatIsDone":    {plan.Failover, "talk-db", []string{"talk-db"}, "", false},
		"AnotherSite":       {plan.Evacuate, "anyang", nil, "", false},
		"WhereTheStoreIs":   {plan.Evacuate, "ansan", nil, "run r-1 (recover pangyo) is about talk-db too", false},
		"TheSameSite":       {plan.Evacuate, "pangyo", nil, "run r-1 (recover pangyo) is about pangyo too", false},
		"ComparingAnother":  {plan.VerifyAll, "mail-db", nil, "", false},
		"OnlyCompared":      {plan.Failover, "talk-db", returned, "", true},
		"WhereItIsCompared": {plan.Evacuate, "ansan", returned, "", true},
		"ComparedTwice":     {plan.VerifyAll, "talk-db", returned, "run r-1 (recover pangyo) is about talk-db too", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, back, tt.done...)
			must(t, mayOrder(s, web.Ask{Kind: tt.kind, Subject: tt.subject}))
			takes, err := beside(s, make(tt.kind, tt.subject))
			if tt.why == "" {
				must(t, err)
				if (len(takes) == 1) != tt.takes {
					t.Errorf("it takes the place of %v", takes)
				}
				return
			}
			refusedAs(t, err, web.Conflict, tt.why)
		})
	}
	refusedAs(t, mayOrder(open(t, make(plan.Failover, "mail-db")), web.Ask{Kind: plan.Evacuate, Subject: "anyang"}), web.Conflict, "(failover mail-db) is open")
}
