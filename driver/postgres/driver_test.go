package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/driver/drivertest"
)

func TestConform(t *testing.T) {
	for _, v := range []plan.Verb{plan.Seal, plan.Follow, plan.Promote, plan.Fence, plan.Alone, plan.Unseal, plan.Rejoin, plan.Salvage, plan.Apply, plan.CountOut} {
		t.Run(string(v), func(t *testing.T) {
			drivertest.Conform(t, func(t *testing.T) drivertest.World {
				w := newFakeWorld(t)
				f := run.Facts{}
				before := map[plan.Verb][]plan.Verb{plan.Follow: {plan.Seal, plan.Choose}, plan.Promote: {plan.Seal, plan.Choose, plan.Follow}, plan.Unseal: {plan.Seal}}[v]
				for _, b := range before {
					res, err := w.driver().Do(t.Context(), w.task(b, f, "ansan", "anyang"))
					if err != nil {
						t.Fatal(err)
					}
					maps.Copy(f, res.Facts)
				}
				members := []string{"ansan", "anyang"}
				if v == plan.Alone {
					w.allowAlone()
				}
				if v == plan.Fence {
					w.store.Primary, members = "ansan", []string{"pangyo"}
				}
				if v == plan.Rejoin {
					w.lostAnyang()
					members = []string{"anyang"}
				}
				if v == plan.Salvage {
					w.moved()
					members = []string{"pangyo"}
				}
				hang := func() {
					for _, m := range w.members {
						m.hang = true
					}
				}
				if v == plan.CountOut {
					members = []string{"pangyo"}
				}
				task := w.task(v, f, members...)
				if v == plan.CountOut {
					task.Step.Args = map[string]string{plan.ArgMember: "anyang"}
				}
				if v == plan.Apply {
					task.Salvage = w.kept()
				}
				return drivertest.World{Driver: w.driver(), Task: task, Acts: w.acts, Hang: hang, Terms: true, Epochs: true}
			})
		})
	}
}

func TestAFailoverKeepsToItsOrder(t *testing.T) {
	w := newFakeWorld(t)
	d := w.driver()
	f := run.Facts{}
	var rec *situation.Store
	for _, v := range []plan.Verb{plan.Seal, plan.Choose, plan.Follow, plan.Promote} {
		res, err := d.Do(t.Context(), w.task(v, f, "ansan", "anyang"))
		if err != nil || res.Outcome != run.Done {
			t.Fatalf("%s: %v %v", v, res.Outcome, err)
		}
		maps.Copy(f, res.Facts)
		rec = res.Store
	}
	want := situation.Store{Epoch: 2, Primary: "anyang", Sync: []estate.MemberID{"ansan"}, Any: 1, LeastAny: 1, Former: []estate.MemberID{"pangyo"}, Next: 2, Timeline: 2,
		Forks: []situation.Fork{{Epoch: 2, Primary: "anyang", Timeline: 2}}}
	if diff := cmp.Diff(want, *rec); diff != "" {
		t.Error(diff)
	}
	var verbs []string
	for _, o := range w.members["ansan"].heard {
		verbs = append(verbs, string(o.Verb))
		if o.Upstream != nil {
			verbs[len(verbs)-1] += fmt.Sprintf(" %s credential %d reign %d", o.Upstream.Member, o.Upstream.Credential, o.Upstream.Reign)
		}
	}
	if diff := cmp.Diff([]string{"seal", "follow anyang credential 1 reign 2", "follow anyang credential 2 reign 2"}, verbs); diff != "" {
		t.Error(diff)
	}
	p := w.members["anyang"].mem
	if !slices.Equal(p.List, []string{"ansan"}) || p.Any != 1 || len(w.members["pangyo"].heard) > 0 {
		t.Errorf("promoted with %v %d; the lost one heard %v", p.List, p.Any, w.members["pangyo"].heard)
	}
	// Once more from the start, as a tower would that knows of nothing: no act.
	acts := w.acts()
	if res, err := d.Look(t.Context(), w.task(plan.Promote, f, "ansan", "anyang")); res.Outcome != run.Done || res.Store == nil || !cmp.Equal(want, *res.Store) {
		t.Errorf("look: %v %v %v", res.Outcome, res.Store, err)
	}
	if w.acts() != acts+0 {
		t.Errorf("%d acts by looking", w.acts()-acts)
	}
}

func TestASealWithTooFewIsTakenBackAtOnce(t *testing.T) {
	for name, spoil := range map[string]func(*fakeMember){
		"down":  func(m *fakeMember) { m.down = true },
		"hangs": func(m *fakeMember) { m.hang = true },
	} {
		t.Run(name, func(t *testing.T) {
			w := newFakeWorld(t)
			spoil(w.members["anyang"])
			began := time.Now()
			res, err := w.driver().Do(t.Context(), w.task(plan.Seal, nil, "ansan", "anyang"))
			if err == nil || res.Outcome == run.Done || !strings.Contains(res.Ask, "1 of the 2 members") {
				t.Errorf("%v %v %q", res.Outcome, err, res.Ask)
			}
			if d := time.Since(began); d > time.Second {
				t.Errorf("it took %v", d)
			}
			if w.members["ansan"].mem.Sealed {
				t.Error("ansan is still sealed")
			}
		})
	}
}

func TestAcceptedLossSealsWithFewer(t *testing.T) {
	w := newFakeWorld(t)
	w.members["anyang"].down = true
	f := run.Facts{run.FactAccepted + "seal": "a,b"}
	res, err := w.driver().Do(t.Context(), w.task(plan.Seal, f, "ansan", "anyang"))
	if err != nil || res.Outcome != run.Done || !strings.Contains(res.Note, "accepted by a,b") {
		t.Errorf("%v %v %q", res.Outcome, err, res.Note)
	}
}

