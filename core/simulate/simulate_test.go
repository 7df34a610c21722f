package simulate_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/simulate"
)

// base is an estate that bears the loss of a site: tests add to it.
const base = `
haechi: v1
estate: shop
sites: {pangyo: {}, ansan: {}, anyang: {}}
pools:
  pangyo/web: {site: pangyo, servers: 100}
  ansan/web: {site: ansan, servers: 100}
  anyang/web: {site: anyang, servers: 100}
`

const towers = `
towers: {tower-1: {site: pangyo}, tower-2: {site: ansan}, tower-3: {site: anyang}}
`

const shop = `
stores:
  orders: {engine: postgres, members: {a: {site: pangyo}, b: {site: ansan}, c: {site: anyang}}, acknowledge: {any: 1}}
services:
  shop: {tier: 0, rto: 30s, load: 100, runs: {pangyo/web: 50, ansan/web: 50, anyang/web: 50}, requires: [orders]}
  search: {tier: 1, load: 50, runs: {pangyo/web: 40, ansan/web: 20}}
`

func load(t testing.TB, parts ...string) estate.Estate {
	t.Helper()
	e, err := estate.Load([]estate.File{{Name: "estate.yaml", Data: []byte(strings.Join(parts, ""))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func of(d time.Duration) simulate.Dist { return simulate.Dist{Median: estate.Duration(d)} }

// certain is a model without luck.
func certain() simulate.Model {
	m := simulate.Model{
		Sure: of(2 * time.Second), Decide: of(time.Second), Look: of(time.Second), Answer: of(5 * time.Minute),
		Start: of(time.Minute), Boot: of(3 * time.Minute), Check: of(30 * time.Minute), Steps: map[plan.Verb]simulate.Dist{},
		Hand: simulate.Hand{Begin: of(time.Hour), Switch: of(10 * time.Minute), Without: of(45 * time.Minute), Crews: 1},
	}
	for _, v := range []plan.Verb{plan.Seal, plan.Choose, plan.Follow, plan.Promote, plan.Withdraw, plan.Unseal} {
		m.Steps[v] = of(500 * time.Millisecond)
	}
	return m
}

// luck is that of the n-th run.
func luck(n int) *rand.Rand { return rand.New(rand.NewPCG(1, uint64(n))) }

func simulation(t testing.TB, e estate.Estate, m simulate.Model, lose ...string) *simulate.Simulation {
	t.Helper()
	s, err := simulate.New(e, lose, m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// times are when each service serves again, and when it has servers enough, by name.
func times(s *simulate.Simulation, o simulate.Outcome) (back, whole map[string]time.Duration) {
	back, whole = map[string]time.Duration{}, map[string]time.Duration{}
	for i, n := range s.Services() {
		back[n], whole[n] = o.Back[i], o.Whole[i]
	}
	return back, whole
}

func TestTimesWithoutLuck(t *testing.T) {
	const never = simulate.Never
	hand := certain()
	hand.Hand.Crews = 2
	power := certain()
	power.Power = []simulate.Power{{At: estate.Duration(10 * time.Hour), Share: 1}}
	power.Hand.Boots = 100
	late := power
	late.Hand.Begin = of(20 * time.Hour)
	two := "policy: {site-loss: two-people}\n"
	for _, c := range []struct {
		what        string
		e           []string
		m           simulate.Model
		lose        string
		service     string
		back, whole time.Duration
	}{
		{"a store moves: sure, decide, four steps", []string{base, towers, shop}, certain(), "pangyo", "shop", 5 * time.Second, 5 * time.Second},
		{"its primary stays", []string{base, towers, shop}, certain(), "ansan", "shop", 0, 0},
		{"servers elsewhere have to be started, since somebody knows", []string{base, towers, shop}, certain(), "pangyo", "search", 0, 63 * time.Second},
		{"two people agree, one after the other", []string{base, towers, shop, two}, certain(), "pangyo", "shop", 10*time.Minute + 5*time.Second, 10*time.Minute + 5*time.Second},
		{"one member alone, its site lives", []string{base, towers, shop}, certain(), "orders/a", "shop", 5 * time.Second, 5 * time.Second},
		{"without towers people move it, with what they need for it", []string{base, shop}, certain(), "pangyo", "shop", 70 * time.Minute, 70 * time.Minute},
		{
			"the tools are in the lost site", []string{base, `
stores:
  orders: {engine: postgres, members: {a: {site: pangyo}, b: {site: ansan}, c: {site: anyang}}, after: [switcher]}
services:
  switcher: {tier: 1, load: 1, runs: {pangyo/web: 1}}
  shop: {tier: 0, load: 100, runs: {pangyo/web: 50, ansan/web: 50, anyang/web: 50}, requires: [orders]}
`},
			certain(), "pangyo", "shop", 105 * time.Minute, 105 * time.Minute,
		},
		{"what ran there alone does not come back", []string{base, towers, "services: {report: {tier: 2, load: 10, runs: {pangyo/web: 10}}}\n"}, certain(), "pangyo", "report", never, never},
		{
			"power is back, servers are booted by hand, it is started", []string{base, towers, "services: {report: {tier: 2, load: 10, runs: {pangyo/web: 10}}}\n"},
			power, "pangyo", "report", 11*time.Hour + 4*time.Minute, 11*time.Hour + 4*time.Minute,
		},
		{
			"data that was there alone is checked before", []string{base, towers, `
stores: {files: {engine: object, members: {a: {site: pangyo}}, acknowledge: {any: 0}}}
services: {photos: {tier: 2, load: 10, runs: {ansan/web: 10}, requires: [files]}}
`},
			power, "pangyo", "photos", 10*time.Hour + 34*time.Minute, 10*time.Hour + 34*time.Minute,
		},
		{
			"a store that nobody moves before its servers run again comes back with them", []string{base, `
hosts: {db-p: {site: pangyo, requires: [pangyo/web]}}
stores: {orders: {engine: postgres, members: {a: {site: pangyo, host: db-p}, b: {site: ansan}, c: {site: anyang}}}}
services: {shop: {tier: 0, load: 100, runs: {ansan/web: 100}, requires: [orders]}}
`},
			late, "pangyo", "shop", 11*time.Hour + 4*time.Minute, 11*time.Hour + 4*time.Minute,
		},
		{
			"the data of servers that are booted last is checked last", []string{base, towers, `
hosts: {files-p: {site: pangyo, requires: [pangyo/web]}}
stores: {files: {engine: object, members: {a: {site: pangyo, host: files-p}}, acknowledge: {any: 0}}}
services: {photos: {tier: 2, load: 10, runs: {ansan/web: 10}, requires: [files]}}
`},
			power, "pangyo", "photos", 11*time.Hour + 34*time.Minute, 11*time.Hour + 34*time.Minute,
		},
		{
			"a store all of whose hosts fell in sites that live is not promoted", []string{base, towers, `
domains: {pangyo/battery: {site: pangyo, kind: battery-room}}
hosts: {h-1: {site: pangyo, requires: [pangyo/battery]}, h-2: {site: pangyo, requires: [pangyo/battery]}}
stores: {orders: {engine: postgres, members: {a: {site: pangyo, host: h-1}, b: {site: pangyo, host: h-2}}}}
services: {shop: {tier: 0, load: 100, runs: {ansan/web: 100}, requires: [orders]}}
`},
			power, "pangyo/battery", "shop", 10*time.Hour + 34*time.Minute, 10*time.Hour + 34*time.Minute,
		},
		{
			"it serves when some of its servers run, and is whole when all do", []string{base, "  pangyo/batch: {site: pangyo, servers: 100}\n", towers, `
services:
  report: {tier: 2, load: 20, runs: {pangyo/web: 10, pangyo/batch: 10}}
  first: {tier: 1, load: 10, runs: {pangyo/web: 10}}
`},
			power, "pangyo", "report", 11*time.Hour + 4*time.Minute, 12*time.Hour + 3*time.Minute,
		},
		{
			"a primary that acknowledges by itself: two people accept the loss, then hands", []string{base, towers, `
stores: {cart: {engine: redis, members: {a: {site: pangyo}, b: {site: ansan}}, acknowledge: {any: 0}, lag: 2s}}
services: {cart-api: {tier: 0, load: 10, runs: {pangyo/web: 10, ansan/web: 10}, requires: [cart]}}
`},
			certain(), "pangyo", "cart-api", 20*time.Minute + 2*time.Second, 20*time.Minute + 2*time.Second,
		},
		{
			"a ring of services goes on when its store does", []string{base, towers, `
stores:
  orders: {engine: postgres, members: {a: {site: pangyo}, b: {site: ansan}, c: {site: anyang}}}
services:
  one: {tier: 0, load: 10, runs: {pangyo/web: 10, ansan/web: 10}, requires: [two, orders]}
  two: {tier: 0, load: 10, runs: {pangyo/web: 10, ansan/web: 10}, requires: [one]}
`},
			certain(), "pangyo", "two", 5 * time.Second, 5 * time.Second,
		},
		{
			"users forget an answer after its TTL", []string{base, towers, `
hosts: {pangyo/ns: {site: pangyo, agent: "10.1.0.1:9444", address: "10.1.0.1:53", unit: named}, ansan/ns: {site: ansan, agent: "10.2.0.1:9444", address: "10.2.0.1:53", unit: named}}
services: {web: {tier: 0, load: 10, runs: {pangyo/web: 10, ansan/web: 10}}}
names: {web.example.: {service: web, zone: example., ttl: 20s, servers: [pangyo/ns, ansan/ns], answers: {pangyo: 10.1.0.5, ansan: 10.2.0.5}, key: {name: k., secret: {file: /k}}}}
`},
			certain(), "pangyo", "web", 23500 * time.Millisecond, 23500 * time.Millisecond,
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := simulation(t, load(t, c.e...), c.m, c.lose)
			back, whole := times(s, s.Once(luck(0)))
			if back[c.service] != c.back || whole[c.service] != c.whole {
				t.Errorf("%s serves after %v and is whole after %v, want %v and %v\n%v", c.service, back[c.service], whole[c.service], c.back, c.whole, back)
			}
		})
	}
}

// However often steps fail, or end without anybody's hearing of it, what the audit says is up comes back.
func TestFailuresCostTimeAndNothingElse(t *testing.T) {
	m := certain()
	m.Fails, m.Unheard = 0.3, 0.3
	s := simulation(t, load(t, base, towers, shop), m, "pangyo")
	slower, asked := 0, 0
	for n := range 500 {
		o := s.Once(luck(n))
		back, _ := times(s, o)
		switch b := back["shop"]; {
		case b == simulate.Never || b < 5*time.Second:
			t.Fatalf("run %d: back after %v", n, b)
		case b > 5*time.Minute:
			asked++ // a step was out of tries, and a person was asked
		case b > 5*time.Second:
			slower++
		}
	}
	if slower == 0 || asked == 0 {
		t.Errorf("%d of 500 runs were slower, in %d a person was asked", slower, asked)
	}
}

// A seal has a second, since writes wait: one that takes longer is not done, and after people have let it
// try again often enough they go on by hand.
func TestAStepOverItsLimitIsNotDone(t *testing.T) {
	m := certain()
	m.Steps[plan.Seal] = of(90 * time.Second)
	s := simulation(t, load(t, base, towers, shop), m, "pangyo")
	back, _ := times(s, s.Once(luck(0)))
	if b := back["shop"]; b < 25*time.Minute || b > 26*time.Minute { // three answers, then ten minutes
		t.Errorf("it came back after %v", b)
	}
}

func TestEqualSeedsGiveEqualBytes(t *testing.T) {
	e := load(t, base, towers, shop)
	draw := func() string {
		s := simulation(t, e, simulate.Defaults(e), "pangyo")
		var outs []simulate.Outcome
		for n := range 200 {
			outs = append(outs, s.Once(luck(n)))
		}
		b, err := json.Marshal(s.Gather(1, outs))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	first := draw()
	for range 3 {
		if draw() != first {
			t.Fatal("the same luck gave another forecast")
		}
	}
}

func TestForecastSaysWhatItRestsOn(t *testing.T) {
	e := load(t, base, towers, shop, "policy: {profile: fast}\n")
	s := simulation(t, e, certain(), "pangyo")
	f := s.Gather(7, []simulate.Outcome{s.Once(luck(0)), s.Once(luck(1))})
	if f.All.P50 != 63 || f.Runs != 2 || f.Seed != 7 || len(f.Never) != 0 {
		t.Errorf("forecast %+v", f)
	}
	if len(f.Critical) == 0 || f.Critical[0].What != "start search" || f.Critical[0].Share != 1 || f.Critical[0].Seconds != 60 {
		t.Errorf("critical: %+v", f.Critical)
	}
	shopOf := f.Services[0]
	if shopOf.Name != "shop" || shopOf.P95 != 5 || shopOf.Over || *shopOf.RTO != 30 {
		t.Errorf("shop: %+v", shopOf)
	}
	slow := certain()
	slow.Sure = of(time.Minute)
	s = simulation(t, e, slow, "pangyo")
	if f := s.Gather(7, []simulate.Outcome{s.Once(luck(0))}); !f.Services[0].Over {
		t.Errorf("63 s are not over an RTO of 30 s: %+v", f.Services[0])
	}
}

func TestServersAreBootedAsPowerAndHandsAllow(t *testing.T) {
	m := certain()
	m.Power = []simulate.Power{{At: estate.Duration(10 * time.Hour), Share: 0.5}, {At: estate.Duration(20 * time.Hour), Share: 0.9}, {At: estate.Duration(80 * time.Hour), Share: 1}}
	m.Hand.Boots = 10
	s := simulation(t, load(t, base, towers, shop), m, "pangyo")
	for by, want := range map[time.Duration]int{
		10 * time.Hour: 0, 12 * time.Hour: 20, 15 * time.Hour: 50, 19 * time.Hour: 50, 21 * time.Hour: 60, 24 * time.Hour: 90, 79 * time.Hour: 90, 81 * time.Hour: 100, 99 * time.Hour: 100,
	} {
		if got := s.Booting(by); got != want {
			t.Errorf("after %v %d servers are booted, want %d", by, got, want)
		}
	}
}

func TestBadInputIsRefused(t *testing.T) {
	e := load(t, base, towers, shop)
	bad := certain()
	bad.Fails = 2
	back := certain()
	back.Power = []simulate.Power{{At: 2, Share: 1}, {At: 1, Share: 1}}
	for _, c := range []struct {
		lose []string
		m    simulate.Model
		says string
	}{
		{nil, certain(), "nothing is lost"},
		{[]string{"pangio"}, certain(), `did you mean "pangyo"`},
		{[]string{"pangyo"}, bad, "shares of all attempts"},
		{[]string{"pangyo"}, back, "only rise"},
	} {
		if _, err := simulate.New(e, c.lose, c.m); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want %q", c.lose, err, c.says)
		}
	}
}

// What never comes back does so in all runs, not in almost all.
func TestNeverIsNever(t *testing.T) {
	s, err := simulate.New(load(t, base, towers, "services: {lone: {tier: 0, load: 1, runs: {pangyo/web: 1}}}\n"), []string{"pangyo"}, certain())
	if err != nil {
		t.Fatal(err)
	}
	var outs []simulate.Outcome
	for n := range 10 {
		outs = append(outs, s.Once(luck(n)))
	}
	if f := s.Gather(1, outs); f.Services[0].Never != 1 {
		t.Errorf("in %v of the runs", f.Services[0].Never)
	}
}
