package audit_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/simulate"
)

// blocks returns the YAML blocks of docs/audit.md by section; the first section is "".
func blocks(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	section := ""
	for part := range strings.SplitSeq(string(page), "\n## ") {
		if name, _, ok := strings.Cut(part, "\n"); ok && len(out) > 0 {
			section = name
		}
		for i, block := range strings.Split(part, "```yaml\n") {
			if text, _, ok := strings.Cut(block, "```"); ok && i > 0 {
				out[section] = append(out[section], "haechi: v1\n"+text)
			}
		}
	}
	return out
}

func load(t *testing.T, texts ...string) estate.Estate {
	t.Helper()
	var files []estate.File
	for i, text := range texts {
		files = append(files, estate.File{Name: fmt.Sprintf("%d.yaml", i), Data: []byte(text)})
	}
	e, err := estate.Load(files, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func of(t *testing.T, e estate.Estate) audit.Report {
	t.Helper()
	back := simulate.Back(e, simulate.Defaults(e), func(n int) simulate.Chance { return rand.New(rand.NewPCG(1, uint64(n))) })
	r, err := audit.Audit(audit.Input{Estate: e, Now: time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), Back: back,
		Seen: map[string]bool{"tower-4": false, "tower-5": true}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestThePageHasAnEstateForEachRule(t *testing.T) {
	all := blocks(t)
	for _, r := range audit.Rules() {
		if len(all[string(r)]) != 2 {
			t.Errorf("docs/audit.md has %d estates for %s", len(all[string(r)]), r)
		}
	}
}

func draw(fs []audit.Finding) string {
	var out []string
	for _, f := range fs {
		out = append(out, fmt.Sprintf("%s %s %s %v +%d cause %s: %s", f.Severity, f.Rule, f.Component, f.Scenario, f.Others, f.Cause, f.Message))
	}
	return strings.Join(out, "\n")
}

func TestThePagesFirstEstateIsSound(t *testing.T) {
	for _, f := range of(t, load(t, blocks(t)[""][0])).Findings {
		if f.Severity.Worse(audit.Medium) {
			t.Errorf("found %s", draw([]audit.Finding{f}))
		}
	}
}

// Each rule's first estate raises it, its second does not: the remedy, applied, makes it go away.
func TestThePagesEstatesRaiseTheirRules(t *testing.T) {
	all := blocks(t)
	base := all[""][0]
	known := map[string]bool{} // what the first estate of the page has anyway
	for _, f := range of(t, load(t, base)).Findings {
		known[string(f.Rule)+f.Component] = true
	}
	raised := func(t *testing.T, rule, text string) []audit.Finding {
		return slices.DeleteFunc(of(t, load(t, base, text)).Findings, func(f audit.Finding) bool {
			return string(f.Rule) != rule || known[rule+f.Component]
		})
	}
	for section, texts := range all {
		if section == "" {
			continue
		}
		t.Run(section, func(t *testing.T) {
			if len(texts) != 2 {
				t.Fatalf("%d estates on the page, want one that raises the rule and one that does not", len(texts))
			}
			if got := raised(t, section, texts[0]); len(got) == 0 {
				t.Errorf("the first estate does not raise it; found\n%s", draw(of(t, load(t, base, texts[0])).Findings))
			} else {
				t.Log(draw(got))
			}
			if got := raised(t, section, texts[1]); len(got) > 0 {
				t.Errorf("the second estate raises it, too:\n%s", draw(got))
			}
		})
	}
}
