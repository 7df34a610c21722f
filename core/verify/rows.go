package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// bracket looks at the rows of one block, again and again: the primary, then the followers that
// still differ, then the primary once more, which is also the begin of the next turn. What was
// there at the first look is compared; a version that is gone later was written anew since.
//
// A version v of a row that the primary shows before and after a follower's look lived all that time. So the
// follower must show it, if it had replayed all that the primary's first look rests on, and unless
// somebody had deleted v already and the primary did not show that yet: a commit that waits for
// other members is in the log, and on them, before the primary shows it. That is excluded where
// nobody ever tried to (Xmax is 0), or where all that was over for the follower is over for the
// primary's second look too.
//
// A version v that the primary did not show while its transaction was over was deleted before that, or
// never there; a follower that shows it though it has replayed all that look rests on holds too much.
// Whether a transaction is over is asked of the snapshot's Xmin, since the list of those
// that run does not name what runs below them.
type bracket struct {
	span      Span
	followers []string
	turn      int
	late      int               // turns that proved nothing, since no follower had replayed so far
	before    *Answer           // the primary, first of this turn
	seen      map[string]Answer // the followers, in between; nil: not asked yet
	open      map[string]map[version]doubt
}

// version is one of a row.
type version struct {
	at   string
	xmin uint32
}

// doubt is a version that a follower and the primary do not both show.
type doubt struct {
	row   Row
	extra bool // only the follower shows it
}

func newBracket(s Span, followers []string) *bracket {
	b := &bracket{span: s, followers: followers, open: map[string]map[version]doubt{}}
	for _, f := range followers {
		b.open[f] = nil
	}
	return b
}

// next is whom to ask now.
func (b *bracket) next(primary string) Ask {
	ask := Ask{Members: []string{primary}, Spans: []Span{b.span}, Rows: true}
	if b.before != nil && b.seen == nil {
		ask.Members, ask.Wait = slices.Sorted(maps.Keys(b.open)), b.turn+b.late
	}
	return ask
}

// hearRows takes rows of the block that is looked at.
func (m *Machine) hearRows(answers map[string]Answer) {
	b := m.rows
	if m.unreadable(b, answers) {
		m.rows = nil
		return
	}
	switch p, ofPrimary := answers[m.primary]; {
	case b.before == nil:
		b.before = &p
	case !ofPrimary:
		b.seen = answers
	default:
		if m.judge(b, p) {
			b.turn++
		} else {
			b.late++
		}
		b.before, b.seen = &p, nil
	}
	if len(b.open) == 0 {
		m.rows = nil
	} else if b.turn >= turns || b.late >= lates {
		m.unsettled(b)
		m.rows = nil
	}
}

// unreadable takes care of who cannot read the block, or sees another table; true: nothing more is
// to be found out.
func (m *Machine) unreadable(b *bracket, answers map[string]Answer) bool {
	t := m.known(b.span.Table)
	for _, who := range slices.Sorted(maps.Keys(answers)) {
		p := answers[who].Part[0]
		switch {
		case who == m.primary && p.Gone:
			m.drop(t.ID, "it was dropped meanwhile")
			return true
		case p.Gone || p.Shape != t.Shape:
			m.alter(t.ID)
			return true
		case p.Broken != "":
			m.found(t, Finding{Kind: Broken, Member: who, At: fmt.Sprintf("block %d", b.span.From), Why: p.Broken})
			delete(b.open, who)
			if who == m.primary {
				return true // there is nothing to compare with
			}
		}
	}
	return len(b.open) == 0
}

// judge settles what the last three looks prove, and says whether they could prove anything: whether
// one of the followers had replayed what the first look shows.
func (m *Machine) judge(b *bracket, after Answer) (could bool) {
	t := m.known(b.span.Table)
	old, now := byVersion(*b.before), byVersion(after)
	for _, who := range slices.Sorted(maps.Keys(b.open)) {
		f, ok := b.seen[who]
		if !ok {
			continue
		}
		could = could || f.From >= b.before.To
		theirs := byVersion(f)
		if b.open[who] == nil {
			b.open[who] = doubts(old, theirs)
		}
		for _, v := range ordered(b.open[who]) {
			d, open := b.open[who][v]
			if !open {
				continue // it was the other side of one before
			}
			l := look{v: v, before: b.before, between: &f, after: &after, old: old, theirs: theirs, now: now}
			if d.extra {
				m.judgeExtra(b, t, who, d, l)
			} else {
				m.judgeOurs(b, t, who, d, l)
			}
		}
		if len(b.open[who]) == 0 {
			delete(b.open, who)
		}
	}
	return could
}

