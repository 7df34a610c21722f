package verify_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/verify"
)

// compare carries a comparison out. Things happen between any two questions, until it has
// asked often; then all comes to rest.
func (w *world) compare(m *verify.Machine) verify.Report {
	for asked := 0; ; asked++ {
		ask, more := m.Next()
		if !more {
			return m.Report()
		}
		if asked > 2000 {
			w.t.Fatalf("it asks for ever: %+v", ask)
		}
		if ask.Wait > 5 {
			w.calm()
		}
		answers := map[string]verify.Answer{}
		for _, member := range ask.Members {
			w.happen()
			answers[member] = w.answer(member, ask)
		}
		m.Hear(answers)
	}
}

func (w *world) list() []verify.Table {
	return []verify.Table{{ID: 1, Name: "one", Blocks: w.blocks(w.tables[1]), Shape: "s"}, {ID: 2, Name: "two", Blocks: w.blocks(w.tables[2]), Shape: "s"}}
}

// plant draws lies about rows that nobody touches, and returns what has to be found.
func (w *world) plant() []string {
	var want []string
	for _, name := range []string{"b", "c"} {
		f := w.followers[name]
		for range rapid.IntRange(0, 4).Draw(w.t, "lies") {
			if w.tables[1].quiet == 0 {
				break
			}
			slot := rapid.IntRange(0, w.tables[1].quiet-1).Draw(w.t, "about")
			kind := rapid.SampledFrom([]string{"missing", "different", "moved"}).Draw(w.t, "lie")
			f.lies[w.place(slot)] = kind
		}
		for at, kind := range f.lies {
			if kind == "moved" {
				kind = "different"
			}
			want = append(want, fmt.Sprint(name, " ", kind, " ", at))
		}
		for i := range rapid.IntRange(0, 2).Draw(w.t, "too many") {
			block := rapid.IntRange(0, 40).Draw(w.t, "block")
			at := fmt.Sprintf("(%d,%d)", block, 100+i)
			f.extra[at] = verify.Row{At: at, Xmin: 6, Hash: "nobody's", Key: "nobody's"}
			want = append(want, name+" extra "+at)
		}
	}
	slices.Sort(want)
	return slices.Compact(want)
}

// What is planted is named, each once, and nothing else, whatever is written and however late it
// is replayed.
func TestExactlyWhatIsPlantedIsNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, []string{"b", "c"})
		want := w.plant()
		m := verify.New("a", []string{"c", "b"}, w.list(), verify.Place{}, verify.Report{})
		m.Size(rapid.Uint32Range(1, 40).Draw(t, "chunk"))
		r := w.compare(m)
		var got []string
		for _, f := range r.Found {
			if f.Kind == verify.Unsettled {
				t.Fatalf("not settled, though all came to rest: %v", f)
			}
			if f.Table != "one" {
				t.Fatalf("in a table without lies: %v", f)
			}
			got = append(got, fmt.Sprint(f.Member, " ", f.Kind, " ", f.At))
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if r.Differs() != (len(want) > 0) || len(r.LeftOut) > 0 {
			t.Fatalf("%+v", r)
		}
		if done, all := m.Progress(); done != all {
			t.Errorf("%d of %d blocks are compared", done, all)
		}
	})
}

// A comparison that is left off and gone on with by another machine names the same.
func TestAComparisonGoesOnWhereAnotherLeftOff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, []string{"b", "c"})
		want := w.plant()
		place, found := verify.Place{}, verify.Report{}
		for lives := rapid.IntRange(0, 5).Draw(t, "lives"); ; lives-- {
			m := verify.New("a", []string{"b", "c"}, w.list(), place, found)
			m.Size(rapid.Uint32Range(1, 10).Draw(t, "chunk"))
			if lives <= 0 {
				found = w.compare(m)
				break
			}
			for range rapid.IntRange(0, 20).Draw(t, "asks") {
				ask, more := m.Next()
				if !more {
					break
				}
				answers := map[string]verify.Answer{}
				for _, member := range ask.Members {
					w.happen()
					answers[member] = w.answer(member, ask)
				}
				m.Hear(answers)
			}
			if next := m.Settled(); !cmp.Equal(next, place) {
				place, found = next, m.Report()
			}
		}
		var got []string
		for _, f := range found.Found {
			if f.Kind != verify.Unsettled {
				got = append(got, fmt.Sprint(f.Member, " ", f.Kind, " ", f.At))
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, slices.Compact(got)); diff != "" && found.Settled() {
			t.Fatal(diff)
		}
	})
}

// fixed answers a machine from a list of members' rows in one table, and stands still.
func fixed(m *verify.Machine, shape func(member string, asked int) string, broken map[string]string) verify.Report {
	for asked := 0; ; asked++ {
		ask, more := m.Next()
		if !more {
			if len(m.Again()) == 0 {
				return m.Report()
			}
			m.Add([]verify.Table{{ID: 1, Name: "t", Blocks: 40, Shape: shape("a", asked)}})
			continue
		}
		answers := map[string]verify.Answer{}
		for _, who := range ask.Members {
			a := verify.Answer{From: 9, To: 9, Snap: verify.Snapshot{Xmin: 100, Xmax: 100}}
			for _, s := range ask.Spans {
				p := verify.Part{Shape: shape(who, asked), Blocks: 40, Count: 1, Sum: "1"}
				if why := broken[who]; why != "" && s.From <= 17 && (s.To == 0 || s.To > 17) {
					p.Broken = why
				}
				a.Part = append(a.Part, p)
			}
			answers[who] = a
		}
		m.Hear(answers)
	}
}

