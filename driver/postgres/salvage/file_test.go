package salvage

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var head = Header{ID: "r-000012-a", Store: "talk-db", Member: "a", System: "7712372900150322018", Reign: 3, Timeline: 2,
	Fork: "0/5000148", End: "0/5009000", Oldest: 731, Next: 740, At: time.Date(2022, 10, 15, 6, 0, 0, 0, time.UTC)}

// rows are one of each sort.
func rows() []Row {
	return []Row{
		{Database: "talk", Schema: "public", Table: "w", Op: Insert, Key: []string{"id"}, XID: 734, At: head.At, Told: Never,
			New: []Value{NewValue("id", "bigint", "1"), {Column: "at", Type: "text", State: Null}, {Column: "big", State: Untouched}}},
		{Database: "talk", Schema: "한글", Table: `a"b`, Op: Update, Key: []string{"id"}, Told: Unknown, Why: "nobody saw",
			Old: []Value{NewValue("id", "integer", "1")}, New: []Value{NewValue("id", "integer", "2"), NewValue("x", "text", "no \xff UTF-8")}},
		{Database: "talk", Schema: "public", Table: "w", Op: Delete, Key: []string{"id"}, Told: Never, Old: []Value{NewValue("id", "bigint", "3")}},
		{Database: "talk", Schema: "public", Table: "nokey", Op: Delete, Told: Never, Note: "the log holds no values of it"},
		{Database: "talk", Schema: "public", Table: "w", Op: Truncate, Told: Never},
	}
}

func written(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, head)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows() {
		if err := w.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Close([]string{"large objects were not read"})
	if err != nil || f.Rows != 5 || f.Told != 1 || f.Tables["talk.public.w"] != 3 {
		t.Fatalf("%+v, %v", f, err)
	}
	return b.Bytes()
}

// readAll is a file's rows, or what is wrong with it.
func readAll(raw []byte) ([]Row, Footer, error) {
	r, err := NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, Footer{}, err
	}
	var out []Row
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, r.Footer(), nil
		}
		if err != nil {
			return out, Footer{}, err
		}
		out = append(out, row)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	got, foot, err := readAll(written(t))
	if err != nil {
		t.Fatal(err)
	}
	want := rows()
	for i := range want {
		want[i].N = i + 1
	}
	if diff := cmp.Diff(want, got); diff != "" || len(foot.Unknown) != 1 {
		t.Error(diff, foot)
	}
	if v := got[1].New[1]; v.String() != "no \xff UTF-8" {
		t.Errorf("%q", v.String())
	}
}

// However a file is changed, cut off or added to, nothing of it counts.
func TestFilesThatAreNotAsTheyWereWrittenAreRefused(t *testing.T) {
	good := string(written(t))
	edit := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	lines := strings.SplitAfter(good, "\n")
	for what, c := range map[string]struct{ text, says string }{
		"empty":                      {"", "empty"},
		"something else":             {"<html>\n", "no salvage"},
		"another format":             {edit(Format, "haechi-backup"), "haechi-backup"},
		"a newer version":            {edit(`"version":1`, `"version":2`), "release"},
		"a key that nobody knows":    {edit(`"told"`, `"said"`), "edited"},
		"a value by hand":            {edit(`"text":"3"`, `"text":"4"`), "edited"},
		"another member":             {edit(`"member":"a"`, `"member":"b"`), "edited"},
		"a row left out":             {lines[0] + lines[2] + strings.Join(lines[3:], ""), "edited"},
		"a row twice":                {lines[0] + lines[1] + strings.Join(lines[1:], ""), "edited"},
		"cut off between two lines":  {lines[0] + lines[1], "cut off"},
		"cut off in the middle":      {good[:len(good)/2], "edited"},
		"the end cut off":            {strings.Join(lines[:len(lines)-2], ""), "cut off"},
		"more behind the end":        {good + lines[1], "edited"},
		"another file's end":         {edit(`"rows":5`, `"rows":4`), "edited"},
		"never told, by hand":        {edit(`"told":"unknown","why":"nobody saw"`, `"told":"never"`), "edited"},
		"a key without values":       {edit(`"key":["id"]`, `"key":["nr"]`), "edited"},
		"an op that there is not":    {edit(`"op":"insert"`, `"op":"upsert"`), "edited"},
		"a column that stands twice": {edit(`"column":"at"`, `"column":"id"`), "edited"},
	} {
		_, _, err := readAll([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q in it", what, err, c.says)
		}
	}
}

// A bytea of 100 MB is 200 MB of text, in one line.
func TestLargeValues(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, head)
	if err != nil {
		t.Fatal(err)
	}
	r := rows()[0]
	r.New = append(r.New, NewValue("b", "bytea", `\x`+strings.Repeat("00ff", 2<<20)))
	if err := w.Add(r); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(nil); err != nil {
		t.Fatal(err)
	}
	got, _, err := readAll(b.Bytes())
	if err != nil || len(got) != 1 || !got[0].New[3].Same(r.New[3]) {
		t.Errorf("%d rows, %v", len(got), err)
	}
}

func TestRowsThatSayNothingAreNotWritten(t *testing.T) {
	w, err := NewWriter(io.Discard, head)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []func(*Row){
		func(r *Row) { r.Table = "" },
		func(r *Row) { r.Told, r.Why = Unknown, "" },
		func(r *Row) { r.New = nil },
		func(r *Row) { r.New[0].State = Null },
		func(r *Row) { r.New[1].Text = "x" },
	} {
		r := rows()[0]
		bad(&r)
		if err := w.Add(r); err == nil {
			t.Errorf("%+v was written", r)
		}
	}
}

// Whatever a file holds, it is refused or it is what a writer makes of its rows again.
func FuzzReader(f *testing.F) {
	var b bytes.Buffer
	w, _ := NewWriter(&b, head)
	for _, r := range rows() {
		_ = w.Add(r)
	}
	_, _ = w.Close(nil)
	f.Add(b.Bytes())
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := NewReader(bytes.NewReader(raw))
		if err != nil {
			return
		}
		w, err := NewWriter(io.Discard, r.Header)
		if err != nil {
			t.Fatal(err)
		}
		for {
			row, err := r.Next()
			if err != nil {
				return
			}
			if err := w.Add(row); err != nil {
				t.Fatalf("it was read and cannot be written: %v", err)
			}
		}
	})
}
