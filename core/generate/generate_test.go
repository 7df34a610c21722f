package generate_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/generate"
	"github.com/haechi/haechi/core/simulate"
)

var today = time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)

// order is what to draw, with the seed of its luck.
type order struct {
	generate.Order
	seed uint64
}

func (o order) make() (estate.Estate, []generate.Answer, error) {
	return generate.Make(o.Order, rand.New(rand.NewPCG(o.seed, 0)))
}

// back simulates how services come back, as haechi audit does.
func back(e estate.Estate) audit.Back {
	return simulate.Back(e, simulate.Defaults(e), func(n int) simulate.Chance { return rand.New(rand.NewPCG(1, uint64(n))) })
}

// aSize draws a size, small to middling.
func aSize(r *rand.Rand) generate.Order {
	o := generate.Order{Sites: 2 + r.IntN(3), Services: 10 + r.IntN(50)}
	if r.IntN(10) == 0 {
		o.Sites += r.IntN(6)
	}
	o.Servers = 6*o.Services + 20*o.Sites + r.IntN(1+r.IntN(20_000))
	return o
}

func TestPlantedFaultsAreFoundAndNothingElse(t *testing.T) {
	estates := 0
	prove := func(o order) {
		estates++
		t.Run(fmt.Sprintf("%d-%d-%d-%d-%s", o.Sites, o.Servers, o.Services, o.seed, strings.Join(o.Plant, ",")), func(t *testing.T) {
			t.Parallel()
			foundAndNothingElse(t, o)
		})
	}
	const seeds = 5
	for _, rule := range generate.Rules() {
		for seed := range uint64(seeds) {
			o := order{aSize(rand.New(rand.NewPCG(seed, uint64(len(rule))))), seed}
			o.Plant = []string{rule}
			prove(o)
		}
	}
	for seed := range uint64(2 * seeds) { // more faults than there are services and stores to break
		o := order{generate.Order{Sites: 2 + int(seed%2), Servers: 140, Services: 10, Plant: generate.Rules()}, seed}
		o.Plant = append(o.Plant, "site-loss", "spof", "spof", "shared-fate", "rpo", "rpo", "rpo", "quorum", "quorum", "backup", "bootstrap-cycle", "page-path", "page-path")
		prove(o)
	}
	for seed := uint64(seeds); estates < 200; seed++ {
		r := rand.New(rand.NewPCG(seed, 0))
		o := order{aSize(r), seed}
		for range r.IntN(12) {
			o.Plant = append(o.Plant, generate.Rules()[r.IntN(len(generate.Rules()))])
		}
		prove(o)
	}
}

