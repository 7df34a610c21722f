package tower

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/seats"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/executor"
	"github.com/haechi/haechi/tower/state"
)

// bare is a node that runs nothing: enough for what it decides by what it believes.
func bare(t *testing.T, b beliefs) *Node {
	t.Helper()
	n := &Node{cfg: Config{Name: "tower-a", Site: "a", Cluster: map[string]Seat{"tower-a": {Site: "a"}, "tower-b": {Site: "b"}}}, log: logged(t), now: time.Now,
		views: make(chan situation.View, 4), carried: map[run.ID]bool{}, answering: map[string]bool{}, opening: make(chan struct{}, 1)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	t.Cleanup(n.cancel)
	n.believed.Store(&b)
	return n
}

// drives lets n drive as if it had claimed.
func (n *Node) drives(d state.Drive) {
	n.mine = d
	n.driveCtx, n.driveEnd = context.WithCancelCause(n.ctx)
}

func TestWhoseDriveIsTrusted(t *testing.T) {
	e := estate.Estate{Sites: map[estate.SiteID]estate.Site{"a": {}, "b": {}},
		Towers: map[estate.TowerID]estate.Tower{"tower-a": {Site: "a", Address: "a:1"}, "tower-b": {Site: "b", Address: "b:1"}}}
	targets := situation.Targets(e)
	believe := func(site, tower situation.State) beliefs {
		b := beliefs{estate: e, targets: targets, now: situation.Situation{Sites: map[estate.SiteID]situation.Verdict{"b": {State: site}}, Things: map[string]situation.Verdict{}}}
		for _, target := range targets {
			if target.Component == "tower-b" {
				b.now.Things[target.ID] = situation.Verdict{State: tower}
			}
		}
		return b
	}
	says := func(seat string) beliefs {
		b := believe(situation.Up, situation.Up)
		b.now.Facts = map[string]map[string]string{situation.TowerTarget(e, "tower-b"): {response.FactSeat: seat}}
		return b
	}
	mine, others := state.Drive{Tower: "tower-a", Term: 3, Claim: "x"}, state.Drive{Tower: "tower-b", Term: 4, Claim: "y"}
	for name, tt := range map[string]struct {
		b    beliefs
		d    state.Drive
		want bool
	}{
		"Nobody":               {believe(situation.Up, situation.Up), state.Drive{}, false},
		"AnotherThatLives":     {believe(situation.Up, situation.Up), others, true},
		"AnotherThatIsSuspect": {believe(situation.Suspect, situation.Suspect), others, true},
		"AnotherThatIsUnknown": {believe(situation.Unknown, situation.Unknown), others, true},
		"AnotherThatIsDead":    {believe(situation.Up, situation.Dead), others, false},
		"AnotherInALostSite":   {believe(situation.Lost, situation.Lost), others, false},
		"AnotherInAnIsolated":  {believe(situation.Isolated, situation.Isolated), others, false},
		"AnotherThatVotes":     {says(string(seats.Voter)), others, true},
		"AnotherWithoutData":   {says(response.SeatWaits), others, false},
		"AnotherThatStopped":   {says(response.SeatStopped), others, false},
		"AnotherThatLeft":      {believe(situation.Up, situation.Up), state.Drive{Tower: "tower-c", Term: 4}, false},
		"AnotherBeforeEstate":  {beliefs{}, others, true},
		"AStrangerBeforeThat":  {beliefs{}, state.Drive{Tower: "tower-x", Term: 4}, false},
		"AnEarlierProcess":     {believe(situation.Up, situation.Up), mine, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := bare(t, tt.b).trusted(tt.d); got != tt.want {
				t.Errorf("trusted = %v", got)
			}
		})
	}
	n := bare(t, believe(situation.Up, situation.Up))
	n.drives(mine)
	if !n.trusted(mine) {
		t.Error("it does not trust itself")
	}
}

func TestTheDeposedStop(t *testing.T) {
	n := bare(t, beliefs{})
	mine := state.Drive{Tower: "tower-a", Term: 3, Claim: "x"}
	n.deposed(state.Drive{Tower: "tower-b", Term: 4}) // it had nothing
	n.drives(mine)
	ctx := n.driveCtx
	for _, same := range []state.Drive{mine, {}, {Tower: "tower-b", Term: 2}} { // a snapshot may be behind
		n.deposed(same)
		if ctx.Err() != nil || !n.isDriving() {
			t.Fatalf("deposed by %+v", same)
		}
	}
	n.deposed(state.Drive{Tower: "tower-b", Term: 4})
	if n.isDriving() || !errors.Is(context.Cause(ctx), executor.ErrDeposed) {
		t.Fatalf("it goes on: %v", context.Cause(ctx))
	}
	n.claimSoon(t.Context(), state.Drive{Tower: "tower-b", Term: 4}) // would need a store
	if n.claiming.Load() {
		t.Fatal("it claims back at once")
	}
	n.carry("r-000001", 3)
	n.carry("r-000001", 0)
	if len(n.carried) != 0 {
		t.Fatal("it carries under a term that is over")
	}
}

