package audit_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
)

// sound draws an estate in which nothing is down with nothing lost.
func sound(t *rapid.T) (string, estate.Estate) {
	text := estateText(t) + rapid.SampledFrom([]string{"", "policy: {shed: [3]}\n", "policy: {shed: [3, 2]}\n"}).Draw(t, "shed") +
		"channels: {c0: {kind: sms, requires: [e0]}, c1: {kind: call, requires: [e1]}}\nteams: {on-call: {channels: [c0, c1]}}\n"
	e, err := estate.Load([]estate.File{{Name: "x", Data: []byte(text)}}, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if _, err := audit.After(e); err != nil {
		t.Skip("down with nothing lost")
	}
	return text, e
}

func after(t *rapid.T, e estate.Estate, lose []string) audit.Aftermath {
	a, err := audit.After(e, lose...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// idle says whether servers may stand where nothing runs on them though their pool lives, since what is
// needed beside them is lost. Claims follow pools alone: such a service takes no others instead, and does
// once the pool is lost as well. Only what is up or down is compared then.
func idle(text string) bool { return strings.Contains(text, estate.SameSite) }

// A service that is down keeps its claim on servers, so that nobody gains by another's loss.
func TestLosingMoreNeverMakesAnythingBetter(t *testing.T) {
	order := []string{"up", "degraded", "down"}
	rapid.Check(t, func(t *rapid.T) {
		text, e := sound(t)
		all := after(t, e, nil).Components
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, 3, rapid.ID[string]).Draw(t, "some")
		more := append(slices.Clone(some), rapid.SampledFrom(all).Draw(t, "more"))
		few, many := after(t, e, some), after(t, e, more)
		for _, n := range services(e) {
			a, b := few.Services[n], many.Services[n]
			if idle(text) && b != "down" {
				if a == "down" {
					t.Fatalf("%s is down without %v, and %s without %v", n, some, b, more)
				}
				continue
			}
			if slices.Index(order, a) > slices.Index(order, b) {
				t.Fatalf("%s is %s without %v, and %s without %v", n, a, some, b, more)
			}
			if a, b := few.Shortfall[n], many.Shortfall[n]; a > b && many.Services[n] != "down" {
				t.Fatalf("%s lacks %v servers without %v, and %v without %v", n, a, some, b, more)
			}
		}
	})
}

func audited(t *rapid.T, e estate.Estate) audit.Report {
	r, err := audit.Audit(audit.Input{Estate: e})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// worse says which finding of the rules about losses one report has and another has not. Short of servers is
// no worse than down: a feed from another site may turn the one into the other.
func worse(was, is audit.Report, idle bool) string {
	had := map[string]bool{}
	for _, f := range was.Findings {
		had[string(f.Rule)+f.Component] = true
	}
	for _, f := range is.Findings {
		if had[string(f.Rule)+f.Component] {
			continue
		}
		switch f.Rule {
		case audit.SiteLoss, audit.SPOF:
			return f.Message
		case audit.Capacity:
			for site, s := range is.Survives {
				if !idle && s.Shortfall[f.Component] > 0 && was.Survives[site].Services[f.Component] != "down" {
					return f.Message
				}
			}
		}
	}
	return ""
}

func TestMoreOfAnythingAddsNoLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, e := sound(t)
		was := audited(t, e)
		what := rapid.SampledFrom([]string{"feed", "server", "channel"}).Draw(t, "what")
		n := fmt.Sprintf("p%d", rapid.IntRange(0, 4).Draw(t, "pool"))
		p := e.Pools[n]
		switch what {
		case "feed": // one more that the pool may use instead
			at := slices.IndexFunc(p.Requires, func(n estate.Need) bool { return n.Of != nil })
			if at < 0 {
				t.Skip("it has no alternatives")
			}
			e.Domains["feed"] = estate.Domain{Site: p.Site}
			p.Requires[at].Of = append(p.Requires[at].Of, estate.Need{Name: "feed"})
		case "server":
			p.Servers += rapid.IntRange(1, 20).Draw(t, "servers")
		case "channel":
			e.Channels["c2"] = estate.Channel{Kind: "mail"}
			e.Teams["on-call"] = estate.Team{Channels: []string{"c0", "c1", "c2"}}
		}
		e.Pools[n] = p
		if said := worse(was, audited(t, e), idle(text)); said != "" {
			t.Fatalf("one more %s: %s", what, said)
		}
	})
}

// shuffled has its sections, and the lines in them, in another order.
func shuffled(t *rapid.T, text string) string {
	var sections [][]string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, " ") {
			last := len(sections) - 1
			sections[last] = append(sections[last], line)
			continue
		}
		sections = append(sections, []string{line})
	}
	var out strings.Builder
	for _, s := range rapid.Permutation(sections).Draw(t, "sections") {
		out.WriteString(s[0])
		for _, line := range rapid.Permutation(s[1:]).Draw(t, "lines") {
			out.WriteString(line)
		}
	}
	return out.String()
}

func TestOrderOfKeysChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, e := sound(t)
		again, err := estate.Load([]estate.File{{Name: "x", Data: []byte(shuffled(t, text))}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, e := range []estate.Estate{e, again} {
			r, err := audit.Audit(audit.Input{Estate: e, Depth: 2})
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			said = append(said, string(b))
		}
		if said[0] != said[1] {
			t.Fatalf("in another order it says\n%s\nand in the first\n%s", said[1], said[0])
		}
	})
}
