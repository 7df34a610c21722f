package report_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/width"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/tower/report"
)

var rewrite = flag.Bool("rewrite", false, "write what is drawn over what the tests want")

// golden holds what is drawn against a file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func files(t *testing.T) []estate.File {
	t.Helper()
	data, err := os.ReadFile("testdata/estate.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return []estate.File{{Name: "estate.yaml", Data: data}}
}

func audited(t *testing.T, fs []estate.File) audit.Report {
	t.Helper()
	e, err := estate.Load(fs, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.Audit(audit.Input{Estate: e, Now: time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), Parts: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAuditAsText(t *testing.T) {
	var b bytes.Buffer
	report.Text(&b, audited(t, files(t)))
	golden(t, "audit.txt", b.Bytes())
}

func TestAuditAsMarkdown(t *testing.T) {
	var b bytes.Buffer
	report.Markdown(&b, audited(t, files(t)))
	golden(t, "audit.md", b.Bytes())
}

func TestAuditAsHTML(t *testing.T) {
	var b bytes.Buffer
	if err := report.HTML(&b, audited(t, files(t))); err != nil {
		t.Fatal(err)
	}
	golden(t, "audit.html", b.Bytes())
}

// changed is the estate with registry in two sites and less of shop in one.
func changed(t *testing.T) []estate.File {
	fs := files(t)
	fs[0].Data = []byte(strings.NewReplacer(
		"runs: {pangyo/web: 4}}", "runs: {pangyo/web: 4, ansan/web: 4}}",
		"anyang/web: 40}, requires", "anyang/web: 20}, requires",
		"tier: 3, rpo", "tier: 1, rpo",
	).Replace(string(fs[0].Data)))
	return fs
}

func TestChange(t *testing.T) {
	c := audit.Diff(audited(t, files(t)), audited(t, changed(t)))
	var text, md bytes.Buffer
	report.ChangeText(&text, c)
	report.ChangeMarkdown(&md, c)
	golden(t, "change.txt", text.Bytes())
	golden(t, "change.md", md.Bytes())
}

func TestBlastAndCuts(t *testing.T) {
	e, err := estate.Load(files(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := audit.Blast(e, "pangyo/battery")
	if err != nil {
		t.Fatal(err)
	}
	cuts, err := audit.Cuts(e, "help")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	report.BlastText(&b, f)
	b.WriteString("\n")
	report.CutsText(&b, "help", cuts)
	golden(t, "reach.txt", b.Bytes())
}

// many is a report in which one fault takes a hundred services down in thirty sites, with names and
// words as long as they come.
func many() audit.Report {
	r := audit.Report{Estate: "many", Survives: map[string]audit.Survival{}}
	long := strings.Repeat("very-long-name/", 16) + "x"
	for i := range 120 {
		name := "service-" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i%5) + "-" + string(rune('a'+i/26))
		r.Findings = append(r.Findings, audit.Finding{Rule: audit.SPOF, Severity: audit.Critical, Component: name, Cause: "registry", Scenario: []string{"registry"},
			Message: name + " is down when registry is lost: " + long, Remedy: "let it do without registry"})
	}
	r.Findings = append(r.Findings, audit.Finding{Rule: audit.Backup, Severity: audit.Medium, Component: long, Cause: long, Message: long, Remedy: "keep one",
		Accepted: &estate.Accepted{Owner: strings.Repeat("판교", 40), Why: strings.Repeat("가나다 ", 80) + "\x1b[31m\u202e"}})
	for i := range 30 {
		r.Survives["site-"+string(rune('a'+i))] = audit.Survival{Services: map[string]string{"a": "down", long: "degraded"}, Shortfall: map[string]float64{long: 12345.5}}
	}
	return r
}

func TestTextFitsATerminal(t *testing.T) {
	var b bytes.Buffer
	report.Text(&b, many())
	for line := range strings.Lines(b.String()) {
		n := 0
		for _, r := range strings.TrimSuffix(line, "\n") {
			if n++; width.LookupRune(r).Kind() == width.EastAsianWide {
				n++
			}
		}
		if n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.ContainsAny(b.String(), "\x1b\u202e") {
		t.Error("what steers a terminal went through")
	}
	if n := strings.Count(b.String(), "CRITICAL"); n != 1 {
		t.Errorf("one fault is drawn %d times", n)
	}
	if !strings.Contains(b.String(), "and 107 more") {
		t.Error("what hangs on the fault is not counted")
	}
}

// The finding on README's first screen is what haechi says.
func TestReadmeShowsAFinding(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	e, err := estate.Load([]estate.File{{Name: "messenger.yaml", Data: []byte(read("../../examples/messenger.yaml"))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.Audit(audit.Input{Estate: e})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	report.Text(&out, r)
	_, rest, _ := strings.Cut(read("../../README.md"), "`haechi audit examples/messenger.yaml`")
	_, rest, _ = strings.Cut(rest, "```\n")
	shown, _, _ := strings.Cut(rest, "```")
	if shown == "" || !strings.Contains(out.String(), shown) {
		t.Errorf("README shows\n%s\nhaechi says\n%s", shown, out.String())
	}
}

// Names of one letter, which any sentence holds, are grouped as others are.
func TestWhatIsSaidOfManyIsOneEntry(t *testing.T) {
	r := audited(t, []estate.File{{Name: "x.yaml", Data: []byte("haechi: v1\nestate: x\nsites: {a: {}, b: {}, do: {}}\npolicy: {drill-every: 30d}\n")}})
	var b bytes.Buffer
	report.Text(&b, r)
	if !strings.Contains(b.String(), "3 components") || strings.Count(b.String(), "untested") != 1 {
		t.Error(b.String())
	}
}
