package replay_test

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/replay"
	"github.com/haechi/haechi/core/simulate"
	"github.com/haechi/haechi/examples"
)

var rewrite = flag.Bool("rewrite", false, "write the estates again")

var all = []string{"kakao-2022", "daejeon-2025"}

func load(t *testing.T, name string) replay.Replay {
	t.Helper()
	r, err := replay.Load(name, examples.Files.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// few runs each case a few times; only starts and boots have luck.
func few(n int, count *int) replay.Run {
	return func(s *simulate.Simulation) (simulate.Forecast, error) {
		*count++
		var outs []simulate.Outcome
		for i := range n {
			outs = append(outs, s.Once(rand.New(rand.NewPCG(1, uint64(i)))))
		}
		return s.Gather(1, outs), nil
	}
}

func report(t *testing.T, name string, runs int) replay.Report {
	t.Helper()
	r, count := load(t, name), 0
	out, err := r.Report(1, few(runs, &count))
	if err != nil {
		t.Fatal(err)
	}
	if count != r.Cases() {
		t.Errorf("%d cases were simulated, %d announced", count, r.Cases())
	}
	return out
}

func TestAtMostSixNumbersAreAssumed(t *testing.T) {
	for _, name := range all {
		r := load(t, name)
		if a := r.Assumed(); len(a) == 0 || len(a) > 6 {
			t.Errorf("%s assumes %v", name, a)
		}
	}
}

func TestTheEstatesOnDiskAreWhatIsReplayed(t *testing.T) {
	for _, name := range all {
		r := load(t, name)
		want, err := r.EstateFile(replay.Case{})
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join("../../examples", name, "estate.yaml")
		if *rewrite {
			if err := os.WriteFile(at, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(at); err != nil || string(got) != want {
			t.Errorf("%s is not what the replay draws (%v); go test ./core/replay -rewrite writes it", at, err)
		}
	}
}

func TestKakaoComesNearWhatWasPublished(t *testing.T) {
	r := report(t, "kakao-2022", 5)
	if len(r.Readings) != 2 || r.Readings[0].ID != "hands" {
		t.Fatalf("%d readings", len(r.Readings))
	}
	within := map[string]float64{"messages": 0.2, "everything": 0.2, "noon": 0.3, "fourth": 0.3}
	for _, read := range r.Readings {
		if len(read.Compared) != len(within) {
			t.Errorf("%s compares %d figures", read.ID, len(read.Compared))
		}
		for _, c := range read.Compared {
			if c.Within != within[c.ID] || math.Abs(c.Off) > c.Within {
				t.Errorf("reading %s: %s is %v, published %v, which is off by %v; it may be off by %v", read.ID, c.ID, c.Simulated, c.Published, c.Off, within[c.ID])
			}
		}
	}
	for _, read := range r.Readings {
		remediesMakeSense(t, read)
	}
	saysWhyNothingIsBought(t, r)
	promisesOfTheText(t, r)
}

// remediesMakeSense checks what must hold whatever the numbers are: no remedy does harm, and none buys
// more than all together.
func remediesMakeSense(t *testing.T, read replay.Read) {
	t.Helper()
	for _, c := range read.Compared {
		if c.What != replay.Back && c.What != replay.Everything {
			continue
		}
		all := c.Simulated - read.Together[c.ID]
		if read.Together[c.ID] <= 0 || all <= 0 {
			t.Errorf("%s: with all remedies %s takes %v h", read.ID, c.ID, read.Together[c.ID])
		}
		for _, b := range read.Remedies {
			for how, x := range map[string]float64{"alone": b.Alone[c.ID], "last": b.Last[c.ID]} {
				if x < -0.05 || x > all+0.05 {
					t.Errorf("reading %s: %s buys %v h of %s %s, all together %v", read.ID, b.ID, x, c.ID, how, all)
				}
			}
		}
	}
}

// saysWhyNothingIsBought: where a remedy alone buys nothing there is a sentence, and only there.
func saysWhyNothingIsBought(t *testing.T, r replay.Report) {
	t.Helper()
	for _, read := range r.Readings {
		for _, b := range read.Remedies {
			for _, id := range slices.Sorted(maps.Keys(b.Alone)) {
				if zero, said := math.Abs(b.Alone[id]) < 0.05, b.Nothing[id].En != ""; zero != said {
					t.Errorf("reading %s: %s alone buys %v h of %s; a sentence that says why it is nothing: %v", read.ID, b.ID, b.Alone[id], id, said)
				}
			}
		}
	}
}

// promisesOfTheText holds the words of the file against what is simulated.
func promisesOfTheText(t *testing.T, r replay.Report) {
	t.Helper()
	if r.Readings[0].Compared[0].Known.En == "" || r.Readings[0].Compared[1].Known.En == "" || r.Readings[0].Compared[2].Known.En == "" {
		t.Error("three figures are fitted, and one of them does not say so")
	}
	for _, m := range r.Readings[0].Milestones {
		early := slices.Contains([]string{"login", "taxi", "map", "wallet"}, m.Service)
		if early != (m.Early() > 0.05) || m.Late() > 0.05 {
			t.Errorf("%s comes back at %v h, out at %v, back by %v; the limits of the replay say otherwise", m.Service, m.Simulated, m.Out, m.By)
		}
	}
	for _, m := range r.Readings[1].Moved {
		if m.Number == "stores" && m.Half["messages"] != m.As["messages"] {
			t.Errorf("in the other reading nothing is fitted to the messages, and yet half the stores change them from %v to %v", m.As["messages"], m.Half["messages"])
		}
	}
}

// With the copies of the object storage all in the room that burns, separate rooms buy next to nothing
// of the end, as the notes say.
func TestRoomsHelpOnlyWhatStandsInBoth(t *testing.T) {
	r, n := load(t, "kakao-2022"), 0
	apart := r.Remedies[5]
	if apart.ID != "rooms" {
		t.Fatal(apart.ID)
	}
	together := replay.Change{Estate: "hosts:\n{{range list \"channel drawer mail rest\"}}" +
		"  pangyo/{{.}}-files-b: {requires: [pangyo/{{.}}-1]}\n  pangyo/{{.}}-files-c: {requires: [pangyo/{{.}}-1]}\n{{end}}"}
	end := func(changes ...replay.Change) float64 {
		s, _, err := r.Simulation(replay.Case{Changes: changes})
		if err != nil {
			t.Fatal(err)
		}
		f, _ := few(5, &n)(s)
		return f.All.P50 / 3600
	}
	if was, is := end(), end(apart.Change, together); was-is > 1.5 || was-is < 0 {
		t.Errorf("the end moves from %v to %v h", was, is)
	}
}

func TestDaejeonIsNotMetAndSaysSo(t *testing.T) {
	r := report(t, "daejeon-2025", 1)
	if len(r.Limits) == 0 {
		t.Fatal("it says nowhere where it does not hold")
	}
	hands := map[string]replay.Compared{}
	for _, c := range r.Readings[0].Compared {
		hands[c.ID] = c
		if c.Within != 0 {
			t.Errorf("%s may be off by %v: nothing was promised", c.ID, c.Within)
		}
	}
	if hands["sep29"].Simulated != 56 || hands["sep29"].Published != 47 {
		t.Errorf("on the third day %v are back, %v were; the text says 56 and 47", hands["sep29"].Simulated, hands["sep29"].Published)
	}
	for _, id := range []string{"oct5", "oct10", "oct12", "oct17"} {
		if off := hands[id].Off; off < 0.7 || off > 1 {
			t.Errorf("%s is off by %v; the text says almost twice", id, off)
		}
	}
	if done := (21.75 + 709*0.75) / 24; hands["oct26"].Simulated != 709 || math.Round(done) != 23 {
		t.Errorf("by 26 October %v are back, and it takes %v days; the text says 23", hands["oct26"].Simulated, done)
	}
	for _, m := range r.Readings[0].Moved {
		if m.Number != "without" {
			continue
		}
		for _, id := range []string{"oct5", "oct10", "oct12", "oct17", "oct26", "oct31", "dec30"} {
			if off := m.Double[id]/hands[id].Published - 1; math.Abs(off) > 0.17 {
				t.Errorf("with twice the time %s is off by %v; the text says a sixth", id, off)
			}
		}
	}
	if c := r.Readings[1].Compared[0]; c.Off < 10 {
		t.Errorf("all at once is off by %v on the third day; the text says ten times", c.Off)
	}
	for _, n := range r.Numbers {
		if n.Label == replay.Assumed && n.Takes != "kakao-2022" {
			t.Errorf("%s is assumed here for the first time", n.Name)
		}
	}
}

// What the audit says of the estate as it was: all that stood in Pangyo alone is named, and what was
// replicated is not.
func TestTheAuditNamesWhatStoodInPangyoAlone(t *testing.T) {
	r := load(t, "kakao-2022")
	text, err := r.EstateFile(replay.Case{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := estate.Load([]estate.File{{Name: "estate.yaml", Data: []byte(text)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := audit.Audit(audit.Input{Estate: e, Now: time.Date(2022, 10, 14, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	var down []string
	for _, f := range rep.Findings {
		if f.Rule == "site-loss" {
			down = append(down, f.Component)
		}
	}
	slices.Sort(down)
	want := []string{"cache", "channel", "deploy", "drawer", "image-store", "login", "mail", "monitor", "photo", "repository", "rest", "switcher"}
	if !slices.Equal(down, want) {
		t.Errorf("the audit says that %v go down with a site, want %v", down, want)
	}
}

const small = `
replay: small
title: {en: Small, ko: 작은}
zone: "+09:00"
start: {at: 2022-10-15 15:19, source: somebody}
estate: e.yaml
lose: [a]
runs: 1
numbers:
  - {name: begin, title: {en: begin, ko: 시작}, value: 30, unit: min, label: assumed, why: {en: nobody knows, ko: 모름}}
  - {name: twice, title: {en: twice, ko: 두 배}, is: 2 * begin / 60, label: derived}
  - {name: back, title: {en: back, ko: 복구}, at: 2022-10-15 16:19, label: sourced, source: somebody}
model: {begin: begin, switch: twice}
readings: [{id: one, title: {en: One, ko: 하나}, why: {en: so, ko: 그래서}}]
published: [{id: x, title: {en: x, ko: 엑스}, what: back, service: shop, is: back}]
`

const smallEstate = `
haechi: v1
estate: small
sites: {a: {}, b: {}, c: {}}
stores: {db: {engine: x, members: {a: {site: a}, b: {site: b}, c: {site: c}}}}
services: {shop: {requires: [db]}}
`

func files(text string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		switch name {
		case "small/replay.yaml":
			return []byte(text), nil
		case "small/e.yaml":
			return []byte(smallEstate), nil
		}
		return nil, fmt.Errorf("no %s", name)
	}
}

func TestArithmeticIsDone(t *testing.T) {
	r, err := replay.Load("small", files(small))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	out, err := r.Report(1, few(1, &n))
	if err != nil {
		t.Fatal(err)
	}
	// half an hour until somebody begins, an hour to move the store
	if c := out.Readings[0].Compared[0]; c.Published != 1 || c.Simulated != 1.5 || c.Off != 0.5 {
		t.Errorf("compared: %+v", c)
	}
	if m := out.Readings[0].Moved[0]; m.Number != "begin" || m.Half["x"] != 0.75 || m.Double["x"] != 3 {
		t.Errorf("halved and doubled, and what is derived from it, too: %+v", m)
	}
}

func TestNoNumberWithoutItsLabel(t *testing.T) {
	for _, c := range []struct{ old, new, says string }{
		{"label: assumed, ", "", `number begin: label is ""; every number is sourced, derived or assumed`},
		{"label: assumed, ", "label: known, ", `label is "known"`},
		{"label: sourced, source: somebody", "label: sourced", "sourced: it needs its source"},
		{", why: {en: nobody knows, ko: 모름}", "", "assumed: it needs a why"},
		{"is: 2 * begin / 60", "value: 1", "derived: it needs its arithmetic"},
		{"is: 2 * begin / 60", "is: 2 * start / 60", `"start" is no number of this replay`},
		{"is: 2 * begin / 60", "is: 2 * twice + begin", "number twice is derived from itself"},
		{"is: 2 * begin / 60", "is: 2 / (begin - begin)", "divides by nothing"},
		{"is: 2 * begin / 60", "is: begin % 2", "arithmetic is names of numbers"},
		{"is: 2 * begin / 60", "is: begin, value: 3", "one of value, at and is"},
		{"switch: twice", "switch: 2", `"2" is no number of this replay; only numbers with a label count`},
		{"switch: twice", "crews: begin", "number twice is stated and never used"},
		{"2022-10-15 16:19", "16:19", "no time"},
		{"ko: 두 배", "ko: ''", "one language only"},
		{"start: {at: 2022-10-15 15:19, source: somebody}", "start: {at: 2022-10-15 15:19}", "start: it needs"},
		{"what: back, service", "what: gone, service", "what is one of back, everything, servers, systems"},
		{"runs: 1", "rounds: 1", "unknown field"},
		{"replay: small", "replay: large", "it has the name of its folder"},
		{"value: 30, unit: min, label: assumed, why: {en: nobody knows, ko: 모름}", "takes: small", "takes numbers from itself"},
	} {
		text := strings.Replace(small, c.old, c.new, 1)
		if text == small {
			t.Fatalf("%q is not in the file", c.old)
		}
		if _, err := replay.Load("small", files(text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v\nwant %q", c.new, err, c.says)
		}
	}
	if _, err := replay.Load("small", files(strings.Replace(small, "e.yaml", "f.yaml", 1))); err == nil || !strings.Contains(err.Error(), "f.yaml") {
		t.Errorf("an estate that is not there: %v", err)
	}
}

func TestChangesAreLaidOverTheEstate(t *testing.T) {
	r, err := replay.Load("small", files(small))
	if err != nil {
		t.Fatal(err)
	}
	text, err := r.EstateFile(replay.Case{Changes: []replay.Change{
		{Estate: "services: {shop: {tier: 1, requires: []}, {{range upto .begin}}s{{.}}: {}, {{end}} }"},
		{Estate: "stores: null"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]bool{"tier: 1": true, "db": false, "engine": false, "s30": true, "s31": false, "estate: small": true} {
		if strings.Contains(text, what) != want {
			t.Errorf("%q in it: %v\n%s", what, !want, text)
		}
	}
	if _, err := r.EstateFile(replay.Case{Changes: []replay.Change{{Estate: "services: {{.nobody}}"}}}); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("a number that does not exist: %v", err)
	}
}
