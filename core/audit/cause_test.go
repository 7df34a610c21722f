package audit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/haechi/haechi/core/audit"
)

// findings draws the findings of one rule: component, severity, cause and chain.
func findings(t *testing.T, rule audit.Rule, text string) []string {
	t.Helper()
	var out []string
	for _, f := range of(t, load(t, text)).Findings {
		if f.Rule == rule {
			out = append(out, fmt.Sprintf("%s %s %s [%s]", f.Component, f.Severity, f.Cause, strings.Join(f.Chain, " ")))
		}
	}
	return out
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("found\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

const threeSites = `
haechi: v1
estate: x
sites: {s0: {}, s1: {}, s2: {}}
pools:
  s0/a: {site: s0, servers: 9}
  s0/b: {site: s0, servers: 9}
  s1/a: {site: s1, servers: 9}
  s1/b: {site: s1, servers: 9}
`

func TestALinkWhoseSiteIsLostIsTheCause(t *testing.T) {
	text := threeSites + `
links: {line: {between: [s0, s1]}}
services: {front: {tier: 0, runs: {s0/a: 1, s1/a: 1}, requires: [line]}}
`
	want(t, findings(t, audit.SiteLoss, text), "front critical line [front line]")
	want(t, findings(t, audit.SPOF, text), "front critical line [front line]")
}

// What is needed beside it lives elsewhere, so that not the service is down, but its instance here.
func TestAnInstanceBesideItIsFollowed(t *testing.T) {
	text := threeSites + `
services:
  front: {tier: 0, runs: {s0/a: 1, s0/b: 1}, requires: [back@same-site]}
  back: {tier: 0, runs: {s0/b: 1, s1/b: 1}}
`
	want(t, findings(t, audit.SPOF, text), "front critical back [front back]")
	want(t, findings(t, audit.SiteLoss, text), "front critical front [front]")
}

// A service that is down as a whole takes along what needs it beside it, for its own reason.
func TestTheWholeOfWhatIsBesideItIsFollowedFirst(t *testing.T) {
	text := threeSites + `
services:
  front: {tier: 0, runs: {s0/a: 1, s1/a: 1}, requires: [back@same-site]}
  back: {tier: 0, runs: {s0/b: 1, s1/b: 1}, requires: [ledger]}
  ledger: {tier: 0, runs: {s0/b: 1}}
`
	want(t, findings(t, audit.SiteLoss, text),
		"back critical ledger [back ledger]", "front critical ledger [front back ledger]", "ledger critical ledger [ledger]")
}

// A service and its instance beside me are one thing, not two alternatives.
func TestWhatIsNeededBesideItIsNoAlternative(t *testing.T) {
	text := threeSites + `
external: {owner: {}}
services:
  front: {tier: 0, runs: {s0/a: 1, s1/a: 1}, requires: [back@same-site]}
  back: {tier: 0, runs: {s0/b: 1, s1/b: 1}, requires: [{any: [lines@same-site, owner]}, owner]}
  lines: {tier: 0, runs: {s0/b: 1, s1/b: 1}, requires: [owner]}
`
	want(t, findings(t, audit.SharedFate, text), "back high owner [back owner]")
}

// An any that holds an instance beside me is where the search stops, and what fell of it are components.
func TestAnAnyBesideItIsTheCause(t *testing.T) {
	text := threeSites + `
scenarios: {all: [s0/b, s1/b, spare]}
external: {spare: {}}
services:
  front: {tier: 0, runs: {s0/a: 1, s1/a: 1}, requires: [{any: [back@same-site, spare]}]}
  back: {tier: 0, runs: {s0/b: 1, s1/b: 1}}
`
	want(t, findings(t, audit.SPOF, text), "back critical back [back]", "front critical front [front]")
}

// The severity is that of the whole set, of which the chain shows one ring.
func TestARingIsAsBadAsItsBestMember(t *testing.T) {
	want(t, findings(t, audit.BootstrapCycle, threeSites+`
services:
  a: {tier: 2, runs: {s0/a: 1, s1/a: 1}, after: [{any: [b, c]}]}
  b: {tier: 2, runs: {s0/a: 1, s1/a: 1}, after: [a]}
  c: {tier: 0, runs: {s0/a: 1, s1/a: 1}, after: [a]}
`), "a high a [a b]")
}

// What is wanted, or needed to start, is nobody's redundancy.
func TestWhatIsWantedDeclaresNoAlternatives(t *testing.T) {
	text := threeSites + `
domains:
  s0/duct: {site: s0}
  s0/line-1: {site: s0, requires: [s0/duct]}
  s0/line-2: {site: s0, requires: [s0/duct]}
services:
  front: {tier: 0, runs: {s0/a: 1, s1/a: 1}, wants: [{any: [s0/line-1, s0/line-2]}], after: [{any: [s0/line-1, s0/line-2]}]}
`
	want(t, findings(t, audit.SharedFate, text))
	want(t, findings(t, audit.SharedFate, strings.Replace(text, "wants", "requires", 1)), "front high s0/duct [front s0/duct]")
}

// A copy in a store or service that stands beside the members is not outside.
func TestABackupInAStoreStandsWhereItsMembersDo(t *testing.T) {
	text := threeSites + `
stores:
  db: {engine: x, members: {a: {site: s0}, b: {site: s1}}, backup: [{at: objects, every: 1d}]}
  objects: {engine: x, members: {a: {site: s1}}, backup: [{at: s2, every: 1d}]}
`
	want(t, findings(t, audit.Backup, text), "db medium db [db]")
	want(t, findings(t, audit.Backup, strings.Replace(text, "{a: {site: s1}}", "{a: {site: s2}}", 1)), "objects medium objects [objects]")
}