// look is one version in the three looks of a turn.
type look struct {
	v                      version
	before, between, after *Answer
	old, theirs, now       map[version]Row
}

// replayed says that the follower had all that the primary's first look shows.
func (l look) replayed() bool { return l.between.From >= l.before.To }

// judgeOurs judges a version that the primary shows.
func (m *Machine) judgeOurs(b *bracket, t Table, who string, d doubt, l look) {
	now, still := l.now[l.v]
	have, shown := l.theirs[l.v]
	old, was := l.old[l.v]
	switch {
	case !still || now.Hash != d.row.Hash, // written anew since
		shown && have.Hash == d.row.Hash:
		delete(b.open[who], l.v)
	case was && old.Hash == d.row.Hash && l.replayed() && (now.Xmax == 0 || l.after.Snap.Xmin >= l.between.Snap.Xmax):
		kind := Missing
		if other, there := at(l.theirs, l.v.at); there {
			kind = Different
			delete(b.open[who], version{other.At, other.Xmin})
		}
		delete(b.open[who], l.v)
		m.found(t, Finding{Kind: kind, Member: who, At: l.v.at, Key: d.row.Key})
	}
}

// judgeExtra judges a version that only the follower showed.
func (m *Machine) judgeExtra(b *bracket, t Table, who string, d doubt, l look) {
	have, shown := l.theirs[l.v]
	ours, there := l.now[l.v]
	if !there {
		ours, there = l.old[l.v]
	}
	_, was := l.old[l.v]
	switch {
	case !shown, there && ours.Hash == have.Hash:
		delete(b.open[who], l.v)
	case there: // it was ahead of the primary's first look
		b.open[who][l.v] = doubt{row: ours}
	case !was && l.replayed() && full(l.v.xmin, l.before.Snap.Xmax) < l.before.Snap.Xmin:
		delete(b.open[who], l.v)
		m.found(t, Finding{Kind: Extra, Member: who, At: l.v.at, Key: d.row.Key})
	}
}

// full is a transaction's number as snapshots count them, near to one that was handed out last.
// What seems to lie far ahead is older than half of all numbers.
func full(xid uint32, last uint64) uint64 {
	const ahead = 1 << 24
	d := int64(int32(xid - uint32(last))) //nolint:gosec // the distance round the circle is what is wanted
	if xid < 3 || d > ahead {
		return 0 // frozen, or as good as
	}
	return uint64(max(int64(last)+d, 0))
}

// doubts are the versions at a first look that one side lacks, or shows otherwise.
func doubts(ours, theirs map[version]Row) map[version]doubt {
	out := map[version]doubt{}
	for v, r := range ours {
		if have, ok := theirs[v]; !ok || have.Hash != r.Hash {
			out[v] = doubt{row: r}
		}
	}
	for v, r := range theirs {
		if _, ok := ours[v]; !ok {
			out[v] = doubt{row: r, extra: true}
		}
	}
	return out
}

// unsettled names what could not be proven in time.
func (m *Machine) unsettled(b *bracket) {
	for _, who := range slices.Sorted(maps.Keys(b.open)) {
		for _, v := range ordered(b.open[who]) {
			m.found(m.known(b.span.Table), Finding{Kind: Unsettled, Member: who, At: v.at, Key: b.open[who][v].row.Key,
				Why: "it looked different each time, and a transaction that goes on, or a member that is behind, kept that from being proven"})
		}
	}
}

func byVersion(a Answer) map[version]Row {
	out := map[version]Row{}
	for _, r := range a.Part[0].Rows {
		out[version{r.At, r.Xmin}] = r
	}
	return out
}

// at is the version that stands in a place.
func at(rows map[version]Row, place string) (Row, bool) {
	for v, r := range rows {
		if v.at == place {
			return r, true
		}
	}
	return Row{}, false
}

// ordered are versions by their places: what the primary shows first, so that what stands in the same
// place on a follower is the other side of it.
func ordered(all map[version]doubt) []version {
	return slices.SortedFunc(maps.Keys(all), func(a, b version) int {
		if x, y := all[a].extra, all[b].extra; x != y {
			if y {
				return -1
			}
			return 1
		}
		if c := strings.Compare(a.at, b.at); c != 0 {
			return c
		}
		return int(int64(a.xmin) - int64(b.xmin))
	})
}
