package plan_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
)

// anyInput draws an estate of up to five sites with stores, services (rings included) and
// names, records that need not agree with the file, and beliefs of every kind.
func anyInput(t *rapid.T) plan.Input {
	w := newWorld()
	var sites []estate.SiteID
	for i := range rapid.IntRange(2, 5).Draw(t, "sites") {
		site := estate.SiteID(fmt.Sprintf("s%d", i))
		sites = append(sites, site)
		w.in.Estate.Sites[site] = estate.Site{}
	}
	some := func(label string) []estate.SiteID {
		n := rapid.IntRange(1, len(sites)).Draw(t, label)
		return rapid.Permutation(sites).Draw(t, label+" order")[:n]
	}
	things := []string{"db0", "db1", "db2", "svc0", "svc1"}
	need := func(label string) []estate.Need {
		return needs(strings.Join(rapid.SliceOfNDistinct(rapid.SampledFrom(things), 0, 2, rapid.ID).Draw(t, label), ","))
	}
	for _, id := range []estate.StoreID{"db0", "db1", "db2"} {
		at := some(string(id))
		k := rapid.IntRange(0, len(at)-1).Draw(t, "any")
		w.store(id, at, k, rapid.IntRange(0, 2).Draw(t, "tier"), need("store needs"))
		rec := w.in.Stores[id]
		rec.Epoch = rapid.SampledFrom([]uint64{0, 1, 7, 7}).Draw(t, "epoch")
		rec.LeastAny = rapid.IntRange(0, max(k, 0)).Draw(t, "least")
		rec.Alone = rapid.IntRange(0, 9).Draw(t, "alone") == 0
		rec.Primary = estate.MemberID(rapid.SampledFrom(at).Draw(t, "primary"))
		rec.Sync = nil
		for _, m := range some("sync") {
			rec.Sync = append(rec.Sync, estate.MemberID(m))
		}
		if rapid.IntRange(0, 4).Draw(t, "some former") == 0 {
			rec.Former = rec.Sync[:1]
		}
		for _, m := range at {
			target := situation.DatabaseTarget(w.in.Estate, id, estate.MemberID(m))
			w.fact(target, situation.FactHalted, rapid.SampledFrom([]string{"", "", "1", "7"}).Draw(t, "halted"))
			w.fact(target, situation.FactRole, rapid.SampledFrom([]string{"", situation.RolePrimary}).Draw(t, "role"))
			w.fact(target, situation.FactRunning, rapid.SampledFrom([]string{"", "true", "false"}).Draw(t, "running"))
			w.fact(target, situation.FactMade, rapid.SampledFrom([]string{"", situation.RolePrimary, situation.RoleFollower}).Draw(t, "made"))
			w.fact(target, situation.FactReign, rapid.SampledFrom([]string{"1", "7"}).Draw(t, "reign"))
			w.fact(target, situation.FactFenced, rapid.SampledFrom([]string{"false", "true"}).Draw(t, "fenced"))
			w.fact(target, situation.FactBroken, rapid.SampledFrom([]string{"", "", "copy"}).Draw(t, "broken"))
		}
		w.in.Stores[id] = rec
	}
	for _, id := range []estate.ServiceID{"svc0", "svc1"} {
		s := estate.Service{Tier: rapid.IntRange(0, 2).Draw(t, "service tier"), Requires: need("service needs")}
		if rapid.Bool().Draw(t, "probed") {
			s.Probes = []estate.Probe{{HTTP: "http://{address}/"}}
		}
		w.in.Estate.Services[id] = s
	}
	for _, name := range []string{"n0.", "n1."} {
		w.declare(t, []string{"name", name, "service=svc0", strings.Join(text(some(name)), ",")})
		if rapid.Bool().Draw(t, "some out") {
			out := some("out")
			w.in.Withdrawn[estate.NameID(name)] = out
			w.in.Returning[estate.NameID(name)] = out[:rapid.IntRange(0, len(out)).Draw(t, "returning")]
		}
	}
	for _, s := range sites {
		w.in.Now.Sites[s] = situation.Verdict{Subject: string(s), Site: s,
			State: rapid.SampledFrom([]situation.State{situation.Up, situation.Up, situation.Lost, situation.Isolated, situation.CutOff, situation.Unknown}).Draw(t, "state")}
		if rapid.IntRange(0, 3).Draw(t, "agent") == 0 {
			w.in.Now.Things[situation.AgentTarget(w.in.Estate, estate.HostID("db-"+s))] = situation.Verdict{State: situation.Dead}
		}
	}
	in := w.in
	in.Kind = rapid.SampledFrom([]plan.Kind{plan.LoseSite, plan.LoseSite, plan.Evacuate, plan.LoseStore, plan.Failover, plan.CutUsers, plan.Serve,
		plan.FenceOld, plan.LetGo, plan.GoAlone, plan.EndAlone, plan.AdoptNew, plan.Recover, plan.Recover, plan.BringBack, plan.Uncount, plan.VerifyAll}).Draw(t, "kind")
	in.Subject = string(rapid.SampledFrom(sites).Draw(t, "site"))
	switch in.Kind {
	case plan.LoseSite:
		if rapid.Bool().Draw(t, "several") {
			in.Lost = some("lost")
		}
	case plan.Evacuate, plan.CutUsers, plan.Serve:
	case plan.Recover:
		in.Intents[estate.SiteID(in.Subject)] = rapid.SampledFrom([]situation.Intent{"", situation.Serving, situation.Drained}).Draw(t, "intent")
	default:
		in.Subject = rapid.SampledFrom(things[:3]).Draw(t, "store")
		if in.Kind == plan.LetGo || in.Kind == plan.BringBack || in.Kind == plan.Uncount {
			in.Target = estate.MemberID(rapid.SampledFrom(sites).Draw(t, "target"))
			in.Anew = in.Kind == plan.BringBack && rapid.Bool().Draw(t, "anew")
		}
	}
	return in
}

