package verify

import (
	"cmp"
	"slices"
)

// Machine compares the tables of one database. Whoever holds it does what Next says, and tells it
// the answers with Hear. Whatever is written meanwhile:
//
//  1. a row is named only where a member surely holds something else than the primary;
//  2. what is named neither as different nor as not settled nor as left out was the same on all
//     members, or was written anew since it was looked at first.
type Machine struct {
	primary   string
	followers []string
	tables    []Table // in the order in which they are compared
	chunk     uint32

	table int    // the next to be begun, or the one that was begun
	block uint32 // where it goes on
	todo  []piece
	rows  *bracket
	batch []piece // what was asked last

	report  Report
	counted map[uint32]Count
	altered map[uint32]int // meanwhile: how often
	again   []uint32       // of these, those to be begun again
	dropped map[uint32]bool
	settled Place
}

// piece is a span to be looked at.
type piece struct {
	Span
	fresh bool // it was not looked at yet
	cuts  int  // how often its open end was followed
}

// Place is how far a comparison has come: all before it is settled, but for the tables Again.
type Place struct {
	Table uint32   `json:"table"`
	Block uint32   `json:"block,omitempty"`
	Shape string   `json:"shape,omitempty"` // of that table
	Again []uint32 `json:"again,omitempty"`
}

// New returns a machine for the tables that the primary has. from and found are where another has
// left off; their zero values are the beginning.
func New(primary string, followers []string, tables []Table, from Place, found Report) *Machine {
	m := &Machine{primary: primary, followers: slices.Sorted(slices.Values(followers)), tables: slices.Clone(tables),
		chunk: 256, report: found.clone(), counted: map[uint32]Count{}, altered: map[uint32]int{},
		again: slices.Clone(from.Again), dropped: map[uint32]bool{}}
	slices.SortFunc(m.tables, func(a, b Table) int { return cmp.Compare(a.ID, b.ID) })
	for m.table < len(m.tables) && m.tables[m.table].ID < from.Table {
		m.table++
	}
	if m.table < len(m.tables) && m.tables[m.table].ID == from.Table && m.tables[m.table].Shape == from.Shape {
		m.block = from.Block
	}
	m.settle()
	return m
}

// Size says how many blocks to ask of at once: whoever asks knows how long that takes.
func (m *Machine) Size(blocks uint32) { m.chunk = max(blocks, 1) }

// Settled is the place up to which nothing is left to be looked at.
func (m *Machine) Settled() Place { return m.settled }

// Again are the tables that were altered meanwhile, and have to be begun again with [Machine.Add].
func (m *Machine) Again() []uint32 { return slices.Clone(m.again) }

// Report is what was found so far.
func (m *Machine) Report() Report { return m.report.clone() }

// Progress is how many blocks were compared, of how many.
func (m *Machine) Progress() (done, all int64) {
	for i, t := range m.tables {
		all += int64(t.Blocks)
		if i < m.table {
			done += int64(t.Blocks)
		}
	}
	return min(done+int64(m.block), all), all
}

// Next says what to ask; false: there is nothing more, unless [Machine.Again] names tables.
func (m *Machine) Next() (Ask, bool) {
	for {
		switch {
		case m.rows != nil:
			return m.rows.next(m.primary), true
		case len(m.todo) > 0 && (m.block == 0 || len(m.todo) >= waiting || m.block-min(m.settled.Block, m.block) >= stretch):
			if m.closer() {
				return m.sums(1), true
			}
		default:
			m.settle()
			if m.batch = m.fresh(); len(m.batch) == 0 {
				return Ask{}, false
			}
			return m.sums(0), true
		}
	}
}

// settle notes how far all is settled.
func (m *Machine) settle() {
	if len(m.todo) > 0 || m.settled.Table == done {
		return
	}
	m.settled = Place{Table: done, Again: m.Again()}
	if m.table < len(m.tables) {
		t := m.tables[m.table]
		m.settled = Place{t.ID, m.block, t.Shape, m.Again()}
	}
}

// done is the table of a place after all: what is begun again after that stays in its Again.
const done = ^uint32(0)

// sums asks every member for the batch.
func (m *Machine) sums(wait int) Ask {
	ask := Ask{Members: append([]string{m.primary}, m.followers...), Wait: wait}
	for _, p := range m.batch {
		ask.Spans = append(ask.Spans, p.Span)
	}
	return ask
}

// closer takes what differed, to be asked again: the parts that were cut last come first, so that what
// waits stays little. A part of one block is looked at row by row.
func (m *Machine) closer() bool {
	m.batch = nil
	for size := uint32(0); len(m.todo) > 0 && len(m.batch) < most && size < m.chunk; {
		p := m.todo[len(m.todo)-1]
		if p.leaf() && len(m.batch) > 0 {
			break
		}
		m.todo = m.todo[:len(m.todo)-1]
		if p.leaf() {
			m.rows = newBracket(p.Span, m.followers)
			break
		}
		m.batch = append(m.batch, p)
		size += p.blocks()
	}
	return len(m.batch) > 0
}

