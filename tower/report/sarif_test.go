package report_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/tower/report"
)

func sarif(t *testing.T, fs []estate.File) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := report.SARIF(&b, audited(t, fs), estate.Places(fs)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestAuditAsSARIF(t *testing.T) {
	fs := files(t)
	r := audited(t, fs)
	r.Findings = r.Findings[2:9] // the file stays small
	var b bytes.Buffer
	if err := report.SARIF(&b, r, estate.Places(fs)); err != nil {
		t.Fatal(err)
	}
	golden(t, "audit.sarif", b.Bytes())
}

// log is what the schema of SARIF 2.1.0 requires, and what code review needs.
type log struct {
	Version string
	Runs    []struct {
		Tool struct {
			Driver struct {
				Name  string
				Rules []struct {
					ID   string
					Help struct{ Text string }
				}
			}
		}
		Results []result
	}
}

type result struct {
	RuleID, Level string
	RuleIndex     int
	Message       struct{ Text string }
	Locations     []struct {
		PhysicalLocation struct {
			ArtifactLocation struct{ URI string }
			Region           struct{ StartLine, StartColumn int }
		}
		LogicalLocations []struct{ FullyQualifiedName string }
	}
	PartialFingerprints map[string]string
	Suppressions        []struct{ Kind string }
}

func read(t *testing.T, raw []byte) log {
	t.Helper()
	var l log
	if err := json.Unmarshal(raw, &l); err != nil {
		t.Fatal(err)
	}
	if l.Version != "2.1.0" || len(l.Runs) != 1 || l.Runs[0].Tool.Driver.Name == "" {
		t.Fatalf("no SARIF 2.1.0 log with one run of a named tool: %+v", l)
	}
	return l
}

func TestSARIFHasWhatTheSchemaRequires(t *testing.T) {
	fs := files(t)
	lines := strings.Split(string(fs[0].Data), "\n")
	run := read(t, sarif(t, fs)).Runs[0]
	for _, r := range run.Tool.Driver.Rules {
		if r.ID == "" || r.Help.Text == "" {
			t.Errorf("a rule without id or help: %+v", r)
		}
	}
	if want := len(audited(t, fs).Findings); len(run.Results) != want {
		t.Errorf("%d results, want %d", len(run.Results), want)
	}
	for _, r := range run.Results {
		if run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("rule %s has the index of %s", r.RuleID, run.Tool.Driver.Rules[r.RuleIndex].ID)
		}
		if !slices.Contains([]string{"error", "warning", "note"}, r.Level) || r.Message.Text == "" || len(r.Locations) != 1 {
			t.Fatalf("a result without level, message or place: %+v", r)
		}
		at, name := r.Locations[0].PhysicalLocation, r.Locations[0].LogicalLocations[0].FullyQualifiedName
		if at.ArtifactLocation.URI != "estate.yaml" || at.Region.StartLine == 0 {
			t.Errorf("%s of %s has no place in the file", r.RuleID, name)
			continue
		}
		if here := string([]rune(lines[at.Region.StartLine-1])[at.Region.StartColumn-1:]); !strings.HasPrefix(here, name) {
			t.Errorf("%s is declared elsewhere than at %q", name, here)
		}
		if accepted := r.RuleID == "shared-fate" && name == "pangyo/web"; accepted != (len(r.Suppressions) == 1) {
			t.Errorf("%s of %s: %d suppressions", r.RuleID, name, len(r.Suppressions))
		}
	}
}

// What moves in the file, or is worded in another way, is the same finding still.
func TestSARIFFingerprintsStay(t *testing.T) {
	moved := files(t)
	moved[0].Data = append([]byte("# a line above all others\n"), bytes.ReplaceAll(moved[0].Data, []byte("limit: 30kW"), []byte("limit: 31kW"))...)
	before, after := prints(t, sarif(t, files(t))), prints(t, sarif(t, moved))
	if !slices.Equal(before, after) {
		t.Errorf("fingerprints changed:\n%v\n%v", before, after)
	}
	if n := len(slices.Compact(slices.Clone(before))); n != len(before) {
		t.Errorf("two findings share a fingerprint: %v", before)
	}
}

func prints(t *testing.T, raw []byte) []string {
	var out []string
	for _, r := range read(t, raw).Runs[0].Results {
		out = append(out, r.PartialFingerprints["haechi/v1"])
	}
	slices.Sort(out)
	return out
}

func TestSARIFWithoutPlaces(t *testing.T) {
	var b bytes.Buffer
	if err := report.SARIF(&b, many(), nil); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "physicalLocation") {
		t.Error("a place that nobody knows is written down")
	}
}
