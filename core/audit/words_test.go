package audit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/audit"
)

// saying audits a file that adds to three sites, and returns what is said of a component by a rule.
func saying(t *testing.T, rule audit.Rule, component, text string) string {
	t.Helper()
	r, err := audit.Audit(audit.Input{Estate: load(t, threeSites+text), Now: time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		return err.Error()
	}
	for _, f := range r.Findings {
		if f.Rule == rule && f.Component == component {
			return f.Message + "; do: " + f.Remedy
		}
	}
	return ""
}

func TestWhatIsSaidNamesWhatItIsAbout(t *testing.T) {
	for _, c := range []struct {
		rule            audit.Rule
		component, text string
		want            string
	}{
		{audit.SPOF, "front", `
domains: {s0/duct: {site: s0}, s0/line-1: {site: s0, requires: [s0/duct]}, s0/line-2: {site: s0, requires: [s0/duct]}}
services: {front: {tier: 0, runs: {s0/a: 1, s1/a: 1}, requires: [{any: [s0/line-1, s0/line-2]}]}}
`, "too few of what front may use instead of each other are left without s0/line-1 and s0/line-2"},
		{"", "", `
services: {front: {tier: 0, runs: {s0/a: 1}, requires: [back@same-site]}, back: {tier: 0, runs: {s1/a: 1}}}
`, "front is down with nothing lost: front runs in s0 alone, and there is no back in s0, which it needs beside it\ncorrect that first"},
		{audit.Untested, "s0", "policy: {drill-every: 12h}", "in the last 12h,"},
		{audit.Untested, "s0", "policy: {drill-every: 90d}", "in the last 90d,"},
		{audit.PagePath, "crew", `
external: {carrier: {}}
channels: {sms: {kind: sms, requires: [carrier]}}
teams: {crew: {channels: [sms]}}
`, "crew has no channel but sms, and cannot be reached when that is lost; do: give crew a second channel"},
		{audit.PagePath, "crew", `
external: {carrier: {}, other: {}}
channels: {sms: {kind: sms, requires: [carrier]}, call: {kind: call, requires: [other]}}
teams: {crew: {channels: [sms, call]}}
`, ""},
		{audit.RPO, "front", `
stores: {db: {engine: x, members: {a: {site: s0}, b: {site: s1}}, primary: a, acknowledge: {any: 0}, lag: 90m}}
services: {front: {tier: 0, rpo: 5m, runs: {s0/a: 1, s1/a: 1}, requires: [db]}}
`, "may lose 1h30m of what it was told is saved when s0 is lost, more than its rpo of 5m:"},
	} {
		got := saying(t, c.rule, c.component, c.text)
		if !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s of %s: %q, want %q", c.rule, c.component, got, c.want)
		}
	}
}

// A time that is too late never reads as just in time.
func TestATimeThatIsTooLateReadsSo(t *testing.T) {
	for within, want := range map[time.Duration]string{2001 * time.Millisecond: "within 2.01s", 60400 * time.Millisecond: "within 1m1s", 3 * time.Second: "within 3s"} {
		e := load(t, threeSites+`
stores: {db: {engine: x, members: {a: {site: s0}, b: {site: s1}, c: {site: s2}}, primary: a}}
services: {front: {tier: 0, rto: 2s, runs: {s0/a: 1, s1/a: 1}, requires: [db]}}
`)
		r, err := audit.Audit(audit.Input{Estate: e, Back: func(string, []string) (audit.Return, bool) { return audit.Return{Within: within}, true }})
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for _, f := range r.Findings {
			if f.Rule == audit.RTO {
				said += f.Message
			}
		}
		if !strings.Contains(said, want) || !strings.Contains(said, "rto of 2s") {
			t.Errorf("%v: %q", within, said)
		}
	}
}

// What a part of a site takes along is reported where it is asked for: the services that it touches, and no other.
func TestPartsSayWhatTheyTouch(t *testing.T) {
	e := load(t, threeSites+`
external: {licences: {}, unused: {}}
services:
  front: {tier: 0, runs: {s0/a: 1, s1/a: 1}, wants: [licences]}
  back: {tier: 0, load: 2, runs: {s0/b: 1, s1/b: 1}}
  books: {tier: 1, runs: {s1/b: 1}, requires: [licences]}
`)
	r, err := audit.Audit(audit.Input{Estate: e, Parts: true})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]map[string]string{}
	for n, s := range r.Parts {
		got[n] = s.Services
	}
	if diff := cmp.Diff(got["licences"], map[string]string{"front": "degraded", "books": "down"}); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(got["s1/b"], map[string]string{"books": "down"}); diff != "" {
		t.Error(diff)
	}
	if _, touched := got["unused"]; touched || got["s0"] != nil {
		t.Errorf("%v", got)
	}
	if r, _ := audit.Audit(audit.Input{Estate: e}); len(r.Parts) > 0 {
		t.Errorf("nobody asked for %v", r.Parts)
	}
}
