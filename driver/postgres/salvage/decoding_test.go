package salvage

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What a real server wrote about a table whose names and types need every kind of quoting.
func TestLinesOfARealServer(t *testing.T) {
	raw, err := os.ReadFile("testdata/decoded.txt")
	if err != nil {
		t.Fatal(err)
	}
	var changes []*Change
	for _, text := range strings.Split(strings.TrimSuffix(string(raw), "\n"), "\x00\n") {
		l, err := ParseLine(text)
		if err != nil {
			t.Fatal(err)
		}
		if l.Change != nil {
			changes = append(changes, l.Change)
		}
	}
	first := changes[0]
	if diff := cmp.Diff([]Relation{{"한글 스키마", `테이블 "x".`}}, first.Tables); diff != "" || first.Op != Insert {
		t.Errorf("%s %s", first.Op, diff)
	}
	want := map[string]Value{
		"id":      {Type: "integer", Text: "1"},
		"열 [1]":   {Type: "text", Text: "it's \\ back\nnew line"},
		"m":       {Type: "mood", Text: "it's ok"},
		"arr":     {Type: "text[]", Text: `{"a,\"b","null",NULL}`},
		"n":       {Type: "numeric", Text: "NaN"},
		"j":       {Type: "jsonb", Text: `{"a": [1, "x'y"]}`},
		"b":       {Type: "bytea", Text: `\x00ff27`},
		"f":       {Type: "double precision", Text: "Infinity"},
		"bo":      {Type: "boolean", Text: "t"},
		"bi":      {Type: "bit", Text: "101"},
		"vb":      {Type: "bit varying", Text: "10"},
		"iv":      {Type: "interval", Text: "1 day 02:03:00"},
		"ts":      {Type: "timestamp with time zone", Text: "2022-10-15 06:00:00.123+00"},
		"c":       {Type: "character", Text: "ab   "},
		"comp":    {Type: `"한글 스키마"."t]y""p"`, Text: `(1,"x""y")`},
		"carr":    {Type: `"한글 스키마"."t]y""p"[]`, Text: `{"(1,\"x y\")"}`},
		"nothing": {Type: "text", State: Null},
	}
	for _, v := range first.New {
		w, ok := want[v.Column]
		if w.Column = v.Column; !ok || w.Type != v.Type || !w.Same(v) {
			t.Errorf("column %q: got %+v, want %+v", v.Column, v, w)
		}
		delete(want, v.Column)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	var ops []string
	for _, c := range changes[1:] {
		ops = append(ops, string(c.Op)+" "+c.Tables[0].Table+" old="+draw(c.Old)+" new="+draw(c.New)+strings.Repeat(" bare", map[bool]int{true: 1}[c.Bare]))
	}
	if diff := cmp.Diff([]string{
		`update big old= new=id=1,big:untouched`,
		`update big old=id=1 new=id=2,big:untouched`,
		`delete big old=id=2 new=`,
		`delete nokey old= new= bare`,
		`update full_ old=a=2 new=a=2,b=u`,
		`update k2 old=a=1,b=b new=a=1,b=bb,c=`,
		`truncate k2 old= new=`,
		`truncate k2 old= new=`,
	}, ops); diff != "" {
		t.Error(diff)
	}
}

func draw(all []Value) string {
	var out []string
	for _, v := range all {
		if v.State != Known {
			out = append(out, v.Column+":"+string(v.State))
			continue
		}
		out = append(out, v.Column+"="+v.String())
	}
	return strings.Join(out, ",")
}

func TestCommitsTellWhen(t *testing.T) {
	l, err := ParseLine("COMMIT 734 (at 2026-11-26 07:05:48.693651+00)")
	want := &Commit{XID: 734, At: time.Date(2026, 11, 26, 7, 5, 48, 693651000, time.UTC)}
	if err != nil || !cmp.Equal(l.Commit, want) {
		t.Errorf("%+v, %v", l.Commit, err)
	}
}

// Half a row, or one that could be read in two ways, is an error.
func TestLinesThatAreNotUnderstoodAreErrors(t *testing.T) {
	for _, text := range []string{
		"", "table", "table public.t", "table t: INSERT: a[integer]:1", "table public.t: MERGE: a[integer]:1",
		"table public.t: INSERT: a[integer]:", "table public.t: INSERT: a[integer]:x", "table public.t: INSERT: a[integer:1",
		"table public.t: INSERT: a[]:1", "table public.t: INSERT: a[text]:'x", "table public.t: INSERT: a[text]:'x'y'",
		`table public."t: INSERT: a[integer]:1`, "table public.t: INSERT: a[integer]:1 ", "table public.t: INSERT: a[integer]:1  b[integer]:2",
		"table public.t: UPDATE: old-key: a[integer]:1", "table public.t, public.u: INSERT: a[integer]:1",
		"table public.t: TRUNCATE:", "table public.t: TRUNCATE: (no-flags) more", "COMMIT x", "COMMIT 1 (at noon)", "BEGIM 1",
	} {
		if l, err := ParseLine(text); err == nil {
			t.Errorf("%q was read as %+v", text, l)
		}
	}
}

// Whatever is read is read to the last byte, and a bytea stays as long as it was.
func FuzzParseLine(f *testing.F) {
	raw, err := os.ReadFile("testdata/decoded.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range strings.Split(string(raw), "\x00\n") {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLine(text)
		if err != nil || l.Change == nil {
			return
		}
		for _, side := range [][]Value{l.Change.Old, l.Change.New} {
			for _, v := range side {
				if v.Column == "" && !strings.Contains(text, `""`) || len(v.String()) > len(text) {
					t.Errorf("%q: %+v", text, v)
				}
			}
		}
	})
}
