package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Kind is how a member differs from the primary.
type Kind string

// The kinds. Who is right no comparison knows.
const (
	Missing   Kind = "missing"   // the primary has the row, the member not
	Extra     Kind = "extra"     // the member has a row that the primary has not
	Different Kind = "different" // both have the row, with other contents
	Broken    Kind = "broken"    // the member cannot read what stands there
	Behind    Kind = "behind"    // a sequence would hand out numbers again
	Ahead     Kind = "ahead"     // a sequence would leave numbers out
	Index     Kind = "index"     // an index and its table do not fit together; rows may be whole
	Page      Kind = "page"      // a page on the disk has not the checksum that it says
	Unsettled Kind = "unsettled" // it could not be found out in time
)

// Finding is one thing in which a member differs.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Member string `json:"member"`
	Table  string `json:"table,omitempty"` // with database and schema, or the sequence, the index, the file
	Key    string `json:"key,omitempty"`   // the row's key, where the table has one
	At     string `json:"at,omitempty"`    // its place in the table
	Why    string `json:"why,omitempty"`
}

// String says it in a line.
func (f Finding) String() string {
	out := fmt.Sprintf("%s: %s on %s", f.Table, f.Kind, f.Member)
	switch {
	case f.Key != "" && f.At != "":
		out += fmt.Sprintf(": row %s at %s", f.Key, f.At)
	case f.At != "":
		out += ": at " + f.At
	}
	if f.Why != "" {
		out += ": " + f.Why
	}
	return out
}

// Omission is what was not compared, and why.
type Omission struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Count is how much was compared.
type Count struct {
	Tables    int   `json:"tables"`
	Rows      int64 `json:"rows"` // of the primary
	Blocks    int64 `json:"blocks"`
	Sequences int   `json:"sequences,omitempty"`
}

func (c Count) plus(d Count) Count {
	return Count{c.Tables + d.Tables, c.Rows + d.Rows, c.Blocks + d.Blocks, c.Sequences + d.Sequences}
}

func (c Count) minus(d Count) Count {
	return Count{c.Tables - d.Tables, c.Rows - d.Rows, c.Blocks - d.Blocks, c.Sequences - d.Sequences}
}

// Report is what a comparison found.
type Report struct {
	Count
	Found   []Finding      `json:"found,omitempty"`
	More    map[string]int `json:"more,omitempty"` // tables of which no more is named: how many were
	LeftOut []Omission     `json:"left_out,omitempty"`
}

// Differs says whether any member was proven to hold something else than the primary, or cannot be read.
func (r Report) Differs() bool {
	return slices.ContainsFunc(r.Found, func(f Finding) bool { return f.Kind != Unsettled })
}

// Settled says whether all that could be compared was found out.
func (r Report) Settled() bool {
	return !slices.ContainsFunc(r.Found, func(f Finding) bool { return f.Kind == Unsettled })
}

// Join adds another report, of which every name gets a prefix.
func (r *Report) Join(prefix string, o Report) {
	r.Count = r.Count.plus(o.Count)
	for _, f := range o.Found {
		if len(r.Found) >= namedAll {
			r.more(prefix + f.Table)
			continue
		}
		f.Table = prefix + f.Table
		r.Found = append(r.Found, f)
	}
	for name, n := range o.More {
		if r.More == nil {
			r.More = map[string]int{}
		}
		r.More[prefix+name] += n
	}
	for _, l := range o.LeftOut {
		r.leave(prefix+l.Name, l.Why)
	}
}

func (r Report) clone() Report {
	r.Found, r.LeftOut, r.More = slices.Clone(r.Found), slices.Clone(r.LeftOut), maps.Clone(r.More)
	return r
}

func (r *Report) more(table string) {
	if r.More == nil {
		r.More = map[string]int{}
	}
	r.More[table]++
}

// leave notes what is not compared, once.
func (r *Report) leave(name, why string) {
	if o := (Omission{name, why}); !slices.Contains(r.LeftOut, o) {
		r.LeftOut = append(r.LeftOut, o)
	}
}

// forget drops what was found in a table: it is begun again.
func (r *Report) forget(table string) {
	r.Found = slices.DeleteFunc(r.Found, func(f Finding) bool { return f.Table == table })
	delete(r.More, table)
}

// found names a difference. Where a table has many, the rest of it is not looked at any more: that
// it is not the same is known, and people will not read on.
func (m *Machine) found(t Table, f Finding) {
	f.Table = t.Name
	alike := 0 // in the same table, proven like this one or like it not
	for _, g := range m.report.Found {
		if g.Table == t.Name && (g.Kind == Unsettled) == (f.Kind == Unsettled) {
			alike++
		}
	}
	if alike < named && (len(m.report.Found) < namedAll || alike == 0) {
		m.report.Found = append(m.report.Found, f)
		return
	}
	m.report.more(t.Name)
	if f.Kind != Unsettled {
		m.forget(t.ID)
	}
}

// wholeMember begins the name under which a member is left out as a whole.
const wholeMember = "member "

// LeaveOut notes that a member was not compared, or not to the end.
func (s *Summary) LeaveOut(name, why string) { s.leave(wholeMember+name, "it "+why) }

// Without are the members that were left out.
func (s Summary) Without() (out []string) {
	for _, o := range s.LeftOut {
		if name, ok := strings.CutPrefix(o.Name, wholeMember); ok {
			out = append(out, name)
		}
	}
	return out
}

// Everywhere counts what differs in the same way on every follower: there it may be the primary that
// is wrong.
func (s Summary) Everywhere() int {
	type place struct {
		kind      Kind
		table, at string
	}
	who := map[place]int{}
	for _, f := range s.Found {
		if f.Kind == Missing || f.Kind == Extra || f.Kind == Different {
			who[place{f.Kind, f.Table, f.At}]++
		}
	}
	n := 0
	for _, k := range who {
		if k == len(s.Followers) && k > 1 {
			n++
		}
	}
	return n
}