func text[S ~string](all []S) []string {
	var out []string
	for _, s := range all {
		out = append(out, string(s))
	}
	return out
}

func TestMakeIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		p, err := plan.Make(in)
		if again, _ := plan.Make(in); again.String() != p.String() || again.Hash != p.Hash {
			t.Fatalf("not deterministic:\n%s\n---\n%s", p, again)
		}
		if err == nil == (len(p.Steps) == 0) {
			t.Fatalf("%d steps and error %v", len(p.Steps), err)
		}
		var stuck *plan.Stuck
		if err != nil && !errors.As(err, &stuck) && !errors.Is(err, plan.ErrNothing) {
			t.Fatalf("an error of no kind: %v", err)
		}
		for _, b := range p.Blocked {
			if b.Because == "" || b.Why == "" || b.Out == "" {
				t.Fatalf("stuck without a reason or a way out: %+v", b)
			}
		}
		for i, s := range p.Steps {
			checkStep(t, in, p, i, s)
		}
		checkStores(t, in, p)
		checkNames(t, in, p)
		checkReturns(t, in, p)
		checkHome(t, in, p)
	})
}

// checkReturns holds what makes a return safe: nothing is rewritten of what may stand nowhere else before it
// was read, nobody counts before it has rejoined, one member of a store at a time, all are compared after that; and a recovery
// ends with the question whether anything is missing still.
func checkReturns(t *rapid.T, in plan.Input, p plan.Plan) {
	last := map[string]plan.Step{} // by store
	for i, s := range p.Steps {
		rec, waits := in.Stores[estate.StoreID(s.Component)], slices.Contains(s.After, last[s.Component].ID)
		before := func(v plan.Verb) bool {
			b := last[s.Component]
			return waits && b.Verb == v && b.Members[0] == s.Members[0]
		}
		switch s.Verb {
		case plan.Salvage, plan.Rejoin, plan.Verify:
			m := estate.MemberID(s.Members[0])
			counted := slices.Contains(rec.Sync, m) && !slices.Contains(rec.Former, m)
			if s.Verb != plan.Verify && m == rec.Primary {
				t.Fatalf("the primary comes back to itself: %s", s)
			}
			facts := in.Now.Facts[situation.DatabaseTarget(in.Estate, estate.StoreID(s.Component), m)]
			isNew := !slices.Contains(rec.Former, m) && facts[situation.FactRunning] != "" && facts[situation.FactMade] == ""
			if s.Verb == plan.Rejoin && !counted && !isNew && !before(plan.Salvage) {
				t.Fatalf("%s is rewritten before it was read:\n%s", m, p)
			}
			if last[s.Component].ID != 0 && !waits {
				t.Fatalf("%s does not wait for what happens to the store before:\n%s", s, p)
			}
		case plan.Return:
			if in.Kind != plan.Failover && in.Kind != plan.Evacuate && !before(plan.Rejoin) {
				t.Fatalf("%s is listed and has not rejoined:\n%s", s.Members[0], p)
			}
		case plan.CountOut:
			m := estate.MemberID(s.Args[plan.ArgMember])
			rest := slices.DeleteFunc(slices.Clone(rec.Sync), func(o estate.MemberID) bool {
				return o == m || slices.Contains(rec.Former, o) || in.Now.Sites[estate.SiteID(o)].State == situation.Lost
			})
			if m == rec.Primary || !slices.Contains(rec.Former, m) && len(rest) < max(rec.Any, 1) {
				t.Fatalf("%s is counted out, and nobody is left to acknowledge beside %s: %s", m, rec.Primary, s)
			}
		case plan.Redundant:
			if i != len(p.Steps)-1 || in.Kind != plan.Recover {
				t.Fatalf("something comes after the end:\n%s", p)
			}
			for _, b := range last {
				if !slices.Contains(s.After, b.ID) {
					t.Fatalf("the end does not wait for %s:\n%s", b, p)
				}
			}
		default:
		}
		last[s.Component] = s
	}
	for _, s := range p.Steps {
		if end := last[s.Component]; s.Verb == plan.Rejoin && end.Verb != plan.Verify {
			t.Fatalf("%s comes back, and is not compared with the others at the end:\n%s", s.Members[0], p)
		}
	}
}

