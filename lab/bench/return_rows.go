package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ReturnNumber is one row of the table.
type ReturnNumber struct {
	Row string    `json:"row"`
	At  time.Time `json:"at"`
	Number
	Note   string `json:"note,omitempty"`   // how it was measured, where that does not go without saying
	Absent string `json:"absent,omitempty"` // why it was not measured; then Measured says nothing
}

// part is what is measured together.
type part struct {
	name, what string
	grown      bool // it is about the large database
	do         func(*returns, context.Context) error
	rows       []row
}

// row is what is asked. Without must and goal it is there to compare with.
type row struct {
	name, figure, unit string
	must, goal         float64
	more               bool // more is better
}

// parts are all of them, in the order in which they are done and shown.
func parts() []part {
	return []part{
		{name: "home", what: "a burned site comes back with the lab's own data, and the primary goes home", do: (*returns).home, rows: []row{
			{"whole", "site back with power to redundancy whole, the lab's data", "s", 60, 20, false},
			{"failback", "failback: longest pause, as clients see it", "s", .5, .2, false},
			{"counts", "from the site's power until its member counts again", "s", 0, 0, false},
		}},
		{name: "large", what: "the same with a large database and many rows that only the burned member holds", grown: true, do: (*returns).large, rows: []row{
			{"exact", "salvage of local-only rows: exact", "%", 100, 100, true},
			{"salvage", "salvage: time after the member answers", "s", 60, 10, false},
			{"rejoin", "rejoin by rewind", "s", 60, 15, false},
			{"writes", "writes of the living while a member rejoins", "%", 90, 97, true},
			{"latency", "latency of the living while a member rejoins, median", "x", 1.5, 1.1, false},
		}},
		{name: "verify", what: "lies are planted on followers of the large database, and all members compared", grown: true, do: (*returns).verify, rows: []row{
			{"named", "verify: planted differences named", "%", 100, 100, true},
			{"verify", "verify on three members: time", "s", 600, 180, false},
			{"share", "verify: of a core, the busiest member", "%", 20, 20, false},
		}},
		{name: "peace", what: "the same writes with and without what haechi does in peace", do: (*returns).peace, rows: []row{
			{"cost", "cost of slots, canaries and premise checks to throughput", "%", 3, 1, false},
			{"cost-fast", "the same in profile fast", "%", 0, 0, false},
		}},
		{name: "patroni", what: "the same fire and return for Patroni beside us", do: (*returns).patroni, rows: []row{
			{"patroni", "Patroni: from the site's power until its member is synchronous", "s", 0, 0, false},
			{"patroni-rows", "Patroni: of the rows that its rewind threw away, still to be had", "%", 0, 0, false},
		}},
	}
}

func (p part) has(name string) bool {
	return slices.ContainsFunc(p.rows, func(r row) bool { return r.name == name })
}

// chosen are the parts that are named, or of which a row is; all of them where nothing is.
func chosen(names []string) ([]part, error) {
	if len(names) == 0 {
		return parts(), nil
	}
	var out []part
	known := map[string]bool{}
	for _, p := range parts() {
		named := false
		for _, name := range names {
			if p.name == name || p.has(name) {
				named, known[name] = true, true
			}
		}
		if named {
			out = append(out, p)
		}
	}
	for _, name := range names {
		if !known[name] {
			return nil, fmt.Errorf("--only %s: there is no such part or row; they are %s", name, ReturnParts())
		}
	}
	return out, nil
}

// ReturnParts lists parts and their rows, for people.
func ReturnParts() string {
	var out []string
	for _, p := range parts() {
		var rows []string
		for _, r := range p.rows {
			if r.name != p.name {
				rows = append(rows, r.name)
			}
		}
		if text := p.name; len(rows) > 0 {
			out = append(out, text+" ("+strings.Join(rows, ", ")+")")
		} else {
			out = append(out, text)
		}
	}
	return strings.Join(out, ", ")
}

// is adds a row that was measured. Less than nothing: it never happened.
func (b *returns) is(name string, measured float64, notes ...string) {
	r := rowNamed(name)
	if measured < 0 {
		b.cannot(name, strings.Join(append([]string{"it never happened"}, said(notes)...), "; "))
		return
	}
	n := number(r.figure, r.unit, measured, r.must, r.goal)
	if n.More = r.more; r.more {
		n.Reached = map[bool]string{true: "must", false: "no"}[measured >= r.must]
		if measured >= r.goal {
			n.Reached = "goal"
		}
	}
	if r.must == 0 && r.goal == 0 {
		n.Reached = ""
	}
	b.add(ReturnNumber{Number: n, Row: name, Note: strings.Join(said(notes), "; ")})
}

// cannot adds a row that was not measured.
func (b *returns) cannot(name, why string) {
	r := rowNamed(name)
	b.add(ReturnNumber{Number: Number{Figure: r.figure, Unit: r.unit, Must: r.must, Goal: r.goal, More: r.more, Reached: "no"}, Row: name, Absent: why})
}

// add puts a row where it belongs.
func (b *returns) add(n ReturnNumber) {
	n.At = time.Now().UTC()
	b.r.Numbers = append(b.r.Numbers, n)
	place := map[string]int{}
	for _, p := range parts() {
		for _, r := range p.rows {
			place[r.name] = len(place)
		}
	}
	slices.SortStableFunc(b.r.Numbers, func(a, b ReturnNumber) int { return place[a.Row] - place[b.Row] })
	b.Say(n.String())
}

func rowNamed(name string) row {
	for _, p := range parts() {
		for _, r := range p.rows {
			if r.name == name {
				return r
			}
		}
	}
	return row{name: name, figure: name}
}

// said are the notes that say something.
func said(notes []string) []string {
	return slices.DeleteFunc(slices.Clone(notes), func(s string) bool { return s == "" })
}
