package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/situation"
)

func TestTheLeastThatDoesIsChosen(t *testing.T) {
	whole := evidence{System: "7", Version: "15", State: "in production", Hints: true, Timeline: 1, Source: "ansan", SourceSystem: "7", SourceVersion: "15"}
	with := func(f func(*evidence)) evidence {
		e := whole
		f(&e)
		return e
	}
	for name, tt := range map[string]struct {
		e           evidence
		method, why string
	}{
		"CrashedAndHoldsNoMore": {whole, byFollow, "nothing that ansan does not"},
		"DownFollower":          {with(func(e *evidence) { e.Follower, e.Standby, e.State = true, true, "in archive recovery" }), byStart, "nothing that ansan does not"},
		"AWeekLater":            {with(func(e *evidence) { e.Follower, e.Standby, e.Gone = true, true, "ansan has no log any more" }), byCopy, "no log any more"},
		"Differs":               {with(func(e *evidence) { e.Follower, e.Standby, e.Anew = true, true, true }), byCopy, "a person wants it"},
		"DiffersAndWentOn":      {with(func(e *evidence) { e.Beyond, e.Anew = "its log goes on", true }), byCopy, "a person wants it"},
		"NotOverAnotherCluster": {with(func(e *evidence) { e.System, e.Anew = "8", true }), "", "another cluster"},
		"WentOn":                {with(func(e *evidence) { e.Beyond = "its log goes on" }), byRewind, "goes on"},
		"WentOnAndCleanly":      {with(func(e *evidence) { e.Beyond, e.State = "its log goes on", "shut down" }), byRewind, "goes on"},
		"WithoutHints":          {with(func(e *evidence) { e.Beyond, e.Hints = "its log goes on", false }), byCopy, "neither data checksums nor wal_log_hints"},
		"FollowerThatWentOn": {with(func(e *evidence) { e.Beyond, e.Standby, e.State = "it replayed", true, "shut down in recovery" }),
			byRewind, "it replayed"},
		"FollowerThatWentOnAndWasKilled": {with(func(e *evidence) { e.Beyond, e.Standby, e.State = "it replayed", true, "in archive recovery" }),
			byCopy, "did not end cleanly"},
		"SameNumberAnotherWay": {with(func(e *evidence) { e.Strange = "went another way" }), byCopy, "another way"},
		"Empty":                {evidence{Empty: true}, byCopy, "empty"},
		"CutOffRewind":         {evidence{Broken: byRewind}, byCopy, "a rewind did not come to its end"},
		"CutOffCopy":           {evidence{Broken: byCopy}, byCopy, "a copy did not come to its end"},
		"AnotherCluster":       {with(func(e *evidence) { e.System = "8" }), "", "another cluster"},
		"AnotherVersion":       {with(func(e *evidence) { e.Version = "14" }), "", "of PostgreSQL 14"},
		"NobodysFiles":         {evidence{NoControl: true}, "", "no control file"},
	} {
		method, why, err := tt.e.choose()
		refusal, refused := errors.AsType[*agent.Refusal](err)
		if method != tt.method || refused != (tt.method == "") {
			t.Errorf("%s: %s %v", name, method, err)
			continue
		}
		if refused {
			why = refusal.Why
		}
		if !strings.Contains(why, tt.why) {
			t.Errorf("%s: %q does not say %q", name, why, tt.why)
		}
	}
}

// One that was counted out to be made anew, by a run that ended before it was, is copied by whoever brings it back. While
// it still counts, an order that does not say so takes that back.
func TestAMemberThatIsToBeMadeAnewComesBackByNoOtherWay(t *testing.T) {
	up := &agent.Upstream{Member: "ansan", Host: "127.0.0.1", Port: "1", Credential: 2, Reign: 2}
	anew := agent.Order{Verb: agent.Rejoin, Run: "r-2", Reign: 2, Upstream: up, Anew: true, Counted: true}
	plain := agent.Order{Verb: agent.Rejoin, Run: "r-3", Reign: 2, Upstream: up}
	counted := plain
	counted.Counted = true
	mem := memory{Role: asFollower, Upstream: up}
	if mem.Due = mem.due(anew); mem.Due != "r-2" {
		t.Fatalf("before it is counted out it remembers %q", mem.Due)
	}
	f := map[string]string{}
	if mem.facts(f); f["agent/due"] != "r-2" {
		t.Errorf("nobody hears of it: %v", f)
	}
	if mem.due(plain) != "r-2" || !mem.toCopy(plain) {
		t.Error("it is counted out, and would come back as it is")
	}
	if mem.due(counted) != "" || mem.toCopy(counted) {
		t.Error("it counts, and would not be started")
	}
	mem.Anew, mem.Due = mem.Due, ""
	if mem.due(anew) != "" || mem.toCopy(plain) {
		t.Error("it was made anew, and would be again")
	}
}