// checkStep holds what is true of every step.
func checkStep(t *rapid.T, in plan.Input, p plan.Plan, i int, s plan.Step) {
	if s.ID != i+1 || s.Reason == "" || s.Limit <= 0 || s.Before == "" || s.Checks == "" || s.Driver == "" {
		t.Fatalf("incomplete step %+v", s)
	}
	for _, a := range s.After {
		if a >= s.ID || a < 1 {
			t.Fatalf("step %s waits for a later one", s)
		}
	}
	lost := func(site estate.SiteID) bool { return slices.Contains(p.Lost, string(site)) }
	if lost(s.Site) && s.Verb != plan.Withdraw {
		t.Fatalf("step %s stands in a lost site", s)
	}
	for _, m := range s.Members {
		site := in.Estate.Hosts[estate.HostID(m)].Site
		if store, ok := in.Estate.Stores[estate.StoreID(s.Component)]; ok {
			site = store.Members[estate.MemberID(m)].Site
		}
		if lost(site) {
			t.Fatalf("step %s needs %s, which is in a lost site", s, m)
		}
	}
}

// checkStores holds what makes a promotion safe, counted again from the record: whatever k
// members acknowledged, one of those to be sealed is among them, and enough can be.
func checkStores(t *rapid.T, in plan.Input, p plan.Plan) {
	promoted := map[string]int{}
	for _, s := range p.Steps {
		rec := in.Stores[estate.StoreID(s.Component)]
		switch s.Verb {
		case plan.Promote:
			if promoted[s.Component] > 0 {
				t.Fatalf("%s is promoted twice:\n%s", s.Component, p)
			}
			promoted[s.Component] = s.ID
			if slices.Contains(s.Members, string(rec.Primary)) && !cleanly(in, s.Component, string(rec.Primary)) {
				t.Fatalf("the old primary may be promoted: %s", s)
			}
		case plan.Halt:
			if cleanly(in, s.Component, string(rec.Primary)) {
				t.Fatalf("%s is halted already: %s", rec.Primary, s)
			}
		case plan.Seal:
			others := slices.DeleteFunc(slices.Clone(rec.Sync), func(m estate.MemberID) bool { return m == rec.Primary })
			unsealed := slices.DeleteFunc(slices.Clone(others), func(m estate.MemberID) bool { return slices.Contains(s.Members, string(m)) })
			may := rec.LeastAny - 1
			for _, m := range s.Members {
				if (slices.Contains(rec.Former, estate.MemberID(m)) || m == string(rec.Primary)) && !cleanly(in, s.Component, m) {
					t.Fatalf("%s counts on a former member", s)
				}
				if m == string(rec.Primary) && rec.LeastAny == 1 {
					may = 1 // it holds everything, and all the others but one are sealed
				}
			}
			if rec.Alone || rec.Epoch == 0 || rec.LeastAny < 1 || len(unsealed) > may {
				t.Fatalf("with %v sealed of %v somebody can go on acknowledging with %d:\n%s", s.Members, others, rec.LeastAny, p)
			}
			if s.Args[plan.ArgNeed] != fmt.Sprint(max(len(others)-rec.LeastAny+1, 1)) {
				t.Fatalf("need is wrong: %s", s)
			}
		}
	}
}

