package verify_test

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/verify"
)

// world is a primary and its followers as PostgreSQL has them, slow and obvious: tuples in blocks,
// transactions that are in the log before they show, a log that followers replay late.
type world struct {
	t         *rapid.T
	lines     int // in a block
	tables    map[uint32]*table
	xids      uint64             // handed out
	running   map[uint64]*xact   // on the primary, as snapshots see it: also those that wait for others
	over      map[uint64]outcome // on the primary, by every number, also of those below
	log       []record
	followers map[string]*follower
}

type outcome int

const (
	live outcome = iota
	committed
	aborted
)

type table struct {
	shape string
	slots []*tuple // of all blocks; nil: free
	quiet int      // the first so many are never touched
}

// tuple is a version of a row.
type tuple struct {
	xmin, xmax uint64
	locked     bool // xmax only locks
	value      string
}

// xact is a transaction; own are its numbers, of which the first counts for snapshots.
type xact struct {
	own    []uint64
	logged bool // its commit is in the log, and waits for other members
}

// record is one entry of the log, as a follower applies it.
type record func(f *follower)

type follower struct {
	replayed int
	tables   map[uint32]*table
	over     map[uint64]outcome
	last     uint64 // newest that is over
	lies     map[string]string
	extra    map[string]verify.Row
	broken   map[uint32]string // blocks of table 1
}

func newWorld(t *rapid.T, followers []string) *world {
	w := &world{t: t, lines: 4, tables: map[uint32]*table{}, xids: 1000, running: map[uint64]*xact{}, over: map[uint64]outcome{}, followers: map[string]*follower{}}
	for _, f := range followers {
		w.followers[f] = &follower{tables: map[uint32]*table{}, over: map[uint64]outcome{}, last: w.xids, lies: map[string]string{}, extra: map[string]verify.Row{}, broken: map[uint32]string{}}
	}
	for id := uint32(1); id <= 2; id++ {
		tab := &table{shape: "s", quiet: rapid.IntRange(0, 120).Draw(t, "quiet")}
		n := tab.quiet + rapid.IntRange(0, 40).Draw(t, "moving")
		for i := range n {
			tab.slots = append(tab.slots, &tuple{xmin: 5, value: fmt.Sprint("row ", i)})
		}
		w.tables[id] = tab
		for _, f := range w.followers {
			f.tables[id] = tab.clone()
		}
	}
	w.over[5] = committed
	for _, f := range w.followers {
		f.over[5] = committed
	}
	return w
}

func (t *table) clone() *table {
	c := &table{shape: t.shape, quiet: t.quiet}
	for _, u := range t.slots {
		if u != nil {
			v := *u
			u = &v
		}
		c.slots = append(c.slots, u)
	}
	return c
}

// write logs a change of a slot, and makes it.
func (w *world) write(id uint32, slot int, u *tuple) {
	set := func(t *table, u tuple) {
		for len(t.slots) <= slot {
			t.slots = append(t.slots, nil)
		}
		t.slots[slot] = &u
	}
	now := *u
	set(w.tables[id], now)
	w.log = append(w.log, func(f *follower) { set(f.tables[id], now) })
}

// happen lets a few things happen.
func (w *world) happen() {
	for range rapid.IntRange(0, 6).Draw(w.t, "events") {
		switch rapid.IntRange(0, 8).Draw(w.t, "event") {
		case 0:
			w.begin()
		case 1, 2, 3:
			w.change()
		case 4:
			w.finish(committed)
		case 5:
			w.finish(aborted)
		case 6:
			w.show()
		default:
			w.replay()
		}
	}
}

func (w *world) begin() {
	if len(w.running) < 4 {
		w.xids++
		w.running[w.xids] = &xact{own: []uint64{w.xids}}
	}
}

