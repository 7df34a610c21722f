package postgres

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestErasAreRead(t *testing.T) {
	got, err := parseEras("1\t0/3000148\tno recovery target specified\n\n# by hand\n3\t0/5000000\tafter 판교\n", 4)
	if diff := cmp.Diff([]era{{1, 0x3000148}, {3, 0x5000000}, {4, 0}}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, bad := range []string{"1", "x\t0/1\t", "1\t7\t", "4\t0/1\t", "2\t0/2\t\n1\t0/3\t", "1\t0/5\t\n2\t0/4\t", "1\t0/0\t"} {
		if _, err := parseEras(bad, 4); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzParseEras(f *testing.F) {
	f.Add("1\t0/3000148\tno recovery target specified\n", uint64(2))
	f.Fuzz(func(t *testing.T, text string, timeline uint64) {
		got, err := parseEras(text, timeline)
		if err != nil {
			return
		}
		for i := 1; i < len(got); i++ {
			if got[i].Timeline <= got[i-1].Timeline || got[i-1].End == 0 {
				t.Fatalf("out of order: %v", got)
			}
		}
		if tl, at, ok := fork(got, got); !ok || tl != timeline || at != 0 {
			t.Fatalf("it parts from itself at %d %s", tl, at)
		}
	})
}

func TestWhereHistoriesPart(t *testing.T) {
	old := []era{{1, 0}}
	moved := []era{{1, 0x300}, {2, 0}}
	twice := []era{{1, 0x300}, {2, 0x500}, {3, 0}}
	for name, tt := range map[string]struct {
		here, there []era
		timeline    uint64
		at          LSN
	}{
		"FormerPrimary":    {old, moved, 1, 0x300},
		"TwoMovesAgo":      {old, twice, 1, 0x300},
		"OneMoveAgo":       {moved, twice, 2, 0x500},
		"TheSame":          {twice, twice, 3, 0},
		"PromotedByHand":   {[]era{{1, 0x200}, {2, 0}}, moved, 1, 0x200},
		"PromotedLater":    {[]era{{1, 0x400}, {2, 0}}, moved, 1, 0x300},
		"AnotherNumber":    {[]era{{1, 0x300}, {2, 0x400}, {4, 0}}, twice, 2, 0x400},
		"AheadOfTheSource": {twice, moved, 2, 0x500},
	} {
		if tl, at, ok := fork(tt.here, tt.there); tl != tt.timeline || at != tt.at || !ok {
			t.Errorf("%s: timeline %d at %s, %v; want %d at %s", name, tl, at, ok, tt.timeline, tt.at)
		}
	}
	if _, _, ok := fork([]era{{5, 0}}, old); ok {
		t.Error("strangers share something")
	}
}

func TestWALNames(t *testing.T) {
	for want, at := range map[string]LSN{"000000020000000000000003": 0x3000148, "0000000200000001000000FF": 0x1FFABCDEF} {
		if got := walName(2, at, 16<<20); got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
	if got := walName(2, 0x3000148, 1<<20); got != "000000020000000000000030" {
		t.Error(got)
	}
	if got := historyName(26); got != "0000001A.history" {
		t.Error(got)
	}
}

// The last page that is whole stands in the file before the last one that was begun; what was only made ready for
// later, and the empty rest after a switch, are none.
func TestTheLastWholePageOfALog(t *testing.T) {
	const segment = 4 * pageSize
	u := &Unit{set: Settings{Data: t.TempDir()}}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(u.set.Data, "pg_wal"), 0o700))
	file := func(timeline uint64, begin LSN, places ...LSN) {
		raw := make([]byte, segment)
		for i, at := range places {
			binary.LittleEndian.PutUint16(raw[i*pageSize:], 0xD110)
			binary.LittleEndian.PutUint64(raw[i*pageSize+8:], uint64(at))
		}
		must(os.WriteFile(filepath.Join(u.set.Data, "pg_wal", walName(timeline, begin, segment)), raw, 0o600))
	}
	file(1, 2*segment, 2*segment, 2*segment+pageSize)
	file(2, 3*segment, 3*segment)                              // begun, on a newer timeline
	file(2, 4*segment, segment, segment+pageSize, 0, pageSize) // made ready out of an old one
	end := u.lastLog(segment, 2, 2*segment+100)
	if end != 3*segment {
		t.Fatalf("the last file begins at %s", end)
	}
	for _, tt := range []struct{ from, end, want LSN }{
		{segment + 100, end, 2*segment + pageSize}, {2*segment + 100, end, 2*segment + pageSize},
		{2*segment + pageSize, end, 0}, {3*segment + 10, end, 0}, {segment, 2 * segment, 0},
	} {
		if got := u.wholePage(segment, 2, tt.from, tt.end); got != tt.want {
			t.Errorf("from %s to %s: %s, want %s", tt.from, tt.end, got, tt.want)
		}
	}
}
