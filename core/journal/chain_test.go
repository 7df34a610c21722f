package journal_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/journal"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("KST", 9*3600))

func chain(texts ...string) []journal.Entry {
	var out []journal.Entry
	var prev journal.Entry
	for i, s := range texts {
		prev = journal.Link(prev, journal.Entry{
			At: noon.Add(time.Duration(i) * time.Second), Tower: "tower-pangyo", Term: 3, Kind: "note", Subject: "pangyo",
			Text: s, Data: json.RawMessage(`{"b": 1, "a": "<x>"}`),
		})
		out = append(out, prev)
	}
	return out
}

func TestVerifyNamesTheFirstBadEntry(t *testing.T) {
	tests := map[string]struct {
		spoil func([]journal.Entry) []journal.Entry
		seq   uint64
		why   journal.Why
	}{
		"Changed":   {func(e []journal.Entry) []journal.Entry { e[2].Text = "nothing happened"; return e }, 3, journal.Changed},
		"Missing":   {func(e []journal.Entry) []journal.Entry { return slices.Delete(e, 1, 3) }, 4, journal.Gap},
		"Swapped":   {func(e []journal.Entry) []journal.Entry { e[1], e[2] = e[2], e[1]; return e }, 3, journal.Gap},
		"Doubled":   {func(e []journal.Entry) []journal.Entry { return slices.Insert(e, 2, e[1]) }, 2, journal.Reordered},
		"NoFirst":   {func(e []journal.Entry) []journal.Entry { return e[1:] }, 2, journal.Gap},
		"NoLast":    {func(e []journal.Entry) []journal.Entry { return e[:4] }, 5, journal.CutShort},
		"All gone":  {func(e []journal.Entry) []journal.Entry { return nil }, 1, journal.CutShort},
		"Rewritten": {func(e []journal.Entry) []journal.Entry { e[1] = journal.Link(e[0], e[3]); return e }, 3, journal.Unlinked},
		"RewrittenToTheEnd": {func(e []journal.Entry) []journal.Entry {
			return append(e[:4], journal.Link(e[3], journal.Entry{Text: "else"}))
		}, 5, journal.Changed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			whole := chain("a", "b", "c", "d", "e")
			head := whole[4].Head()
			if err := journal.VerifyTo(whole, 1, head); err != nil {
				t.Fatal(err)
			}
			err := journal.VerifyTo(tt.spoil(whole), 1, head)
			bad, ok := errors.AsType[*journal.Bad](err)
			if !ok || bad.Seq != tt.seq || bad.Why != tt.why {
				t.Fatalf("err = %v, want entry %d: %s", err, tt.seq, tt.why)
			}
		})
	}
}

func TestAPieceMayBeginAnywhere(t *testing.T) {
	if err := journal.Verify(chain("a", "b", "c")[1:]); err != nil {
		t.Fatal(err)
	}
}

func TestHashSurvivesBeingWrittenAndRead(t *testing.T) {
	entries := chain("a <b> \xff & 해치", "b")
	raw, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var read []journal.Entry
	if err := json.Unmarshal(raw, &read); err != nil {
		t.Fatal(err)
	}
	if err := journal.VerifyTo(read, 1, entries[1].Head()); err != nil {
		t.Fatal(err)
	}
}

func TestStringIsOneLine(t *testing.T) {
	got := journal.Link(journal.Entry{}, journal.Entry{At: noon, Tower: "tower-pangyo", Term: 3, Kind: "verdict", Subject: "pangyo", Text: "lost\n\x1b[2J"}).String()
	if want := "000001 2026-03-01 03:00:00.123 verdict  pangyo: lost  [2J  (tower-pangyo, term 3)"; got != want {
		t.Fatal(cmp.Diff(want, got))
	}
}

func anyEntry(t *rapid.T) journal.Entry {
	data, _ := json.Marshal(rapid.MapOf(rapid.StringN(0, 5, -1), rapid.StringN(0, 5, -1)).Draw(t, "data"))
	return journal.Entry{
		At:      time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")),
		Tower:   rapid.StringN(0, 5, -1).Draw(t, "tower"),
		Term:    rapid.Uint64().Draw(t, "term"),
		Kind:    rapid.SampledFrom([]string{"verdict", "run", "note"}).Draw(t, "kind"),
		Subject: rapid.StringN(0, 5, -1).Draw(t, "subject"),
		Text:    rapid.String().Draw(t, "text"),
		Data:    data,
	}
}

// TestNoChangeGoesUnseen: whatever is done to a written journal, the chain shows it.
func TestNoChangeGoesUnseen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var whole []journal.Entry
		var prev journal.Entry
		for range rapid.IntRange(2, 12).Draw(t, "n") {
			prev = journal.Link(prev, anyEntry(t))
			whole = append(whole, prev)
		}
		head := prev.Head()
		if err := journal.VerifyTo(whole, 1, head); err != nil {
			t.Fatalf("a good chain: %v", err)
		}
		at := rapid.IntRange(0, len(whole)-1).Draw(t, "at")
		to := (at + rapid.IntRange(1, len(whole)-1).Draw(t, "by")) % len(whole)
		bad := slices.Clone(whole)
		switch op := rapid.SampledFrom([]string{"change", "relink", "remove", "swap", "copy"}).Draw(t, "op"); op {
		case "change":
			change(t, &bad[at])
		case "relink": // a careful forger fixes the hash of what was changed
			change(t, &bad[at])
			var before journal.Entry
			if at > 0 {
				before = bad[at-1]
			}
			bad[at] = journal.Link(before, bad[at])
			if cmp.Equal(bad[at], whole[at]) {
				t.Skip("Link undid the change")
			}
		case "remove":
			bad = slices.Delete(bad, at, at+1)
		case "swap":
			bad[at], bad[to] = bad[to], bad[at]
		case "copy":
			bad[to] = bad[at]
		}
		if err := journal.VerifyTo(bad, 1, head); err == nil {
			t.Fatalf("not seen:\n%s", cmp.Diff(whole, bad))
		}
	})
}

func change(t *rapid.T, e *journal.Entry) {
	switch rapid.IntRange(0, 9).Draw(t, "field") {
	case 0:
		e.Seq++
	case 1:
		e.Version++
	case 2:
		e.At = e.At.Add(time.Nanosecond)
	case 3:
		e.Tower += "x"
	case 4:
		e.Term++
	case 5:
		e.Kind += "x"
	case 6:
		e.Subject += "x"
	case 7:
		e.Text += "x"
	case 8:
		e.Data = json.RawMessage(strings.Replace(string(e.Data), "{", `{"zz":1,`, 1))
		e.Data = json.RawMessage(strings.Replace(string(e.Data), ",}", "}", 1))
	case 9:
		e.Prev += "0"
	}
}