// cleanly says whether a member was halted and wrote nothing since, so that its word counts.
func cleanly(in plan.Input, id, m string) bool {
	rec, f := in.Stores[estate.StoreID(id)], in.Now.Facts[situation.DatabaseTarget(in.Estate, estate.StoreID(id), estate.MemberID(m))]
	epoch := fmt.Sprint(rec.Epoch)
	switch {
	case f[situation.FactRole] == situation.RolePrimary:
		return false
	case slices.Contains(rec.Former, estate.MemberID(m)):
		follows := slices.Contains(rec.Sync, estate.MemberID(m)) && f[situation.FactMade] == situation.RoleFollower && f[situation.FactReign] == epoch
		return f[situation.FactHalted] == epoch || follows && f[situation.FactFenced] == "false" && f[situation.FactBroken] == ""
	}
	return m == string(rec.Primary) && f[situation.FactHalted] != ""
}

// checkNames holds that every name keeps an answer.
func checkNames(t *rapid.T, in plan.Input, p plan.Plan) {
	left := map[string]int{}
	for id, n := range in.Estate.Names {
		for site := range n.Answers {
			if !slices.Contains(in.Withdrawn[id], site) {
				left[string(id)]++
			}
		}
	}
	for _, s := range p.Steps {
		if s.Verb == plan.Withdraw && !slices.Contains(in.Withdrawn[estate.NameID(s.Component)], s.Site) {
			if left[s.Component]--; left[s.Component] == 0 {
				t.Fatalf("%s loses its last answer:\n%s", s.Component, p)
			}
		}
	}
}

// checkHome holds that users come back to a site in stages: each one reaches more of a name's servers
// and all of those before, waits for the look at the one before, and is looked at itself; and the last
// one leaves no server out.
func checkHome(t *rapid.T, in plan.Input, p plan.Plan) {
	before, last := map[string]plan.Step{}, map[string]plan.Step{}
	for _, s := range p.Steps {
		switch s.Verb {
		case plan.Announce:
			prior, again := before[s.Component]
			if !slices.Contains(in.Withdrawn[estate.NameID(s.Component)], s.Site) || s.Undo != plan.Withdraw {
				t.Fatalf("%s brings back what is not out, or stays when users fare badly:\n%s", s, p)
			}
			if again && (len(s.Members) <= len(prior.Members) || slices.ContainsFunc(prior.Members, func(m string) bool { return !slices.Contains(s.Members, m) })) {
				t.Fatalf("%s is no wider than %s", s, prior)
			}
			if again && !slices.Contains(s.After, last[s.Component].ID) {
				t.Fatalf("%s does not wait for the look at the stage before:\n%s", s, p)
			}
			before[s.Component], last[s.Component] = s, s
		case plan.Watch:
			if !slices.Equal(s.After, []int{before[s.Component].ID}) {
				t.Fatalf("%s looks at nothing that was just announced:\n%s", s, p)
			}
			if _, _, err := s.Watching(); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			last[s.Component] = s
		}
	}
	for name, s := range before {
		for _, host := range in.Estate.Names[estate.NameID(name)].Servers {
			if site := in.Estate.Hosts[host].Site; !slices.Contains(p.Lost, string(site)) && !slices.Contains(s.Members, string(host)) {
				t.Fatalf("%s leaves %s out:\n%s", s, host, p)
			}
		}
		if probed := len(in.Estate.Services["svc0"].Probes) > 0; probed != (last[name].Verb == plan.Watch) {
			t.Fatalf("probed is %v and the last step is %s", probed, last[name])
		}
	}
}
