package tower

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/web"
)

// watched is an auditor of beliefs that a test changes, and what it was asked to audit.
type watched struct {
	*auditor
	b     atomic.Pointer[beliefs]
	later atomic.Int64 // what the clock is ahead by
	asked []audit.Input
	fail  any // to panic with, or an error
}

func newWatched(b beliefs) *watched {
	w := &watched{}
	w.b.Store(&b)
	w.auditor = newAuditor(&Node{now: time.Now, log: slog.New(slog.DiscardHandler)})
	w.beliefs = w.b.Load
	w.now = func() time.Time { return time.Now().Add(time.Duration(w.later.Load())) }
	w.auditor.audit = func(in audit.Input) (audit.Report, error) {
		w.asked = append(w.asked, in)
		if err, ok := w.fail.(error); ok {
			return audit.Report{}, err
		}
		if w.fail != nil {
			panic(w.fail)
		}
		return audit.Report{Scenarios: len(w.asked)}, nil
	}
	return w
}

func parsed(t *testing.T, text string) estate.Estate {
	t.Helper()
	e, err := estate.Load([]estate.File{{Name: "e.yaml", Data: []byte("haechi: v1\nestate: e\n" + text)}}, nil)
	must(t, err)
	return e
}

const stood = `
sites: {a: {}, b: {}, c: {}}
pools: {a/web: {site: a, servers: 1}, b/web: {site: b, servers: 1}}
hosts: {h1: {site: a, agent: "a:1"}, h2: {site: a, agent: "a:1"}, h3: {site: b, agent: "b:1"}, h4: {site: b}}
towers: {tower-a: {site: a, address: "a:9"}}
stores: {db: {engine: postgres, primary: m, members: {m: {site: a, host: h1, address: "a:2"}, n: {site: b}, o: {site: c}}}}
services: {web: {runs: {a/web: 1, b/web: 1}, requires: [db]}, here: {}, away: {runs: {b/web: 1}}}
names: {here.example.: {service: here, zone: example., ttl: 1s, servers: [h4], answers: {a: 10.0.0.1}}}
`

// It is audited anew where something changes that it rests on, and only then; while a run is open it rests.
func TestTheEstateIsAuditedWhenSomethingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(beliefs{estate: parsed(t, stood)})
		ctx, stop := context.WithCancel(t.Context())
		go w.run(ctx)
		after := func(d time.Duration, want int, what string, change func(b *beliefs)) {
			t.Helper()
			synctest.Wait()
			b := *w.b.Load()
			change(&b)
			w.b.Store(&b)
			time.Sleep(d) // fake time
			synctest.Wait()
			if len(w.asked) != want {
				t.Fatalf("%s: audited %d times, want %d", what, len(w.asked), want)
			}
		}
		after(3*time.Second, 0, "no estate was applied", func(*beliefs) {})
		if w.last.Load().Why == "" {
			t.Error("it does not say that there is no audit")
		}
		after(3*time.Second, 1, "the first version", func(b *beliefs) { b.snap.Estate.Version = 1 })
		after(10*time.Minute, 1, "nothing changed", func(*beliefs) {})
		after(3*time.Second, 1, "a run is open", func(b *beliefs) {
			b.snap.Estate.Version, b.snap.Index = 2, map[run.ID]state.RunInfo{"r-1": {ID: "r-1", Kind: plan.Evacuate, Subject: "a", Opened: time.Now()}}
		})
		after(3*time.Second, 2, "it is over", func(b *beliefs) {
			b.snap.Index = map[run.ID]state.RunInfo{"r-1": {ID: "r-1", Kind: plan.Evacuate, Subject: "a", Opened: time.Now(), Closed: time.Now(), Why: "done"}}
		})
		after(3*time.Second, 3, "another day", func(*beliefs) { w.later.Store(int64(24 * time.Hour)) })
		after(3*time.Second, 4, "another primary", func(b *beliefs) {
			b.snap.Stores = map[estate.StoreID]situation.Store{"db": {Epoch: 2, Primary: "n"}}
		})
		after(20*time.Second, 4, "a site has just become suspect", func(b *beliefs) {
			b.snap.Estate.Version = 3
			b.now.Sites = map[estate.SiteID]situation.Verdict{"a": {State: situation.Suspect, Since: w.now()}, "b": {State: situation.Up, Since: w.now()}}
		})
		after(15*time.Second, 5, "it has been so for a while", func(*beliefs) {})
		if p := w.asked[3].Estate.Stores["db"].Primary; p != "n" || w.b.Load().estate.Stores["db"].Primary != "m" {
			t.Errorf("primary %s is audited; the estate in force says %s", p, w.b.Load().estate.Stores["db"].Primary)
		}
		if got := w.last.Load(); got.Version != 3 || got.Scenarios != 5 || got.Why != "" || len(got.Names) == 0 {
			t.Errorf("%+v", got)
		}
		stop()
	})
}

// What goes wrong in an audit costs only what it would have said.
func TestABrokenAuditCostsNothingElse(t *testing.T) {
	w := newWatched(beliefs{estate: parsed(t, stood), snap: state.Snapshot{Estate: state.EstateVersion{Version: 1}}})
	for version, fail := range []any{"a bug", errors.New("web is down with nothing lost"), nil} {
		w.b.Load().snap.Estate.Version, w.fail = uint64(version+1), fail
		w.look()
		switch got := w.last.Load(); {
		case fail == nil && (got.Why != "" || got.Version != 3):
			t.Errorf("after that it says %+v", got)
		case fail != nil && !strings.Contains(got.Why, strings.TrimPrefix(errorOr(fail), "panic: ")):
			t.Errorf("of %v it says %q", fail, got.Why)
		}
	}
}