func foundAndNothingElse(t *testing.T, o order) {
	e, answers, err := o.make()
	if err != nil {
		t.Fatal(err)
	}
	text := generate.Text(e)
	loaded, err := estate.Load([]estate.File{{Name: "generated.yaml", Data: text}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(e, loaded); d != "" {
		t.Fatalf("the text says something else (-drawn +read):\n%s", d)
	}
	for _, rule := range o.Plant {
		if !slices.ContainsFunc(answers, func(a generate.Answer) bool { return a.Rule == rule }) {
			t.Errorf("%s was planted, and no answer says where", rule)
		}
	}
	report, err := audit.Audit(audit.Input{Estate: loaded, Now: today, Back: back(loaded)})
	if err != nil {
		t.Fatal(err)
	}
	var found []generate.Answer
	said := map[generate.Answer]audit.Finding{}
	for _, f := range report.Findings {
		a := generate.Answer{Rule: string(f.Rule), Component: f.Component, Severity: string(f.Severity), Cause: f.Cause}
		if f.Severity != audit.Low || slices.Contains(answers, a) {
			found = append(found, a)
			said[a] = f
		}
	}
	for _, a := range answers {
		if !slices.Contains(found, a) {
			t.Errorf("missed %v", a)
		}
	}
	for _, a := range found {
		if !slices.Contains(answers, a) {
			t.Errorf("false %v: %v: %s", a, said[a].Scenario, said[a].Message)
		}
	}
}

func TestEqualOrdersGiveEqualBytes(t *testing.T) {
	o := order{generate.Order{Sites: 3, Servers: 32_000, Services: 134, Plant: generate.Rules()}, 41}
	one, answers, err := o.make()
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(o.Plant)
	two, again, err := o.make()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(generate.Text(one), generate.Text(two)) {
		t.Error("the same order drew two estates")
	}
	if d := cmp.Diff(answers, again); d != "" {
		t.Error("the same order gave two answers", d)
	}
}

// The largest and the smallest are estates, too: in one file that is read.
func TestAllSizesAreDrawn(t *testing.T) {
	for _, o := range []generate.Order{
		{Sites: 2, Servers: 100, Services: 10},
		{Sites: 30, Servers: 660, Services: 10},
		{Sites: 2, Servers: 24_040, Services: 4000},
		{Sites: 30, Servers: 1_000_000, Services: 4000, Plant: generate.Rules()},
	} {
		e, _, err := order{o, 1}.make()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := estate.Load([]estate.File{{Name: "generated.yaml", Data: generate.Text(e)}}, nil); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
		servers := 0
		for _, p := range e.Pools {
			servers += p.Servers
		}
		if o.Plant == nil && (servers != o.Servers || len(e.Services) != o.Services) {
			t.Errorf("%+v: drawn were %d servers, %d services", o, servers, len(e.Services))
		}
	}
}

func TestWhatCannotBeDrawnIsRefused(t *testing.T) {
	for _, c := range []struct {
		order generate.Order
		says  string
	}{
		{generate.Order{Sites: 1, Servers: 1000, Services: 10}, "1 sites: an estate can be drawn with 2 to 30"},
		{generate.Order{Sites: -3, Servers: 1000, Services: 10}, "-3 sites"},
		{generate.Order{Sites: 3, Servers: 1_000_001, Services: 10}, "1000001 servers: an estate can be drawn with 100 to 1000000"},
		{generate.Order{Sites: 3, Servers: 1000, Services: 4001}, "4001 services: an estate can be drawn with 10 to 4000"},
		{generate.Order{Sites: 3, Servers: 119, Services: 10}, "at least 120"},
		{generate.Order{Sites: 3, Servers: 1000, Services: 10, Plant: []string{"spof", "gremlins"}}, `"gremlins" is no rule`},
		{generate.Order{Sites: 3, Servers: 1000, Services: 10, Plant: []string{"stale"}}, "stale cannot be planted"},
		{generate.Order{Sites: 3, Servers: 1000, Services: 10, Plant: slices.Repeat([]string{"link-capacity"}, 4)}, "too small for so many faults: link-capacity"},
	} {
		_, _, err := order{c.order, 1}.make()
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.order, err, c.says)
		}
	}
}

// A default estate is what a company might have.
func TestADrawnEstateIsPlausible(t *testing.T) {
	e, answers, err := order{generate.Order{Sites: 3, Servers: 32_000, Services: 134}, 41}.make()
	if err != nil {
		t.Fatal(err)
	}
	if len(answers) > 0 {
		t.Errorf("nothing was planted, and the answers name %v", answers)
	}
	tiers := map[int]int{}
	for _, s := range e.Services {
		tiers[s.Tier]++
	}
	if !(tiers[0] > 0 && tiers[0] < tiers[1] && tiers[1] < tiers[2]) || tiers[2]+tiers[3] < 90 {
		t.Errorf("tiers %v: few are critical, most can wait", tiers)
	}
	engines := map[string]bool{}
	for _, s := range e.Stores {
		engines[s.Engine] = true
	}
	if len(engines) < 5 {
		t.Errorf("only these kinds of stores: %v", engines)
	}
	for _, tool := range []estate.ServiceID{"deploy", "registry", "images", "access", "monitor", "pager", "names"} {
		if _, ok := e.Services[tool]; !ok {
			t.Errorf("no %s", tool)
		}
	}
}
