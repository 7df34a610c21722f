package situation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// home is an estate in which pangyo comes back, watched by two observers and ansan's tower.
func home() estate.Estate {
	return estate.Estate{
		Sites:    map[estate.SiteID]estate.Site{"pangyo": {}, "ansan": {}},
		Services: map[estate.ServiceID]estate.Service{"talk": {Probes: []estate.Probe{{HTTP: "http://{address}/"}}}},
		Names:    map[estate.NameID]estate.Name{"talk.": {Service: "talk", Answers: map[estate.SiteID][]string{"pangyo": {"10.1.0.5"}, "ansan": {"10.2.0.5"}}}},
	}
}

// watched plays views, one a tenth of a second, and returns what was said. all begins after a second.
func watched(t *testing.T, seconds float64, here func(n int, l *situation.Look)) (why, seen string) {
	t.Helper()
	return seenBy(t, seconds, func(n int, l *situation.Look) {
		if l.Target == "pangyo/gateway/talk" {
			here(n, l)
		}
	})
}

// seenBy is watched, for what is seen of all sites.
func seenBy(t *testing.T, seconds float64, look func(n int, l *situation.Look)) (why, seen string) {
	t.Helper()
	p, err := situation.Named("fast")
	if err != nil {
		t.Fatal(err)
	}
	u, at := situation.NewUsers(home(), p, "talk", "pangyo"), time.Unix(1000, 0)
	for n := range int(seconds * 10) {
		var told []situation.Told
		for _, who := range []string{"isp-a", "tower-ansan", "tower-pangyo"} {
			v := situation.View{Observer: who, Seq: uint64(n + 1)}
			if site, ok := strings.CutPrefix(who, "tower-"); ok {
				v.Site = estate.SiteID(site)
			}
			for _, target := range []string{"ansan/gateway/talk", "pangyo/gateway/talk"} {
				l := situation.Look{Target: target, Ever: true, Silent: 10 * time.Millisecond, Took: 2 * time.Millisecond}
				look(n, &l)
				v.Looks = append(v.Looks, l)
			}
			told = append(told, situation.Told{View: v, Age: 20 * time.Millisecond})
		}
		if why := u.See(told, at.Add(time.Duration(n)*100*time.Millisecond), n >= 10); why != "" {
			return why, ""
		}
	}
	return u.Judge()
}

func TestUsersFareWell(t *testing.T) {
	why, seen := watched(t, 3, func(int, *situation.Look) {})
	if want := "isp-a and tower-ansan see it answer in 2ms, elsewhere and before 2ms"; why != "" || seen != want {
		t.Fatalf("%q, %q; want %q", why, seen, want)
	}
}

func TestUsersFareBadly(t *testing.T) {
	for name, c := range map[string]struct {
		look func(n int, l *situation.Look)
		want string
	}{
		"errors":  {func(_ int, l *situation.Look) { l.Facts = map[string]string{situation.FactStatus: "503"} }, "isp-a: talk in pangyo answers with status 503"},
		"refused": {func(n int, l *situation.Look) { l.Refused, l.Why = n > 5, "connection refused" }, "isp-a: talk in pangyo refuses: connection refused"},
		"silent":  {func(n int, l *situation.Look) { l.Silent = time.Duration(n) * 100 * time.Millisecond }, "isp-a: talk in pangyo is silent for"},
		"slow once they came": {func(n int, l *situation.Look) {
			if n >= 10 {
				l.Took = 80 * time.Millisecond
			}
		}, "users wait too long: isp-a and tower-ansan see it answer in 80ms, elsewhere and before 2ms"},
		"every second look fails": {func(n int, l *situation.Look) {
			if n%2 == 0 {
				l.Why = "no answer in time"
			}
		}, "users are not always answered: 20 of 40 looks failed, elsewhere 0 of 40"},
		"nobody looks": {func(_ int, l *situation.Look) { l.Took = 0 }, "nobody who looks as users do was heard of pangyo"},
	} {
		if why, _ := watched(t, 3, c.look); !strings.HasPrefix(why, c.want) {
			t.Errorf("%s: %q, want %q", name, why, c.want)
		}
	}
}

// One bad look is no complaint, and a site that always was further away is not slow.
func TestUsersBearWhatPasses(t *testing.T) {
	for name, look := range map[string]func(n int, l *situation.Look){
		"one refusal": func(n int, l *situation.Look) { l.Refused = n == 12 },
		"far away":    func(_ int, l *situation.Look) { l.Took = 90 * time.Millisecond },
	} {
		if why, _ := watched(t, 3, look); why != "" {
			t.Errorf("%s: %q", name, why)
		}
	}
}

// While a database moves, nobody is answered anywhere: that is no reason to send users away from one site.
func TestWhatIsAmissEverywhereIsNotTheSites(t *testing.T) {
	why, _ := seenBy(t, 3, func(n int, l *situation.Look) {
		if n >= 10 && n < 25 {
			l.Facts = map[string]string{situation.FactStatus: "503"}
		}
	})
	if why != "" {
		t.Error(why)
	}
}

// What the site's own tower says of it, and views that are old or come from somebody who was stopped, count for nothing.
func TestUsersAreSeenFromOutside(t *testing.T) {
	p, err := situation.Named("fast")
	if err != nil {
		t.Fatal(err)
	}
	bad := []situation.Look{{Target: "pangyo/gateway/talk", Ever: true, Refused: true}}
	u, at := situation.NewUsers(home(), p, "talk", "pangyo"), time.Unix(1000, 0)
	for n := range 30 {
		told := []situation.Told{
			{View: situation.View{Observer: "tower-pangyo", Site: "pangyo", Looks: bad}},
			{View: situation.View{Observer: "isp-a", Looks: bad}, Age: p.Stale + 1},
			{View: situation.View{Observer: "isp-b", Looks: bad, Late: p.Stall + 1}},
		}
		if why := u.See(told, at.Add(time.Duration(n)*100*time.Millisecond), true); why != "" {
			t.Fatal(why)
		}
	}
}