func errorOr(v any) string {
	if err, ok := v.(error); ok {
		return err.Error()
	}
	return v.(string)
}

// Only what nobody sees for long, in a site that lives, is not there.
func TestWhatIsSeen(t *testing.T) {
	e := parsed(t, stood)
	b := beliefs{estate: e, targets: situation.Targets(e), now: situation.Situation{Sites: map[estate.SiteID]situation.Verdict{"a": {State: situation.Up}, "b": {State: situation.Lost}}, Things: map[string]situation.Verdict{}}}
	tell := func(agent, member situation.State) {
		b.now.Things = map[string]situation.Verdict{situation.AgentTarget(e, "h1"): {State: agent}, situation.DatabaseTarget(e, "db", "m"): {State: member}, "a/tower/tower-a": {State: situation.Up}}
	}
	w := newWatched(b)
	at := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	see := func(after time.Duration) map[string]bool { at = at.Add(after); return w.seen(&b, at) }
	tell(situation.Dead, situation.Unknown)
	all := map[string]bool{"h1": true, "h2": true, "db/m": true, "tower-a": true}
	if diff := cmp.Diff(all, see(0)); diff != "" {
		t.Error("just unseen:", diff)
	}
	if diff := cmp.Diff(map[string]bool{"h1": false, "h2": false, "db/m": false, "tower-a": true}, see(staleAfter)); diff != "" {
		t.Error("long unseen:", diff)
	}
	tell(situation.Suspect, situation.Dead)
	if got := see(time.Second); !got["h1"] || got["db/m"] {
		t.Errorf("the agent is heard again: %v", got)
	}
	tell(situation.Dead, situation.Dead)
	if got := see(time.Second); !got["h1"] {
		t.Errorf("its silence counts anew: %v", got)
	}
	b.now.Sites["a"] = situation.Verdict{State: situation.Suspect}
	if got := see(time.Hour); len(got) != 0 {
		t.Errorf("a site that is not up is asked: %v", got)
	}
	b.now.Sites["a"] = situation.Verdict{State: situation.Up}
	if got := see(time.Second); !got["db/m"] {
		t.Errorf("its silence while the site was away counts: %v", got)
	}
}

// A site that was emptied or lost, and lived through it, proves itself and what stands in it.
func TestWhatIsProven(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }
	of := func(kind plan.Kind, site string, closed time.Time, why string) state.RunInfo {
		return state.RunInfo{Kind: kind, Subject: site, Opened: day(1), Closed: closed, Why: why}
	}
	b := beliefs{estate: parsed(t, stood), snap: state.Snapshot{Index: map[run.ID]state.RunInfo{
		"r-1": of(plan.Evacuate, "a", day(2), "done"),
		"r-2": of(plan.Evacuate, "a", day(4), "failed: a step is out of tries"),
		"r-3": of(plan.Failover, "db", day(5), "done"),
		"r-4": of(plan.LoseSite, "b", day(3), "done"),
		"r-5": of(plan.Evacuate, "b", time.Time{}, ""),
		"r-6": of(plan.Evacuate, "c", day(6), "undone"),
	}}}
	want := map[string]time.Time{"a": day(2), "b": day(3), "web": day(3), "here": day(2), "away": day(3)}
	if diff := cmp.Diff(want, b.proven()); diff != "" {
		t.Error(diff)
	}
}

// A whole tower: the estate that is applied is audited, and it is said what a loss would do.
func TestATowerSaysWhatWouldBe(t *testing.T) {
	w := newTown(t, "a")
	n := w.up("a")
	w.driver()
	_, err := n.If(within(t), []string{"a"})
	refusedAs(t, err, web.Unmet, "no estate")
	w.apply(n, withStore(w.estate(), 1))
	until(t, "the estate is audited", func() bool { return n.Audit().Why == "" && n.Audit().Version == n.beliefs().snap.Estate.Version })
	if r := n.Audit(); !slices.ContainsFunc(r.Findings, func(f audit.Finding) bool { return f.Rule == audit.Quorum && f.Component == "a" }) || n.Now().Audit.High == 0 {
		t.Errorf("one tower alone is no quorum, and it finds %+v", r.Findings)
	}
	got, err := n.If(within(t), []string{"b"})
	must(t, err)
	if got.Forecast == nil || got.Forecast.Runs != ifRuns || got.Falls.Services["talk"] != "up" || len(got.Plans) != 1 || got.Plans[0].Subject != "b" {
		t.Errorf("%+v", got)
	}
	again, err := n.If(within(t), []string{"b"})
	must(t, err)
	if !again.At.Equal(got.At) {
		t.Error("the same question was answered twice")
	}
	_, err = n.If(within(t), []string{"talk-bd"})
	refusedAs(t, err, web.NotFound, `did you mean "talk-db"`)
	n.ifs.turn <- struct{}{} // somebody else asks, for long
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.If(ctx, []string{"c"}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	<-n.ifs.turn
}