// The wish is on the disk before anything is answered.
func TestThatAMemberIsToBeMadeAnewIsRememberedFirst(t *testing.T) {
	up := &agent.Upstream{Member: "ansan", Host: "127.0.0.1", Port: "1", Credential: 2, Reign: 2}
	u := stopped(t, nil)
	m := remembers(t, memory{Role: asFollower, Upstream: up})
	o := agent.Order{Verb: agent.Rejoin, Run: "r-2", Epoch: 2, Reign: 2, Upstream: up, Anew: true, Counted: true}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if f, err := u.Do(ctx, o, m); err == nil && f["failed"] == "" { // nobody listens there
		t.Fatalf("%v %v", f, err)
	}
	mem, err := recall(m)
	if err != nil || mem.Due != "r-2" {
		t.Errorf("%+v %v", mem, err)
	}
}

// A member is made anew once in a run that wants it, also where it follows and the order is given again.
func TestAMemberIsMadeAnewOnceInARun(t *testing.T) {
	up := &agent.Upstream{Member: "ansan", Host: "127.0.0.1", Port: "1", Credential: 2, Reign: 2}
	mem := memory{Role: asFollower, Upstream: up}
	o := agent.Order{Verb: agent.Rejoin, Run: "r-2", Reign: 2, Upstream: up, Anew: true}
	if !mem.toCopy(o) {
		t.Error("it follows, and would not be copied")
	}
	if _, back := (&Unit{local: &local{}}).isBack(t.Context(), o, mem); back {
		t.Error("it counts as made anew, and nothing was copied")
	}
	mem.Anew = "r-2"
	if mem.toCopy(o) {
		t.Error("it would be copied again by the same run")
	}
	o.Run = "r-3"
	if !mem.toCopy(o) {
		t.Error("another run would not have it copied")
	}
	o.Anew = false
	if mem.toCopy(o) {
		t.Error("an order that does not say so would have it copied")
	}
	u := &Unit{set: Settings{Member: "a"}}
	o.Anew = true
	if err := u.mayRejoin(o, memory{Role: asPrimary, Reign: 2}); err == nil {
		t.Error("a primary would be made anew")
	}
	if err := u.mayRejoin(o, memory{Role: asFollower}); err != nil {
		t.Errorf("a follower is not: %v", err)
	}
	o.Run = ""
	if err := u.mayRejoin(o, memory{Role: asFollower}); err == nil {
		t.Error("an order that names no run was taken")
	}
	a := &attempt{order: agent.Order{Run: "r-1", Reign: 2, Upstream: up}}
	o.Run = "r-1"
	if a.serves(o) {
		t.Error("an attempt that copies only where it must serves one that wants it copied")
	}
}

// Nothing is rewritten that may stand nowhere else, or on whose word others count.
func TestWhatMayBeRewritten(t *testing.T) {
	beyond, clean := evidence{Beyond: "it wrote"}, evidence{}
	follower, primary := memory{Role: asFollower}, memory{Role: asPrimary, Fenced: true}
	kept := primary
	kept.Read = read{Salvage: &situation.Salvage{Method: situation.Unreadable}, Kept: true}
	for name, tt := range map[string]struct {
		o      agent.Order
		mem    memory
		e      evidence
		method string
		ok     bool
	}{
		"Following":                {agent.Order{Counted: true}, follower, clean, byStart, true},
		"CountedFollower":          {agent.Order{Counted: true}, follower, clean, byCopy, false},
		"FollowerBehind":           {agent.Order{}, follower, clean, byCopy, true},
		"FollowerThatWentOn":       {agent.Order{}, follower, beyond, byRewind, false},
		"FollowerOfAnotherWay":     {agent.Order{}, follower, evidence{Strange: "x"}, byCopy, false},
		"FormerPrimary":            {agent.Order{}, primary, beyond, byRewind, false},
		"FormerPrimaryWithoutMore": {agent.Order{}, primary, clean, byCopy, false},
		"Salvaged":                 {agent.Order{Kept: "r-1-a"}, kept, beyond, byRewind, true},
		"SalvagedSaysTheTowerOnly": {agent.Order{Kept: "r-1-a"}, primary, beyond, byRewind, false},
		"SalvagedAndCounted":       {agent.Order{Kept: "r-1-a", Counted: true}, kept, beyond, byRewind, false},
		"Empty":                    {agent.Order{}, primary, evidence{Empty: true}, byCopy, true},
		"BegunBefore":              {agent.Order{}, primary, evidence{Broken: byCopy}, byCopy, true},
	} {
		mem := tt.mem
		mem.Rebuild = &rebuild{Stage: choosing, Kept: tt.o.Kept}
		j := &backJob{attempt: &attempt{order: tt.o}, u: &Unit{set: Settings{Member: "a"}}, mem: mem}
		if err := j.mayRewrite(t.Context(), tt.e, tt.method, "reason"); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
