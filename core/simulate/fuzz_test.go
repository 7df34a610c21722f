package simulate_test

import (
	"encoding/json"
	"testing"

	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/simulate"
)

// Whatever a model says, it is refused or a loss can be simulated with it, and comes to an end.
func FuzzModel(f *testing.F) {
	for _, s := range []string{
		`{}`, `null`, `{"sure":{"median":"1m","p95":"2m"}}`, `{"fails":0.9}`, `{"steps":{"seal":{"measured":["-1s","0s"]}}}`, `{"hand":{"crews":3,"boots":1e300}}`,
		`{"hand":{"crews":9223372036854775807,"boots":1e-300}}`, `{"start":{"median":"876000h","p95":"876000h"}}`, `{"boot":{"median":"1ns","p95":"876000h"}}`,
		`{"power":[{"at":"1h","share":0.5},{"at":"1h","share":1}]}`, `{"answer":{"median":"1 fortnight"}}`, `{"unheard":0.45,"fails":0.45}`,
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	byHand, withTowers := load(f, base, shop), load(f, base, towers, shop)
	f.Fuzz(func(t *testing.T, text string, towers bool) {
		e := byHand
		if towers {
			e = withTowers
		}
		m := simulate.Defaults(e)
		if json.Unmarshal([]byte(text), &m) != nil {
			return
		}
		s, err := simulate.New(e, []string{"pangyo"}, m)
		if err != nil {
			return
		}
		var outs []simulate.Outcome
		for n := range 3 {
			outs = append(outs, s.Once(luck(n)))
		}
		got := s.Gather(1, outs)
		for _, x := range got.Services {
			if x.P50 < 0 && x.P50 != -1 || x.P50 > x.P95 && x.P95 != -1 {
				t.Errorf("%s comes back after %+v", x.Name, x.Spread)
			}
		}
		if _, err := json.Marshal(got); err != nil {
			t.Error(err)
		}
	})
}

// Whatever a journal holds, its times are read or refused; what was read can be simulated with.
func FuzzMeasured(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"run":"r","kind":"opened"}`, `{"run":"r","kind":"ended","step":1,"outcome":1,"took":"1s"}`, `[]`, `{"run":"r","kind":"approved","step":-1}`,
		`{"run":"r","kind":"opened","plan":{"steps":[{"id":1,"verb":"seal","component":"orders"}]}}`, `{"kind":"ended","step":9223372036854775807,"took":"-9h"}`,
	} {
		f.Add([]byte(s), []byte(s))
	}
	e := load(f, base, shop)
	f.Fuzz(func(t *testing.T, first, then []byte) {
		var entries []journal.Entry
		for range simulate.LeastMeasured {
			entries = append(entries, journal.Entry{Kind: "run", Data: first}, journal.Entry{Kind: "run", Data: then})
		}
		m, _, err := simulate.Defaults(e).Measured(entries)
		if err != nil {
			return
		}
		if s, err := simulate.New(e, []string{"pangyo"}, m); err == nil {
			s.Once(luck(1))
		}
	})
}
