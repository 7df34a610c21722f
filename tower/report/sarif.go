package report

import (
	"cmp"
	"encoding/json"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
)

// The parts of SARIF 2.1.0 (OASIS, 2020) that are written. The optional rest is left away.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Columns string        `json:"columnKind"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		URI   string      `json:"informationUri"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID    string    `json:"id"`
		Short sarifText `json:"shortDescription"`
		Full  sarifText `json:"fullDescription"`
		Help  sarifText `json:"help"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Level        string             `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
		Properties   sarifProperties    `json:"properties"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		Line   int `json:"startLine"`
		Column int `json:"startColumn"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
	sarifSuppression struct {
		Kind   string `json:"kind"`
		Status string `json:"status"`
		Why    string `json:"justification"`
	}
	sarifProperties struct {
		Severity audit.Severity `json:"severity"`
		Scenario []string       `json:"scenario"`
		Cause    string         `json:"cause"`
		Chain    []string       `json:"chain"`
		Remedy   string         `json:"remedy"`
	}
)

// SARIF writes an audit for code review: each rule with its help, each finding at the place in the
// files where its component is declared, as far as places says. Its fingerprint stays the same
// however the finding is worded.
func SARIF(w io.Writer, r audit.Report, places map[string]estate.Place) error {
	driver := sarifDriver{Name: "haechi", URI: "https://github.com/haechi/haechi"}
	for _, rule := range audit.Rules() {
		means := strings.ReplaceAll(rule.Means(), "`", "")
		driver.Rules = append(driver.Rules, sarifRule{
			ID: string(rule), Short: sarifText{Text: strings.ReplaceAll(rule.Title(), "`", "")},
			Full: sarifText{Text: means}, Help: sarifText{Text: means, Markdown: rule.Means()},
		})
	}
	run := sarifRun{Tool: sarifTool{driver}, Columns: "unicodeCodePoints", Results: []sarifResult{}}
	for _, f := range r.Findings {
		run.Results = append(run.Results, sarifOf(f, places))
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(sarifLog{
		Schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run},
	})
}

func sarifOf(f audit.Finding, places map[string]estate.Place) sarifResult {
	out := sarifResult{
		RuleID: string(f.Rule), RuleIndex: slices.Index(audit.Rules(), f.Rule), Level: sarifLevel(f.Severity),
		Message:      sarifText{Text: f.Message + ". What to do: " + f.Remedy},
		Locations:    []sarifLocation{{Physical: sarifPlace(f, places), Logical: []sarifLogical{{Name: f.Component, Kind: "component"}}}},
		Fingerprints: map[string]string{"haechi/v1": f.ID()},
		Properties:   sarifProperties{Severity: f.Severity, Scenario: listed(f.Scenario), Cause: f.Cause, Chain: listed(f.Chain), Remedy: f.Remedy},
	}
	if a := f.Accepted; a != nil {
		out.Suppressions = []sarifSuppression{{Kind: "inSource", Status: "accepted", Why: a.Owner + " until " + day(*a) + ": " + a.Why}}
	}
	return out
}

// sarifPlace is where the component is declared, or else where its cause is.
func sarifPlace(f audit.Finding, places map[string]estate.Place) *sarifPhysical {
	at := cmp.Or(places[f.Component], places[f.Cause])
	if at.Line == 0 {
		return nil
	}
	uri := url.URL{Path: filepath.ToSlash(at.File)}
	if strings.HasPrefix(uri.Path, "/") {
		uri.Scheme = "file"
	}
	return &sarifPhysical{Artifact: sarifArtifact{uri.String()}, Region: sarifRegion{at.Line, at.Col}}
}

func sarifLevel(s audit.Severity) string {
	switch s {
	case audit.Critical, audit.High:
		return "error"
	case audit.Medium:
		return "warning"
	}
	return "note"
}

// listed is a list that JSON does not show as null.
func listed(s []string) []string { return append([]string{}, s...) }
