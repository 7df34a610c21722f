package main

import (
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/verify"
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
	for _, want := range []string{"ansan, anyang compared with pangyo", "shop      3       1000  8   2", "ansan     77      5", "no difference"} {
		if got := draw(); !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if err := sameOrNot("talk-db", r); err != nil {
		t.Error(err)
	}
	s.LeftOut = []verify.Omission{{Name: "shop: public.cache", Why: "it is not logged"}}
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