func TestNothingIsSealedWhereThePrimaryMayAcknowledgeAlone(t *testing.T) {
	w := newFakeWorld(t)
	w.store.LeastAny = 0
	res, err := w.driver().Do(t.Context(), w.task(plan.Seal, nil, "ansan", "anyang"))
	if err == nil || res.Outcome != run.NotDone || res.Ask == "" || w.acts() > 0 {
		t.Errorf("%v %v %q, %d acts", res.Outcome, err, res.Ask, w.acts())
	}
}

func TestNobodyIsPromotedWithAnEmptyList(t *testing.T) {
	w := newFakeWorld(t)
	for _, f := range []run.Facts{{}, {factChosen: "ansan"}, {factChosen: "ansan", factFollowing: ""}} {
		res, err := w.driver().Do(t.Context(), w.task(plan.Promote, f, "ansan", "anyang"))
		if err == nil || res.Outcome != run.NotDone || w.acts() > 0 {
			t.Errorf("%v: %v %v", f, res.Outcome, err)
		}
	}
	w.store.Sync = []estate.MemberID{"ansan"}
	res, err := w.driver().Do(t.Context(), w.task(plan.Follow, run.Facts{factChosen: "ansan", factSealed: "ansan", factCredential: "1"}, "ansan"))
	if err == nil || res.Outcome != run.NotDone || !strings.Contains(res.Ask, "alone: refuse") {
		t.Errorf("%v %v %q", res.Outcome, err, res.Ask)
	}
}

func TestNobodyIsLetGoOnceAPromotionHasBegun(t *testing.T) {
	w := newFakeWorld(t)
	d := w.driver()
	f := run.Facts{}
	for _, v := range []plan.Verb{plan.Seal, plan.Choose, plan.Follow, plan.Promote} {
		res, err := d.Do(t.Context(), w.task(v, f, "ansan", "anyang"))
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(f, res.Facts)
	}
	acts := w.acts()
	if res, err := d.Undo(t.Context(), w.task(plan.Seal, f, "ansan", "anyang")); err == nil || res.Outcome != run.NotDone || w.acts() != acts {
		t.Errorf("after the promotion: %v %v", res.Outcome, err)
	}
	w.members["anyang"].down = true
	if res, err := d.Undo(t.Context(), w.task(plan.Seal, f, "ansan", "anyang")); err == nil || res.Outcome != run.NotDone || w.acts() != acts {
		t.Errorf("the chosen one is silent: %v %v", res.Outcome, err)
	}
}

// What counts a former primary out, or is the primary, is not let go, whatever it says of itself.
func TestOnlyThoseThatCountAreLetGo(t *testing.T) {
	w := newFakeWorld(t)
	w.store.Former = []estate.MemberID{"anyang"}
	for _, m := range []string{"pangyo", "anyang"} {
		if res, err := w.driver().Do(t.Context(), w.task(plan.Unseal, nil, m)); err == nil || res.Outcome != run.NotDone || len(w.members[m].heard) > 0 {
			t.Errorf("%s: %v %v", m, res.Outcome, err)
		}
	}
}

// A member that counts is fenced where the plan says so: other hands made it a second primary.
func TestASecondPrimaryIsFencedAndTheRecordsIsNot(t *testing.T) {
	w := newFakeWorld(t)
	w.members["anyang"].primary = true
	if res, err := w.driver().Do(t.Context(), w.task(plan.Fence, nil, "anyang")); err != nil || res.Outcome != run.Done || !w.members["anyang"].mem.Fenced {
		t.Errorf("anyang: %v %v", res.Outcome, err)
	}
	if res, err := w.driver().Do(t.Context(), w.task(plan.Fence, nil, "pangyo")); err == nil || res.Outcome != run.NotDone || w.members["pangyo"].mem.Fenced {
		t.Errorf("the primary of the record: %v %v", res.Outcome, err)
	}
}

func TestFollowersThatFlushedNothingLeaveTheRecordOpen(t *testing.T) {
	w := newFakeWorld(t)
	s, err := w.driver().open(w.task(plan.Promote, nil, "ansan", "anyang"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	res, err := s.afterPromotion(ctx, "ansan", []string{"anyang"}, map[string]string{"lsn": "0/9000000", "timeline": "2"})
	if err != nil || res.Store == nil || res.Store.LeastAny != 0 || !strings.Contains(res.Note, "writes wait") {
		t.Errorf("%+v %v", res, err)
	}
}

func TestAPromotedMemberThatFallsSilentLeavesTheRecordAsItWas(t *testing.T) {
	w := newFakeWorld(t)
	s, err := w.driver().open(w.task(plan.Promote, nil, "ansan", "anyang"))
	if err != nil {
		t.Fatal(err)
	}
	w.members["ansan"].down = true
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	res, err := s.afterPromotion(ctx, "ansan", []string{"anyang"}, map[string]string{"lsn": "0/9000000", "timeline": "2"})
	if err == nil || res.Outcome != run.Unknown || res.Store != nil {
		t.Errorf("%+v %v", res, err)
	}
}

func TestAnUnknownVerbOrMemberIsRefused(t *testing.T) {
	w := newFakeWorld(t)
	for _, task := range []driver.Task{w.task("dance", nil, "ansan"), w.task(plan.Seal, nil, "busan")} {
		if res, err := w.driver().Do(t.Context(), task); err == nil || res.Outcome != run.NotDone {
			t.Errorf("%v: %v %v", task.Step, res.Outcome, err)
		}
	}
}