// fresh cuts the next parts off the tables.
func (m *Machine) fresh() []piece {
	var out []piece
	for left := m.chunk; m.table < len(m.tables) && left > 0 && len(out) < most; {
		t := m.tables[m.table]
		if t.Skip != "" {
			m.report.leave(t.Name, t.Skip)
			m.over()
			continue
		}
		p := piece{Span: Span{Table: t.ID, From: m.block}, fresh: true}
		if rest := t.Blocks - min(m.block, t.Blocks); rest > left {
			p.To = m.block + left
			m.block, left = p.To, 0
		} else {
			left -= min(left, max(rest, 1))
			m.over()
		}
		out = append(out, p)
	}
	return out
}

// over goes to the next table.
func (m *Machine) over() { m.table, m.block = m.table+1, 0 }

// leaf says that a part is not cut any further.
func (p piece) leaf() bool { return p.To != 0 && p.To-p.From == 1 }

func (p piece) blocks() uint32 {
	if p.To == 0 {
		return 1
	}
	return p.To - p.From
}

// Hear takes the answers to what Next said last. Each member that was asked has to be there.
func (m *Machine) Hear(answers map[string]Answer) {
	if m.rows != nil {
		m.hearRows(answers)
		return
	}
	for i, p := range m.batch {
		if !m.dropped[p.Table] {
			m.hearSums(p, i, answers)
		}
	}
	m.batch = nil
}

// hearSums judges one part.
func (m *Machine) hearSums(p piece, i int, answers map[string]Answer) {
	first := answers[m.primary].Part[i]
	if p.fresh {
		m.count(p.Span, first)
	}
	if first.Gone {
		m.drop(p.Table, "it was dropped meanwhile")
		return
	}
	shape := m.known(p.Table).Shape
	differs, end := first.Broken != "", first.Blocks
	for _, who := range append([]string{m.primary}, m.followers...) {
		q := answers[who].Part[i]
		if q.Gone || q.Shape != shape {
			m.alter(p.Table)
			return
		}
		differs = differs || !first.same(q)
		end = max(end, q.Blocks)
	}
	if differs {
		m.cut(p, end)
	}
}

// cut puts the parts of what differs where they are looked at later.
func (m *Machine) cut(p piece, end uint32) {
	if p.To == 0 {
		if end <= p.From {
			return // nothing is there any more
		}
		if p.cuts < cuts {
			m.todo = append(m.todo, piece{Span: Span{p.Table, end, 0}, cuts: p.cuts + 1})
		}
		p.To = end
	}
	width := (p.To-p.From-1)/fan + 1
	for from := p.From; from < p.To; from += width {
		m.todo = append(m.todo, piece{Span: Span{p.Table, from, min(from+width, p.To)}, cuts: p.cuts})
	}
}

// known is a table by its ID.
func (m *Machine) known(id uint32) Table {
	i := slices.IndexFunc(m.tables, func(t Table) bool { return t.ID == id })
	if i < 0 {
		return Table{ID: id}
	}
	return m.tables[i]
}

// drop leaves a table out.
func (m *Machine) drop(id uint32, why string) {
	m.report.leave(m.known(id).Name, why)
	m.uncount(id)
	m.forget(id)
}

// uncount takes back what was found and counted of a table.
func (m *Machine) uncount(id uint32) {
	m.report.forget(m.known(id).Name)
	m.report.Count = m.report.Count.minus(m.counted[id])
	delete(m.counted, id)
}

// alter leaves a table for now: it is to be begun again.
func (m *Machine) alter(id uint32) {
	if m.altered[id]++; m.altered[id] > alters {
		m.drop(id, "each time it was to be compared it was locked or had been altered, or a member had not heard of that yet")
		return
	}
	m.again = append(m.again, id)
	m.uncount(id)
	m.forget(id)
}

// forget looks at no more of a table.
func (m *Machine) forget(id uint32) {
	m.dropped[id] = true
	m.todo = slices.DeleteFunc(m.todo, func(p piece) bool { return p.Table == id })
	if m.table < len(m.tables) && m.tables[m.table].ID == id {
		m.over()
	}
}

// Add begins tables again, as the primary has them now. One that is not among them any more is left out.
func (m *Machine) Add(tables []Table) {
	var next []Table
	for _, id := range m.again {
		old := m.known(id)
		delete(m.dropped, id)
		if i := slices.IndexFunc(tables, func(t Table) bool { return t.ID == id }); i >= 0 {
			next = append(next, tables[i])
		} else {
			m.report.leave(old.Name, "it was dropped meanwhile")
		}
	}
	m.tables = slices.DeleteFunc(m.tables, func(t Table) bool { return slices.Contains(m.again, t.ID) })
	m.table, m.block, m.again = len(m.tables), 0, nil
	m.tables = append(m.tables, next...)
}

// count adds what a part that was looked at for the first time has.
func (m *Machine) count(s Span, p Part) {
	c := Count{Rows: p.Count}
	if s.From == 0 {
		c.Tables, c.Blocks = 1, int64(p.Blocks)
	}
	m.report.Count = m.report.Count.plus(c)
	m.counted[s.Table] = m.counted[s.Table].plus(c)
}
