package simulate_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/simulate"
)

const named = `
hosts: {pangyo/ns: {site: pangyo, agent: "10.1.0.1:9444", address: "10.1.0.1:53", unit: named}, ansan/ns: {site: ansan, agent: "10.2.0.1:9444", address: "10.2.0.1:53", unit: named}, db: {site: pangyo}}
stores:
  orders: {engine: postgres, members: {a: {site: pangyo, host: db}, b: {site: ansan}, c: {site: anyang}}}
  prices: {engine: postgres, members: {a: {site: ansan}, b: {site: pangyo}, c: {site: anyang}}}
services:
  shop: {tier: 0, rto: 1ms, load: 10, runs: {pangyo/web: 10, ansan/web: 10}, requires: [basket, prices]}
  basket: {tier: 1, rto: 1ms, load: 10, runs: {pangyo/web: 10, ansan/web: 10}, requires: [orders]}
  web: {tier: 0, rto: 1ms, load: 10, runs: {pangyo/web: 10, ansan/web: 10}}
  idle: {tier: 2, rto: 1ms, load: 10, runs: {pangyo/web: 10, ansan/web: 0}}
  alone: {tier: 2, rto: 1ms, load: 10, runs: {pangyo/web: 10}}
  still: {tier: 2, rto: 1ms, load: 10, runs: {anyang/web: 10}, requires: [{any: [web, basket]}]}
names:
  web.example.: {service: web, zone: example., ttl: 20s, servers: [pangyo/ns, ansan/ns], answers: {pangyo: 10.1.0.5, ansan: 10.2.0.5}, key: {name: k., secret: {file: /k}}}
`

// The audit asks of those services, and only of those, that are gone for a while when a loss is simulated; of a
// member and its host once, since to them these are the same.
func TestTheAuditAsksOfWhatIsInterrupted(t *testing.T) {
	e := load(t, base, towers, named)
	asked, want := map[string][]string{}, map[string][]string{}
	_, err := audit.Audit(audit.Input{Estate: e, Back: func(service string, scenario []string) (audit.Return, bool) {
		s := strings.Join(scenario, ",")
		asked[s] = append(asked[s], service)
		return audit.Return{}, true
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, lost := range []string{"pangyo", "ansan", "anyang", "db", "pangyo/ns", "pangyo/web", "ansan/web", "orders/b", "orders/c", "prices/a", "prices/b"} {
		s := simulation(t, e, certain(), lost)
		back, _ := times(s, s.Once(luck(0)))
		for _, n := range slices.Sorted(maps.Keys(back)) {
			if back[n] > 0 && back[n] != simulate.Never {
				want[lost] = append(want[lost], n)
			}
		}
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("simulated, and asked of: %s", diff)
	}
	if len(want["pangyo"]) < 4 {
		t.Errorf("too little is interrupted to show anything: %v", want)
	}
}

// What one slow case answers is on the same side of the rto as the 95th of a hundred cases.
func TestASlowCaseSparesOnlyWhatIsSoonEnough(t *testing.T) {
	spared := 0
	for _, policy := range []string{"{profile: fast}", "{profile: default}", "{site-loss: one-person}", "{site-loss: one-person, answer: 2m}"} {
		for _, rto := range []time.Duration{900 * time.Millisecond, time.Second, 1100 * time.Millisecond, 1500 * time.Millisecond, 2400 * time.Millisecond, 2600 * time.Millisecond, 3 * time.Second, time.Minute, 2 * time.Minute, 3 * time.Minute, 28 * time.Minute, time.Hour, 2 * time.Hour} {
			e := load(t, base, towers, shop, "policy: "+policy+"\n")
			of := e.Services["shop"]
			of.RTO = &rto
			e.Services["shop"] = of
			cases := 0
			counted := func(n int) simulate.Chance { cases++; return luck(n) }
			r, back := simulate.Back(e, simulate.Defaults(e), counted)("shop", []string{"pangyo"})
			s := simulation(t, e, simulate.Defaults(e), "pangyo")
			var outs []simulate.Outcome
			for n := range 300 {
				outs = append(outs, s.Once(luck(n)))
			}
			p95 := s.Gather(1, outs).Services[0].P95
			if !back || cases == 0 && p95 > rto.Seconds() {
				t.Errorf("%s, rto %v: %+v spared %v cases; in 300 the 95th percentile is %v s", policy, rto, r, 100-cases, p95)
			}
			if cases == 0 {
				spared++
			}
		}
	}
	if spared < 15 {
		t.Errorf("only %d of 52 were spared", spared)
	}
}

// What a service waits for longest, and what would shorten it.
func TestBackSaysWhatToDo(t *testing.T) {
	cart := "stores: {cart: {engine: redis, members: {a: {site: pangyo}, b: {site: ansan}}, acknowledge: {any: 0}, lag: 2s}}\nservices: {api: {tier: 0, rto: 1ms, load: 10, runs: {pangyo/web: 10, ansan/web: 10}, requires: [cart]}}\n"
	for _, c := range []struct {
		e                    []string
		service, waits, says string
	}{
		{[]string{base, towers, shop, "policy: {site-loss: two-people}\n"}, "shop", "people agree", "site-loss: auto"},
		{[]string{base, towers, shop}, "shop", "being sure", "profile: fast"},
		{[]string{base, shop}, "shop", "somebody takes command", "declare towers"},
		{[]string{base, towers, cart}, "api", "people accept the loss", "acknowledge: {any: 1}"},
		{[]string{base, towers, named}, "web", "resolvers forget web.example.", "smaller ttl of web.example."},
		{[]string{base, towers, named}, "idle", "start idle", "give idle servers"},
	} {
		e := load(t, c.e...)
		tight := time.Millisecond
		of := e.Services[estate.ServiceID(c.service)]
		of.RTO = &tight
		e.Services[estate.ServiceID(c.service)] = of
		r, back := simulate.Back(e, simulate.Defaults(e), func(n int) simulate.Chance { return luck(n) })(c.service, []string{"pangyo"})
		if !back || r.Waits != c.waits && !(c.waits != "being sure" && strings.Contains(r.Waits, "by hand")) || !strings.Contains(r.Remedy, c.says) {
			t.Errorf("%s: %+v, want it to wait for %q and %q", c.service, r, c.waits, c.says)
		}
	}
	e := load(t, base, towers, "services: {report: {tier: 2, rto: 1m, load: 10, runs: {pangyo/web: 10}}}\n")
	if r, back := simulate.Back(e, simulate.Defaults(e), func(n int) simulate.Chance { return luck(n) })("report", []string{"pangyo"}); back {
		t.Errorf("what ran there alone is back: %+v", r)
	}
}

func TestAnswerIsWhatPeopleTakeInNineteenOfTwentyCases(t *testing.T) {
	m := simulate.Defaults(load(t, base, "policy: {answer: 12m}\n"))
	if time.Duration(m.Answer.P95) != 12*time.Minute || time.Duration(m.Answer.Median) != 2*time.Minute {
		t.Errorf("%+v", m.Answer)
	}
}

func BenchmarkBack(b *testing.B) {
	for _, policy := range []string{"auto", "one-person"} {
		b.Run(policy, func(b *testing.B) {
			e := load(b, base, towers, many(45), fmt.Sprintf("policy: {site-loss: %s}\n", policy))
			hour := 30 * time.Second
			for id, s := range e.Services {
				s.RTO = &hour
				e.Services[id] = s
			}
			for b.Loop() {
				if _, err := audit.Audit(audit.Input{Estate: e, Back: simulate.Back(e, simulate.Defaults(e), func(n int) simulate.Chance { return luck(n) })}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
