package run_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
)

// chain is the plan of one or more stores and a name, as plan.Make writes it. A planned
// one halts and returns the primary, and its name waits for the promotions. One that brings
// users home has names, which end in a dot, in the stores' place, each in two stages.
func chain(kind plan.Kind, stores ...string) plan.Plan {
	p := plan.Plan{Version: 1, Kind: kind, Subject: "pangyo"}
	add := func(v plan.Verb, component string, undo plan.Verb, limit time.Duration, after ...int) int {
		s := plan.Step{ID: len(p.Steps) + 1, Verb: v, Component: component, Undo: undo, Limit: estate.Duration(limit), After: after}
		p.Steps = append(p.Steps, s)
		return s.ID
	}
	if kind == plan.FenceOld {
		add(plan.Fence, "talk-db", "", 5*time.Second)
		return p
	}
	if kind == plan.VerifyAll {
		add(plan.Verify, "talk-db", "", time.Hour)
		return p
	}
	if kind == plan.Serve || kind == plan.Recover {
		var last []int
		for _, s := range stores {
			if kind == plan.Serve || strings.HasSuffix(s, ".") {
				first := add(plan.Watch, s, "", time.Minute, add(plan.Announce, s, plan.Withdraw, 2*time.Second))
				add(plan.Watch, s, "", time.Minute, add(plan.Announce, s, plan.Withdraw, 2*time.Second, first))
				continue
			}
			last = append(last, add(plan.Verify, s, "", time.Hour, add(plan.Return, s, "", time.Minute, add(plan.Rejoin, s, "", time.Hour, add(plan.Salvage, s, "", time.Hour)))))
		}
		if last != nil {
			add(plan.Redundant, "pangyo", "", time.Hour, append(last, add(plan.Announce, "talk.", plan.Withdraw, 2*time.Second))...)
		}
		return p
	}
	planned := kind == plan.Evacuate
	var promoted []int
	for _, s := range stores {
		var after []int
		if planned {
			after = []int{add(plan.Halt, s, plan.Start, 5*time.Second)}
		}
		sealed := add(plan.Seal, s, plan.Unseal, time.Second, after...)
		chosen := add(plan.Choose, s, "", time.Minute, sealed)
		done := add(plan.Promote, s, "", time.Minute, chosen)
		if planned {
			add(plan.Return, s, "", time.Minute, done)
			promoted = append(promoted, done)
		}
	}
	undo := plan.Verb("")
	if planned {
		undo = plan.Announce
	}
	add(plan.Withdraw, "talk.", undo, 2*time.Second, promoted...)
	return p
}

// log is a run with its events; it fills in what a carrier fills in.
type log struct {
	r      run.Run
	events []run.Event
	now    time.Time
	term   uint64
}

func open(p plan.Plan) *log {
	l := &log{now: time.Unix(1000, 0), term: 1}
	if err := l.add(run.Event{Kind: run.Opened, Plan: &p, Estate: 1}); err != nil {
		panic(err)
	}
	return l
}

func (l *log) add(ev run.Event) error {
	ev.Run, ev.Seq, ev.At, ev.Term, ev.Tower = "r-1", l.r.Seq+1, l.now, l.term, "tower"
	next, err := l.r.Apply(ev)
	if err != nil {
		return err
	}
	l.r = next
	l.events = append(l.events, ev)
	return nil
}

func join[T fmt.Stringer](all []T) string {
	var out []string
	for _, x := range all {
		out = append(out, x.String())
	}
	return strings.Join(out, ", ")
}

// TestScenarios reads testdata/scenarios; -rewrite refreshes it. The language:
//
//	open KIND STORE...        then what the machine wants is drawn
//	KIND [step=N] [outcome=done|not-done] [why=…] [by=…] [people=N] [accepts] [takes=a,b] [took=2s] [term=N]
//	show                      draws the run
//	idle                      whether it does nothing but ask, and why
//	recover                   for each prefix of the log: what a successor wants after its claim
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/scenarios", func(t *testing.T, path string) {
		var l *log
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "open":
				var stores []string
				for _, a := range d.CmdArgs[1:] {
					stores = append(stores, a.Key)
				}
				l = open(chain(plan.Kind(d.CmdArgs[0].Key), stores...))
			case "show":
				return l.r.String()
			case "recover":
				return l.recover(t)
			case "idle":
				since, short, ok := l.r.Idle()
				return fmt.Sprintf("%v short=%v since=%v\n", ok, short, ok && since.Equal(l.now))
			default:
				if err := l.add(l.event(t, d)); err != nil {
					return "refused: " + err.Error() + "\n"
				}
			}
			return "wants " + join(l.r.Next()) + "\n"
		})
	})
}

func (l *log) event(t *testing.T, d *datadriven.TestData) run.Event {
	ev := run.Event{Kind: run.EventKind(d.Cmd), Facts: run.Facts{}}
	for _, a := range d.CmdArgs {
		v := strings.Join(a.Vals, ",")
		switch a.Key {
		case "step":
			d.ScanArgs(t, "step", &ev.Step)
		case "outcome":
			ev.Outcome = map[string]run.Outcome{"done": run.Done, "not-done": run.NotDone}[v]
		case "why":
			ev.Why = v
		case "by":
			ev.By = v
		case "people", "accepts", "takes":
			ev.Facts[a.Key] = v
		case "term":
			d.ScanArgs(t, "term", &l.term)
		case "took":
			took, err := time.ParseDuration(v)
			if err != nil {
				t.Fatal(err)
			}
			ev.Took = estate.Duration(took)
		}
	}
	return ev
}

