package report

import (
	"encoding/xml"
	"fmt"
	"io"

	"github.com/haechi/haechi/core/audit"
)

// openPSA is the part of the Open-PSA Model Exchange Format, version 2.0d, that holds a fault tree.
type openPSA struct {
	XMLName xml.Name  `xml:"opsa-mef"`
	Tree    psaTree   `xml:"define-fault-tree"`
	Events  []psaGate `xml:"model-data>define-basic-event"`
}

type psaTree struct {
	Name  string    `xml:"name,attr"`
	Gates []psaGate `xml:"define-gate"`
}

type psaGate struct {
	Name    string   `xml:"name,attr"`
	Label   string   `xml:"label,omitempty"`
	Formula *psaVote `xml:",omitempty"`
	Gate    *psaRef  `xml:"gate"` // instead of a formula, where there is nothing to count
	Event   *psaRef  `xml:"basic-event"`
}

// psaVote is a gate's formula: or, and, or so many of all.
type psaVote struct {
	XMLName xml.Name
	Min     int      `xml:"min,attr,omitempty"`
	Gates   []psaRef `xml:"gate"`
	Events  []psaRef `xml:"basic-event"`
}

type psaRef struct {
	Name string `xml:"name,attr"`
}

// OpenPSA writes a fault tree for other tools: in the Open-PSA Model Exchange Format, with names that
// the format allows, and those of the estate as labels.
func OpenPSA(w io.Writer, t audit.Tree) error {
	ids := map[string]string{}
	doc := openPSA{Tree: psaTree{Name: "estate"}}
	for i, e := range t.Events {
		ids[e] = fmt.Sprintf("e%d", i+1)
		doc.Events = append(doc.Events, psaGate{Name: ids[e], Label: e})
	}
	for i, g := range t.Gates {
		ids[g.Name] = fmt.Sprintf("g%d", i+1)
	}
	events := map[string]bool{}
	for _, e := range t.Events {
		events[e] = true
	}
	for _, g := range t.Gates {
		v := &psaVote{}
		for _, of := range g.Of {
			if events[of] {
				v.Events = append(v.Events, psaRef{ids[of]})
			} else {
				v.Gates = append(v.Gates, psaRef{ids[of]})
			}
		}
		out := psaGate{Name: ids[g.Name], Label: g.Name}
		switch {
		case len(v.Gates) == 1 && len(g.Of) == 1:
			out.Gate = &v.Gates[0]
		case len(g.Of) == 1:
			out.Event = &v.Events[0]
		case g.AtLeast == 1:
			v.XMLName.Local, out.Formula = "or", v
		case g.AtLeast == len(g.Of):
			v.XMLName.Local, out.Formula = "and", v
		default:
			v.XMLName.Local, v.Min, out.Formula = "atleast", g.AtLeast, v
		}
		doc.Tree.Gates = append(doc.Tree.Gates, out)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", " ")
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