func (w *world) some(ok func(*xact) bool) *xact {
	var all []uint64
	for _, id := range slices.Sorted(maps.Keys(w.running)) {
		if ok(w.running[id]) {
			all = append(all, id)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return w.running[rapid.SampledFrom(all).Draw(w.t, "xact")]
}

// change inserts, updates, deletes or locks a row that may move.
func (w *world) change() {
	x := w.some(func(x *xact) bool { return !x.logged })
	if x == nil {
		return
	}
	if rapid.Bool().Draw(w.t, "below") { // a number of its own, which no snapshot lists
		w.xids++
		x.own = append(x.own, w.xids)
	}
	me := x.own[len(x.own)-1]
	id := rapid.Uint32Range(1, 2).Draw(w.t, "table")
	tab := w.tables[id]
	what := rapid.IntRange(0, 3).Draw(w.t, "what")
	if what > 0 {
		slot := w.movable(tab, x)
		if slot < 0 {
			return
		}
		u := *tab.slots[slot]
		u.xmax, u.locked = me, what == 3
		w.write(id, slot, &u)
	}
	if what < 2 {
		w.write(id, w.free(tab), &tuple{xmin: me, value: fmt.Sprint("new ", me, " ", len(w.log))})
	}
}

// movable is a slot with a row that x sees and nobody else has in hand.
func (w *world) movable(tab *table, x *xact) int {
	var all []int
	for i, u := range tab.slots {
		if i >= tab.quiet && u != nil && (w.over[u.xmin] == committed || slices.Contains(x.own, u.xmin)) &&
			(u.xmax == 0 || u.locked && w.over[u.xmax] != live || w.over[u.xmax] == aborted) {
			all = append(all, i)
		}
	}
	if len(all) == 0 {
		return -1
	}
	return rapid.SampledFrom(all).Draw(w.t, "slot")
}

// free is a slot for a new version: one whose row is dead for everybody, or one at the end.
func (w *world) free(tab *table) int {
	oldest := w.snap().Xmin
	for i, u := range tab.slots {
		dead := u == nil || w.over[u.xmin] == aborted || u.xmax != 0 && !u.locked && w.over[u.xmax] == committed && u.xmax < oldest
		if i >= tab.quiet && dead && (u == nil || u.xmin < oldest) {
			return i
		}
	}
	return len(tab.slots)
}

// finish logs the end of a transaction. A commit shows only later: it waits for others.
func (w *world) finish(o outcome) {
	x := w.some(func(x *xact) bool { return !x.logged })
	if x == nil {
		return
	}
	own := slices.Clone(x.own)
	w.log = append(w.log, func(f *follower) {
		for _, id := range own {
			f.over[id], f.last = o, max(f.last, id)
		}
	})
	if o == aborted {
		w.end(x, aborted)
		return
	}
	x.logged = true
}

func (w *world) end(x *xact, o outcome) {
	for _, id := range x.own {
		w.over[id] = o
	}
	delete(w.running, x.own[0])
}

// show lets a commit show that others hold.
func (w *world) show() {
	if x := w.some(func(x *xact) bool { return x.logged }); x != nil {
		w.end(x, committed)
	}
}

func (w *world) replay() {
	for _, name := range slices.Sorted(maps.Keys(w.followers)) {
		f := w.followers[name]
		for n := rapid.IntRange(0, 5).Draw(w.t, "replay"); n > 0 && f.replayed < len(w.log); n-- {
			w.log[f.replayed](f)
			f.replayed++
		}
	}
}

// calm lets everything come to its end, so that a comparison ends, too.
func (w *world) calm() {
	for x := w.some(func(x *xact) bool { return !x.logged }); x != nil; x = w.some(func(x *xact) bool { return !x.logged }) {
		w.finish(committed)
	}
	for len(w.running) > 0 {
		w.show()
	}
	for _, f := range w.followers {
		for ; f.replayed < len(w.log); f.replayed++ {
			w.log[f.replayed](f)
		}
	}
}

func (w *world) snap() verify.Snapshot {
	s := verify.Snapshot{Xmin: w.xids + 1, Xmax: w.xids + 1}
	for id := range w.running {
		s.Xmin = min(s.Xmin, id)
	}
	return s
}

// answer is what a member says. Between two of its parts things happen.
func (w *world) answer(member string, ask verify.Ask) verify.Answer {
	a := verify.Answer{}
	f := w.followers[member]
	if f != nil {
		a.From = verify.LSN(f.replayed)
	} else {
		a.From = verify.LSN(len(w.log))
	}
	for _, s := range ask.Spans {
		w.happen()
		part := verify.Part{Shape: "s"}
		var rows []verify.Row
		if f == nil {
			part.Blocks, rows = w.blocks(w.tables[s.Table]), w.rows(w.tables[s.Table], s, w.over)
			a.Snap = w.snap()
			a.To = verify.LSN(len(w.log))
		} else {
			part.Blocks, rows = w.blocks(f.tables[s.Table]), f.lie(w, s, w.rows(f.tables[s.Table], s, f.over))
			for at := range f.extra {
				part.Blocks = max(part.Blocks, blockOf(at)+1)
			}
			a.Snap = verify.Snapshot{Xmin: 0, Xmax: f.last + 1}
			a.To = verify.LSN(f.replayed)
			for b, why := range f.broken {
				if s.Table == 1 && b >= s.From && (s.To == 0 || b < s.To) {
					part.Broken = why
				}
			}
		}
		if ask.Rows {
			part.Rows = rows
		} else {
			part.Count, part.Sum = int64(len(rows)), sum(rows)
		}
		a.Part = append(a.Part, part)
	}
	return a
}

func (w *world) blocks(t *table) uint32 { return uint32((len(t.slots) + w.lines - 1) / w.lines) }

func sum(rows []verify.Row) string {
	var n uint64
	for _, r := range rows {
		h := fnv.New64a()
		fmt.Fprint(h, r.Hash)
		n += h.Sum64()
	}
	return fmt.Sprint(n)
}

// place is where a slot is, as rows say it.
func (w *world) place(slot int) string { return fmt.Sprintf("(%d,%d)", slot/w.lines, slot%w.lines+1) }

// rows are those that show, by what is over.
func (w *world) rows(t *table, s verify.Span, over map[uint64]outcome) []verify.Row {
	var out []verify.Row
	for i, u := range t.slots {
		b := uint32(i / w.lines)
		if u == nil || b < s.From || s.To != 0 && b >= s.To || over[u.xmin] != committed ||
			u.xmax != 0 && !u.locked && over[u.xmax] == committed {
			continue
		}
		out = append(out, verify.Row{At: w.place(i), Xmin: uint32(u.xmin), Xmax: uint32(u.xmax), Hash: u.value, Key: u.value})
	}
	return out
}

// lie is what a follower shows of the truth. Lies are about table 1.
func (f *follower) lie(w *world, s verify.Span, rows []verify.Row) []verify.Row {
	if s.Table != 1 {
		return rows
	}
	var out []verify.Row
	for _, r := range rows {
		switch f.lies[r.At] {
		case "missing":
			continue
		case "different":
			r.Hash += "!"
		case "moved": // another transaction's row stands there
			r.Xmin, r.Hash = 7, "another's"
		}
		out = append(out, r)
	}
	for _, at := range slices.Sorted(maps.Keys(f.extra)) {
		if block := blockOf(at); block >= s.From && (s.To == 0 || block < s.To) {
			out = append(out, f.extra[at])
		}
	}
	return out
}

func blockOf(place string) (block uint32) {
	fmt.Sscanf(place, "(%d,", &block)
	return block
}
