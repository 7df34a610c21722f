package audit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/audit"
)

const small = `haechi: v1
estate: small
sites: {a: {}, b: {}}
domains: {a/ups: {site: a, kind: ups}}
pools: {a/web: {site: a, servers: 10, requires: [a/ups]}, b/web: {site: b, servers: 10}}
`

func drawChange(c audit.Change) string {
	var out []string
	for _, f := range c.New {
		out = append(out, fmt.Sprintf("new %s %s", f.Severity, f.ID()))
	}
	for _, f := range c.Gone {
		out = append(out, fmt.Sprintf("gone %s %s", f.Severity, f.ID()))
	}
	for _, x := range c.Changed {
		out = append(out, fmt.Sprintf("changed %s %s, worse %v", x.Is.Severity, x.Is.ID(), x.Worse()))
	}
	for _, m := range c.Moved {
		out = append(out, fmt.Sprintf("%s without %s: %s %v -> %s %v, worse %v", m.Service, m.Site, m.Was.State, m.Was.Shortfall, m.Is.State, m.Is.Shortfall, m.Worse()))
	}
	return strings.Join(out, "\n")
}

func TestDiffSaysWhatAChangeDoes(t *testing.T) {
	for _, c := range []struct{ name, was, is, want string }{
		{"nothing", "services: {web: {runs: {a/web: 5}}}", "services: {web: {runs: {a/web: 5}}}", ""},
		{
			"a second site", "services: {web: {load: 5, runs: {a/web: 5}}}", "services: {web: {load: 5, runs: {a/web: 5, b/web: 5}}}",
			"new low residual web\ngone critical site-loss web\ngone critical spof web\nweb without a: down 0 -> up 0, worse false",
		},
		{
			"more load", "services: {web: {load: 10, runs: {a/web: 10, b/web: 10}}}", "services: {web: {load: 14, runs: {a/web: 10, b/web: 10}}}",
			"new critical capacity web\nweb without a: up 0 -> degraded 4, worse true\nweb without b: up 0 -> degraded 4, worse true",
		},
		{
			"a better tier", "services: {web: {tier: 2, runs: {b/web: 5}}}", "services: {web: {tier: 1, runs: {b/web: 5}}}",
			"changed high site-loss web, worse true\nchanged high spof web, worse true",
		},
		{
			"taken on", "services: {web: {tier: 1, runs: {b/web: 5}}}",
			"services: {web: {tier: 1, runs: {b/web: 5}}}\naccepted: [{rule: spof, component: web, owner: kim, until: 2027-01-01, why: moves soon}]",
			"changed high spof web, worse false",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := audit.Diff(of(t, load(t, small+c.was)), of(t, load(t, small+c.is)))
			if diff := cmp.Diff(c.want, drawChange(got)); diff != "" {
				t.Error(diff)
			}
			if got.Empty() != (c.want == "") {
				t.Errorf("Empty() = %v", got.Empty())
			}
		})
	}
}

// What counts against a change is what it makes worse and nobody has taken on.
func TestChangeOpensWhatIsNewOrWorse(t *testing.T) {
	was := of(t, load(t, small+"services: {web: {tier: 3, runs: {b/web: 5}}, db: {tier: 0, runs: {a/web: 1}}}"))
	is := of(t, load(t, small+"services: {web: {tier: 0, runs: {b/web: 5}}, db: {tier: 0, runs: {a/web: 1}}, new: {tier: 0, runs: {a/web: 1}}}\naccepted: [{rule: spof, component: new, owner: kim, until: 2027-01-01, why: new}]"))
	var got []string
	for _, f := range audit.Diff(was, is).Open(audit.Critical) {
		got = append(got, f.ID())
	}
	if diff := cmp.Diff([]string{"site-loss new", "site-loss web", "spof web"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAcceptedRisks(t *testing.T) {
	e := load(t, small+`services: {web: {runs: {a/web: 5}}}
accepted:
  - {rule: spof, component: web, owner: kim, until: 2026-11-26, why: over today}
  - {rule: site-loss, component: web, owner: lee, until: 2026-11-27, why: until tomorrow}
  - {rule: spof, component: wen, owner: park, until: 2027-01-01, why: a slip}
`)
	at := func(now time.Time) string {
		r, err := audit.Audit(audit.Input{Estate: e, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, f := range r.Findings {
			if f.Accepted != nil {
				out = append(out, f.ID()+" accepted by "+f.Accepted.Owner)
			}
			if f.Lapsed != nil {
				out = append(out, f.ID()+" lapsed, was "+f.Lapsed.Owner+"'s")
			}
		}
		for _, a := range r.Unused {
			out = append(out, "unused: "+a.Owner)
		}
		out = append(out, fmt.Sprint(len(r.Open(audit.Critical)), " open"))
		return strings.Join(out, "; ")
	}
	day := func(d int) time.Time { return time.Date(2026, 11, d, 0, 0, 0, 0, time.UTC) }
	for now, want := range map[time.Time]string{
		day(25):                       "site-loss web accepted by lee; spof web accepted by kim; unused: park; 0 open",
		day(26).Add(-time.Nanosecond): "site-loss web accepted by lee; spof web accepted by kim; unused: park; 0 open",
		day(26):                       "site-loss web accepted by lee; spof web lapsed, was kim's; unused: park; 1 open",
		day(27):                       "site-loss web lapsed, was lee's; spof web lapsed, was kim's; unused: park; 2 open",
	} {
		if got := at(now); got != want {
			t.Errorf("on %v: %s; want %s", now, got, want)
		}
	}
}

func TestBlastSaysWhatFallsAndWhatIsShort(t *testing.T) {
	e := load(t, small+"services: {web: {load: 12, runs: {a/web: 5, b/web: 7}}, api: {runs: {a/web: 5}}}")
	got, err := audit.Blast(e, "a/ups")
	if err != nil {
		t.Fatal(err)
	}
	want := audit.Fallen{
		Lost:  []string{"a/ups"},
		Falls: map[string][]string{"pool": {"a/web"}, "service": {"api"}},
		Why:   map[string]string{"api": "api runs in a alone"},
		Survival: audit.Survival{
			Services:  map[string]string{"api": "down", "web": "degraded"},
			Shortfall: map[string]float64{"web": 2},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := audit.Blast(e, "a/upp"); err == nil || !strings.Contains(err.Error(), `did you mean "a/ups"?`) {
		t.Errorf("an unknown component: %v", err)
	}
}