// Nothing is begun once a node stops, and Stop waits for what was.
func TestStopWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := bare(t, beliefs{})
		over := false
		n.spawn(t.Context(), func(ctx context.Context) {
			<-ctx.Done()
			time.Sleep(time.Second) // fake time
			over = true
		})
		must(t, n.Stop())
		if !over {
			t.Fatal("Stop did not wait")
		}
		n.spawn(t.Context(), func(context.Context) { t.Error("it was begun") })
		if n.enter() {
			t.Fatal("a request was let in")
		}
	})
}

// A mind that is behind hears the newest views.
func TestViewsAreNeverWaitedFor(t *testing.T) {
	n := bare(t, beliefs{})
	for seq := range uint64(20) {
		n.hear(situation.View{Seq: seq})
	}
	for want := uint64(16); want < 20; want++ {
		if v := <-n.views; v.Seq != want {
			t.Fatalf("seq = %d, want %d", v.Seq, want)
		}
	}
}

// While all is well the mind is slow; a view that says otherwise is urgent, and so is the
// one that says that all is well again.
func TestTheMindHastensOnlyWhenSomethingIsNotWell(t *testing.T) {
	n := bare(t, beliefs{})
	m := newMind(n)
	p, err := situation.Named("fast")
	must(t, err)
	e := estate.Estate{Sites: map[estate.SiteID]estate.Site{"a": {}}, Towers: map[estate.TowerID]estate.Tower{"tower-a": {Site: "a"}}}
	m.fold.Estate(e, p)
	m.b.estate, m.b.profile = e, p
	seq := uint64(0)
	hear := func(l situation.Look) bool {
		seq++
		return m.hear(situation.View{Observer: "tower-a", Site: "a", Boot: "x", Seq: seq, Looks: []situation.Look{l}})
	}
	well := situation.Look{Target: "t", Ever: true, Silent: p.Every}
	if hear(well) || m.pace() != atRest {
		t.Fatalf("at rest it hastens: %v", m.pace())
	}
	for _, ill := range []situation.Look{{Target: "t", Ever: true, Silent: p.Rest + p.Every}, {Target: "t", Ever: true, Refused: true}, {Target: "t"}} {
		if !hear(ill) || m.pace() != uneasy {
			t.Fatalf("%+v is not urgent", ill)
		}
		if !hear(well) || hear(well) || m.pace() != atRest {
			t.Fatalf("after %+v it does not calm down", ill)
		}
	}
}

// A tower of the release before does not drive a run that it does not understand, and one that is newer
// than this one is left alone with what this one does not understand.
func TestRunsOfAnotherRelease(t *testing.T) {
	e := estate.Estate{Sites: map[estate.SiteID]estate.Site{"a": {}, "b": {}},
		Towers: map[estate.TowerID]estate.Tower{"tower-a": {Site: "a", Address: "a:1"}, "tower-b": {Site: "b", Address: "b:1"}}}
	p, _ := situation.Named("")
	at := time.Now()
	believe := func(version, speaks int) beliefs {
		return beliefs{estate: e, profile: p, now: situation.Situation{At: at}, views: map[string]timedView{"tower-b": {situation.View{Speaks: speaks}, at}},
			snap: state.Snapshot{Index: map[run.ID]state.RunInfo{"r-1": {ID: "r-1"}}, Runs: map[run.ID][]run.Event{"r-1": {{Kind: run.Opened, Plan: &plan.Plan{Version: version}}}}}}
	}
	for name, tt := range map[string]struct {
		version, speaks int
		trusted         bool
		older           string
	}{
		"BothOld":        {1, 0, true, "tower-b"},
		"TooNewForIt":    {plan.Release, 0, false, "tower-b"},
		"ItUnderstands":  {plan.Release, plan.Release, true, ""},
		"TooNewForUs":    {plan.Release + 1, plan.Release + 1, true, ""},
		"TooNewForBoth":  {plan.Release + 1, plan.Release, true, ""},
		"NewerThanUsToo": {1, plan.Release + 1, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := believe(tt.version, tt.speaks)
			if got := bare(t, b).trusted(state.Drive{Tower: "tower-b", Term: 4}); got != tt.trusted {
				t.Errorf("trusted: %v", got)
			}
			if got := b.older(); got != tt.older {
				t.Errorf("older: %q", got)
			}
			if err := b.understood(plan.Plan{Version: tt.version}); (err != nil) != (tt.older != "" && tt.version > 1) {
				t.Errorf("a person's order: %v", err)
			}
			if err := carried(b.snap, "r-1"); (err != nil) != (tt.version > plan.Release) {
				t.Errorf("carried: %v", err)
			}
		})
	}
}
