package bench

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/generate"
)

// compared is how many services' trees are compared.
const compared = 6

// trees compares cut sets, and the time for them, with SCRAM (Debian's package scram), which works by
// binary decision diagrams, on the trees that haechi draws for other tools.
func (b *auditBench) trees() error {
	scram, err := exec.LookPath("scram")
	if err != nil {
		b.r.NoTrees = "Debian's package scram is not installed"
		return nil
	}
	file, err := b.draw(generate.Order{Sites: 3, Servers: 32_000, Services: 134})
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	e, err := estate.Load([]estate.File{{Name: file, Data: text}}, nil)
	if err != nil {
		return err
	}
	var of []string
	for id, s := range e.Services {
		if _, err := audit.FaultTree(e, string(id)); s.Tier <= 1 && err == nil {
			of = append(of, string(id))
		}
	}
	slices.Sort(of)
	for _, name := range of[:min(compared, len(of))] {
		t, err := b.tree(scram, file, name)
		if err != nil {
			return err
		}
		b.r.Trees = append(b.r.Trees, t)
	}
	return nil
}

func (b *auditBench) tree(scram, file, name string) (AuditTree, error) {
	t := AuditTree{Of: name}
	ours, err := b.median("audit", "--cuts", name, "-o", "json", file)
	if err != nil {
		return t, err
	}
	var sets struct{ Cuts [][]string }
	if err := json.Unmarshal(ours.out, &sets); err != nil {
		return t, err
	}
	drawn, err := b.run("audit", "--cuts", name, "-o", "open-psa", file)
	if err != nil {
		return t, err
	}
	in, out := filepath.Join(b.Dir, "tree.xml"), filepath.Join(b.Dir, "sets.xml")
	if err := os.WriteFile(in, drawn.out, 0o644); err != nil { //nolint:gosec // nothing in it is secret
		return t, err
	}
	theirs, err := b.start(scram, "--bdd", "--limit-order", fmt.Sprint(audit.MostInCut), in, "-o", out)
	if err != nil {
		return t, err
	}
	labels, err := eventLabels(drawn.out)
	if err != nil {
		return t, err
	}
	found, err := products(out, labels)
	if err != nil {
		return t, err
	}
	for _, c := range sets.Cuts {
		slices.Sort(c)
	}
	slices.SortFunc(sets.Cuts, slices.Compare)
	t.Cuts, t.Ours, t.Theirs = len(sets.Cuts), ours.wall.Seconds(), theirs.wall.Seconds()
	t.Equal = slices.EqualFunc(sets.Cuts, found, slices.Equal)
	return t, nil
}

// eventLabels are the estate's names of a tree's events.
func eventLabels(tree []byte) (map[string]string, error) {
	var doc struct {
		Events []struct {
			Name  string `xml:"name,attr"`
			Label string `xml:"label"`
		} `xml:"model-data>define-basic-event"`
	}
	if err := xml.Unmarshal(tree, &doc); err != nil {
		return nil, fmt.Errorf("the tree: %w", err)
	}
	out := map[string]string{}
	for _, e := range doc.Events {
		out[e.Name] = e.Label
	}
	return out, nil
}

// products reads the cut sets in SCRAM's report, sorted.
func products(report string, labels map[string]string) ([][]string, error) {
	b, err := os.ReadFile(report)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Products []struct {
			Events []struct {
				Name string `xml:"name,attr"`
			} `xml:"basic-event"`
		} `xml:"results>sum-of-products>product"`
	}
	if err := xml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("SCRAM's report: %w", err)
	}
	var out [][]string
	for _, p := range doc.Products {
		var set []string
		for _, e := range p.Events {
			set = append(set, labels[e.Name])
		}
		slices.Sort(set)
		out = append(out, set)
	}
	slices.SortFunc(out, slices.Compare)
	return out, nil
}