func one() []verify.Table { return []verify.Table{{ID: 1, Name: "t", Blocks: 40, Shape: "s"}} }

// A block that a member cannot read is named, and the others are compared all the same.
func TestABlockThatCannotBeReadIsNamed(t *testing.T) {
	still := func(string, int) string { return "s" }
	r := fixed(verify.New("a", []string{"b", "c"}, one(), verify.Place{}, verify.Report{}), still, map[string]string{"c": "invalid page in block 17"})
	want := []verify.Finding{{Kind: verify.Broken, Member: "c", Table: "t", At: "block 17", Why: "invalid page in block 17"}}
	if diff := cmp.Diff(want, r.Found); diff != "" {
		t.Error(diff)
	}
}

// A table that is altered meanwhile is compared again; one that is altered each time is left out
// with a word.
func TestATableThatIsAlteredIsComparedAgain(t *testing.T) {
	once := func(_ string, asked int) string { return map[bool]string{true: "s", false: "s2"}[asked == 0] }
	m := verify.New("a", []string{"b"}, one(), verify.Place{}, verify.Report{})
	m.Size(10)
	if r := fixed(m, once, nil); len(r.LeftOut)+len(r.Found) > 0 || r.Tables != 1 || r.Blocks != 40 {
		t.Errorf("%+v", r)
	}
	late := func(who string, _ int) string { return map[string]string{"a": "s2", "b": "s"}[who] }
	r := fixed(verify.New("a", []string{"b"}, one(), verify.Place{}, verify.Report{}), late, nil)
	if len(r.LeftOut) != 1 || !strings.Contains(r.LeftOut[0].Why, "altered") || len(r.Found) > 0 || r.Tables != 0 {
		t.Errorf("%+v", r)
	}
}

// What cannot be compared is said; of a table in which everything differs only so much is named.
func TestWhatIsNotSaidInFullIsSaidSo(t *testing.T) {
	tables := append(one(), verify.Table{ID: 2, Name: "u", Skip: "it is not logged, so it is empty on every follower"})
	r := fixed(verify.New("a", []string{"b"}, tables, verify.Place{}, verify.Report{}), func(string, int) string { return "s" }, nil)
	if diff := cmp.Diff([]verify.Omission{{"u", "it is not logged, so it is empty on every follower"}}, r.LeftOut); diff != "" {
		t.Error(diff)
	}
	m := verify.New("a", []string{"b"}, one(), verify.Place{}, verify.Report{})
	for {
		ask, more := m.Next()
		if !more {
			break
		}
		answers := map[string]verify.Answer{}
		for _, who := range ask.Members {
			a := verify.Answer{From: 9, To: 9, Snap: verify.Snapshot{Xmin: 100, Xmax: 100}}
			for _, s := range ask.Spans {
				p := verify.Part{Shape: "s", Blocks: 40, Sum: who}
				for i := range 30 {
					p.Rows = append(p.Rows, verify.Row{At: fmt.Sprintf("(%d,%d)", s.From, i), Xmin: 5, Hash: who})
				}
				a.Part = append(a.Part, p)
			}
			answers[who] = a
		}
		m.Hear(answers)
	}
	if r := m.Report(); len(r.Found) != 20 || r.More["t"] == 0 {
		t.Errorf("%d are named, more: %v", len(r.Found), r.More)
	}
}

func TestSequencesMayBeAheadByWhatIsFetchedAndNeverBehind(t *testing.T) {
	seq := func(last int64) []verify.Sequence {
		return []verify.Sequence{{ID: 1, Name: "s", Last: last, Step: 2, Cache: 1}}
	}
	down := func(last int64) []verify.Sequence {
		return []verify.Sequence{{ID: 1, Name: "s", Last: last, Step: -1, Cache: 5}}
	}
	for name, c := range map[string]struct {
		before, theirs, after []verify.Sequence
		want                  verify.Kind
	}{
		"the same":                   {seq(10), seq(10), seq(10), ""},
		"ahead by what is fetched":   {seq(10), seq(76), seq(10), ""},
		"ahead":                      {seq(10), seq(78), seq(10), verify.Ahead},
		"behind":                     {seq(10), seq(8), seq(12), verify.Behind},
		"between":                    {seq(10), seq(90), seq(100), ""},
		"missing":                    {seq(10), nil, seq(10), verify.Missing},
		"set back meanwhile":         {seq(10), seq(2), seq(2), ""},
		"dropped meanwhile":          {seq(10), nil, nil, ""},
		"counts down":                {down(10), down(-27), down(10), ""},
		"counts down, behind":        {down(10), down(11), down(10), verify.Behind},
		"counts down, far ahead":     {down(10), down(-28), down(10), verify.Ahead},
		"another step in the middle": {seq(10), seq(2), down(2), ""},
	} {
		got := verify.Kind("")
		for _, f := range verify.Sequences("b", c.before, c.theirs, c.after) {
			got += f.Kind
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
