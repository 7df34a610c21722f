package tower

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/testkit"
	"github.com/haechi/haechi/tower/state"
)

// seen are beliefs in which all three sites are well.
func seen(t *testing.T) beliefs {
	t.Helper()
	e, stores := testkit.ThreeSites("talk-db")
	b := beliefs{estate: e, now: situation.Situation{Sites: map[estate.SiteID]situation.Verdict{}, Things: map[string]situation.Verdict{}, Facts: map[string]map[string]string{}},
		snap: state.Snapshot{Estate: state.EstateVersion{Version: 1}, Stores: stores, Withdrawn: map[estate.NameID][]estate.SiteID{}, Intents: map[estate.SiteID]situation.Intent{}}}
	for _, target := range situation.Targets(e) {
		b.now.Things[target.ID] = situation.Verdict{Subject: target.ID, Site: target.Site, State: situation.Up}
	}
	for site := range e.Sites {
		b.now.Sites[site] = situation.Verdict{Site: site, State: situation.Up}
		b.now.Facts[situation.DatabaseTarget(e, "talk-db", estate.MemberID(site))] = map[string]string{"role": "follower", "running": "true", "answers": "true"}
	}
	b.now.Facts["pangyo/database/talk-db/pangyo"] = map[string]string{"role": "primary", "running": "true", "answers": "true",
		"client/ansan": "streaming quorum bytes=0", "client/anyang": "streaming quorum bytes=0"}
	return b
}

func TestARecoveryIsOverWhenNothingIsMissing(t *testing.T) {
	task := func(site string) driver.Task {
		return driver.Task{Step: plan.Step{Verb: plan.Redundant, Component: site}}
	}
	look := func(b beliefs, site string) (run.Outcome, string) {
		res, err := whole{bare(t, b)}.Look(t.Context(), task(site))
		must(t, err)
		return res.Outcome, res.Note
	}
	if o, note := look(seen(t), "ansan"); o != run.Done {
		t.Fatal(note)
	}
	for want, spoil := range map[string]func(*beliefs){
		"talk-db: ansan is not counted": func(b *beliefs) {
			rec := b.snap.Stores["talk-db"]
			rec.Former = []estate.MemberID{"ansan"}
			b.snap.Stores["talk-db"] = rec
		},
		"talk-db: ansan does not answer":            func(b *beliefs) { delete(b.now.Facts, "ansan/database/talk-db/ansan") },
		"talk-db: ansan does not receive":           func(b *beliefs) { delete(b.now.Facts["pangyo/database/talk-db/pangyo"], "client/ansan") },
		"talk-db: ansan is being made anew (copy)":  func(b *beliefs) { b.now.Facts["ansan/database/talk-db/ansan"]["broken"] = "copy" },
		"talk.example.: no users are sent to ansan": func(b *beliefs) { b.snap.Withdrawn["talk.example."] = []estate.SiteID{"ansan"} },
		"the name server ns-ansan is dead": func(b *beliefs) {
			b.now.Things["ansan/dns/ns-ansan"] = situation.Verdict{State: situation.Dead}
		},
	} {
		b := seen(t)
		spoil(&b)
		if o, note := look(b, "ansan"); o != run.NotDone || !strings.Contains(note, want) {
			t.Errorf("%q: %v %q", want, o, note)
		}
		if o, note := look(b, "anyang"); o != run.Done {
			t.Errorf("%q: anyang cannot help that: %q", want, note)
		}
	}
	b := seen(t)
	rec := b.snap.Stores["talk-db"]
	rec.Epoch = 2
	b.snap.Stores["talk-db"] = rec
	if o, note := look(b, "ansan"); o != run.NotDone || !strings.Contains(note, "its members were not compared") {
		t.Errorf("nobody knows whether all hold the same: %v %q", o, note)
	}
	b = seen(t)
	b.snap.Withdrawn["talk.example."], b.snap.Intents["ansan"] = []estate.SiteID{"ansan"}, situation.Drained
	if o, note := look(b, "ansan"); o != run.Done {
		t.Errorf("people want it empty: %q", note)
	}
	if res, err := (whole{bare(t, b)}).Do(t.Context(), driver.Task{Step: plan.Step{Verb: plan.Seat}}); err == nil || res.Outcome != run.NotDone {
		t.Errorf("%v %v", res, err)
	}
}

// What shows for a moment is not believed; what is missing is waited for.
func TestARecoveryWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := seen(t), seen(t)
		bad.snap.Withdrawn["talk.example."] = []estate.SiteID{"ansan"}
		n := bare(t, bad)
		began := time.Now()
		time.AfterFunc(10*time.Second, func() { n.believed.Store(&good) })
		time.AfterFunc(10*time.Second+wholeFor/2, func() { n.believed.Store(&bad) })
		time.AfterFunc(time.Minute, func() { n.believed.Store(&good) })
		res, err := whole{n}.Do(t.Context(), driver.Task{Step: plan.Step{Verb: plan.Redundant, Component: "ansan"}})
		if took := time.Since(began); err != nil || res.Outcome != run.Done || took < time.Minute+wholeFor || took > time.Minute+3*wholeFor {
			t.Errorf("%v %v after %v", res, err, took)
		}
		n.believed.Store(&bad)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if res, err := (whole{n}).Do(ctx, driver.Task{Step: plan.Step{Verb: plan.Redundant, Component: "ansan"}}); err == nil || res.Outcome != run.NotDone || !strings.Contains(res.Note, "still missing: talk.example.: no users") {
			t.Errorf("%v %v", res, err)
		}
	})
}