// recover draws what the next tower wants when the one before died after each event.
func (l *log) recover(t *testing.T) string {
	var b strings.Builder
	for n := 1; n <= len(l.events); n++ {
		r, err := run.Replay(l.events[:n])
		if err != nil {
			t.Fatal(err)
		}
		next := &log{r: r, now: l.now, term: l.term + 1}
		if r.Closed == "" {
			if err := next.add(run.Event{Kind: run.Claimed}); err != nil {
				t.Fatal(err)
			}
		}
		ev := l.events[n-1]
		what := string(ev.Kind)
		if ev.Step > 0 {
			what += fmt.Sprintf(" %d", ev.Step)
		}
		fmt.Fprintf(&b, "%2d %-12s wants %s\n", n, what, join(next.r.Next()))
	}
	return b.String()
}

// A run whose towers' records go on from an older copy is closed as it stands: nobody knows what became of it.
func TestALeftRunWantsNothing(t *testing.T) {
	p := plan.Plan{Version: 1, Kind: plan.LoseSite, Subject: "a", Steps: []plan.Step{{ID: 1, Verb: plan.Seal, Driver: "postgres", Component: "db", Undo: plan.Unseal}}}
	r, err := run.Replay([]run.Event{
		{Run: "r-1", Seq: 1, Kind: run.Opened, Plan: &p, Term: 4},
		{Run: "r-1", Seq: 2, Kind: run.Began, Step: 1, Term: 4},
		{Run: "r-1", Seq: 3, Kind: run.Left, Term: 2, Why: "the records were restored"},
	})
	if err != nil || len(r.Next()) != 0 || r.Closed != "left: the records were restored" || r.Status() != run.StatusFailed {
		t.Fatalf("%v, %q, %v", err, r.Closed, r.Next())
	}
	if _, err := r.Apply(run.Event{Run: "r-1", Seq: 4, Kind: run.Claimed, Term: 9}); err == nil {
		t.Fatal("it was claimed after it was left")
	}
}

// Whether to try once more nobody is asked where a member is only cut off from its primary: an answer would not mend that.
func TestOneThatHearsNothingIsNoQuestion(t *testing.T) {
	for reason, want := range map[plan.Reason]string{plan.MemberDown: "ask 1", plan.MemberDeaf: "close failed: step 1 rejoin db: no route to its primary"} {
		l := open(plan.Plan{Version: 1, Kind: plan.BringBack, Subject: "db", Steps: []plan.Step{
			{ID: 1, Verb: plan.Rejoin, Driver: "postgres", Component: "db", Reason: reason, Limit: estate.Duration(time.Hour)},
			{ID: 2, Verb: plan.Return, Driver: "postgres", Component: "db", Reason: reason, Limit: estate.Duration(time.Minute), After: []int{1}},
		}})
		for range run.Tries {
			must(t, l.add(run.Event{Kind: run.Began, Step: 1}))
			must(t, l.add(run.Event{Kind: run.Ended, Step: 1, Outcome: run.NotDone, Why: "no route to its primary"}))
			if l.r.Steps[0].State == run.InDoubt {
				must(t, l.add(run.Event{Kind: run.Ended, Step: 1, Outcome: run.NotDone, Why: "no route to its primary"}))
			}
		}
		if got := join(l.r.Next()); got != want {
			t.Errorf("%s: it wants %s, not %s", reason, got, want)
		}
	}
}

// An event of a newer release is an error that says so, not a crash.
func TestAnEventThatIsNotKnown(t *testing.T) {
	p := plan.Plan{Version: 1, Kind: plan.LevelDNS, Steps: []plan.Step{{ID: 1, Verb: plan.Level, Driver: "dns", Component: "ns"}}}
	for _, step := range []int{0, 1} {
		_, err := run.Replay([]run.Event{{Run: "r-1", Seq: 1, Kind: run.Opened, Plan: &p}, {Run: "r-1", Seq: 2, Kind: "quelled", Step: step}})
		if err == nil || !strings.Contains(err.Error(), "no such kind of event") {
			t.Fatalf("err = %v", err)
		}
	}
}

// Another tower begins the limits of its steps anew; how long each took stays.
func TestWhatAStepTookStaysWithAnotherTower(t *testing.T) {
	p := plan.Plan{Version: 1, Kind: plan.BringBack, Subject: "db", Steps: []plan.Step{
		{ID: 1, Verb: plan.Rejoin, Driver: "postgres", Component: "db", Limit: estate.Duration(time.Hour)},
		{ID: 2, Verb: plan.Return, Driver: "postgres", Component: "db", Limit: estate.Duration(time.Minute), After: []int{1}},
	}}
	r, err := run.Replay([]run.Event{
		{Run: "r-1", Seq: 1, Kind: run.Opened, Plan: &p, Term: 1},
		{Run: "r-1", Seq: 2, Kind: run.Began, Step: 1, Term: 1},
		{Run: "r-1", Seq: 3, Kind: run.Ended, Step: 1, Outcome: run.Done, Took: estate.Duration(3 * time.Second), Term: 1},
		{Run: "r-1", Seq: 4, Kind: run.Began, Step: 2, Term: 1},
		{Run: "r-1", Seq: 5, Kind: run.Claimed, Term: 2},
	})
	if err != nil || r.Steps[0].Took() != 3*time.Second || r.Left(2) != time.Minute {
		t.Fatalf("%v: step 1 took %v, step 2 has %v left", err, r.Steps[0].Took(), r.Left(2))
	}
}
