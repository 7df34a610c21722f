package main

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/haechi/haechi/core/plan"
	hrun "github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/verify"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/web"
)

// What a comparison found is told in full, and it is an error unless all is the same.
func TestVerifyTellsWhatDiffersAndFails(t *testing.T) {
	s := verify.Summary{Primary: "pangyo", Followers: []string{"ansan", "anyang"}, Begun: time.Unix(0, 0),
		Databases: map[string]verify.Count{"shop": {Tables: 3, Rows: 1000, Blocks: 1024, Sequences: 2}},
		Checks:    map[string]verify.Check{"ansan": {Pages: 77, Indexes: 5}}}
	r := web.Run{ID: "r-000009", Status: web.RunDone, Steps: []web.Step{{ID: 1, Report: &s}}}
	draw := func() string {
		var b strings.Builder
		drawVerified(&b, r)
		return b.String()
	}
	for _, want := range []string{"ansan, anyang compared with pangyo", "shop      3       1000  8   2", "ansan   77     5", "no difference"} {
		if got := draw(); !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if err := sameOrNot("talk-db", r); err != nil {
		t.Error(err)
	}
	s.LeftOut = []verify.Omission{{Name: "shop: public.cache", Why: "it is not logged"}}
	if err := sameOrNot("talk-db", r); err != nil {
		t.Error(err)
	}
	s.LeaveOut("anyang", "has not answered for 1m0s")
	if err := sameOrNot("talk-db", r); err == nil || !strings.Contains(err.Error(), "not all were") || !strings.Contains(draw(), "not compared: member anyang: it has not answered for 1m0s") {
		t.Errorf("%v\n%s", err, draw())
	}
	s.Found = []verify.Finding{{Kind: verify.Unsettled, Member: "ansan", Table: "shop: public.hot", Key: "1", At: "(0,1)", Why: "it moved"}}
	if err := sameOrNot("talk-db", r); err == nil || !strings.Contains(err.Error(), "not everything could be settled") {
		t.Error(err)
	}
	s.Found = append(s.Found, verify.Finding{Kind: verify.Missing, Member: "anyang", Table: "shop: public.orders", Key: "4711", At: "(3,2)"})
	s.More = map[string]int{"shop: public.orders": 3}
	for _, want := range []string{"missing     anyang  shop: public.orders  4711  (3,2)", "shop: public.orders: more differs", "not compared: shop: public.cache: it is not logged"} {
		if got := draw(); !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if err := sameOrNot("talk-db", r); err == nil || !strings.Contains(err.Error(), "do not hold the same") {
		t.Error(err)
	}
	if err := sameOrNot("talk-db", web.Run{ID: "r-1"}); err == nil {
		t.Error("a run without a report is taken for one that found nothing")
	}
}

// The command shows how far a comparison is, draws what came of it, and fails where members differ.
func TestVerifyFollowsAComparison(t *testing.T) {
	for _, differs := range []bool{false, true} {
		tn := newTown(t, pki.Operator)
		var asked atomic.Int64
		tn.tower(desk{
			StartFunc: func(by string, ask web.Ask) (hrun.ID, error) {
				if by != "kim" || ask != (web.Ask{Kind: plan.VerifyAll, Subject: "talk-db"}) {
					t.Errorf("%s asks %+v", by, ask)
				}
				return "r-000004", nil
			},
			RunFunc: func(id hrun.ID) (web.Run, error) {
				n := asked.Add(1)
				r := web.Run{ID: string(id), Kind: "verify", Subject: "talk-db", Status: web.RunRunning, Started: time.Unix(1, 0),
					Steps: []web.Step{{ID: 1, Verb: "verify", Component: "talk-db", State: web.StepRunning, Note: fmt.Sprintf("database talk: %d of 9 GB", n)}}}
				if n > 2 {
					r.Status, r.Ended, r.Steps[0].State, r.Steps[0].Note = web.RunDone, time.Unix(2, 0), web.StepDone, ""
					r.Steps[0].Report = &verify.Summary{Primary: "pangyo", Followers: []string{"ansan"}}
					if differs {
						r.Steps[0].Report.Found = []verify.Finding{{Kind: verify.Missing, Member: "ansan", Table: "talk: public.messages", Key: "4711"}}
					}
				}
				return r, nil
			},
		})
		out, err := tn.haechi("verify", "talk-db")
		if (err != nil) != differs {
			t.Errorf("differs: %v, and the command ends with %v", differs, err)
		}
		want := "no difference"
		if differs {
			want = "4711"
		}
		for _, want := range []string{"database talk: 2 of 9 GB", "r-000004: done in 1.00 s", want} {
			if strings.Count(out, want) != 1 {
				t.Errorf("%q is not there once:\n%s", want, out)
			}
		}
		out, err = tn.haechi("verify", "talk-db", "-o", "json")
		if (err != nil) != differs || !strings.Contains(out, `"report"`) {
			t.Errorf("%v\n%s", err, out)
		}
	}
}
