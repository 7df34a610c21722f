package postgres

import (
	_ "embed"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// waldumpText goes with the program: lab tests run it elsewhere, as another user.
//
//go:embed testdata/waldump.txt
var waldumpText string

// What a real server's log shows: two tables that were written, one with a delete, one transaction
// with a part of it rolled back, one that was only prepared, and one that changed definitions.
func TestTheLogOfARealServer(t *testing.T) {
	w := &walked{top: map[uint32]uint32{}, touched: map[string]touch{}, defines: map[uint32]bool{}}
	if err := w.read(strings.NewReader(waldumpText)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[uint32]uint32{734: 734, 737: 737, 750: 750, 751: 750, 760: 760, 748: 748}, w.top); diff != "" {
		t.Error(diff)
	}
	want := map[string]touch{"1663/5/16393": {true, true}, "1663/5/16411": {true, false}, "1663/5/16397": {true, false}, "1663/5/1259": {true, false}}
	if diff := cmp.Diff(want, w.touched, cmp.AllowUnexported(touch{})); diff != "" {
		t.Error(diff)
	}
	if w.end != toLSN("0/154FE70") || w.left != 1 || w.nothing() || len(w.notes()) != 2 {
		t.Errorf("end %s, %d left, %v", w.end, w.left, w.notes())
	}
}

// A log in which nobody committed proves that there is nothing, whatever else it holds.
func TestALogWithoutCommitsHoldsNothing(t *testing.T) {
	w := &walked{top: map[uint32]uint32{}, touched: map[string]touch{}, defines: map[uint32]bool{}}
	text := "rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/05000148, prev 0/05000110, desc: CHECKPOINT_SHUTDOWN redo 0/5000148; tli 1; prev tli 1\n" +
		"rmgr: Heap        len (rec/tot):     65/    65, tx:        738, lsn: 0/050001C0, prev 0/05000148, desc: INSERT off 2 flags 0x08, blkref #0: rel 1663/5/16401 blk 0\n" +
		"rmgr: Transaction len (rec/tot):     34/    34, tx:        738, lsn: 0/05000208, prev 0/050001C0, desc: ABORT 2026-11-26 07:05:48.696545 UTC\n"
	if err := w.read(strings.NewReader(text)); err != nil || !w.nothing() || w.records != 3 {
		t.Errorf("%+v, %v", w, err)
	}
}

func TestWhatPgWaldumpSaysAtTheEnd(t *testing.T) {
	for says, end := range map[string]bool{
		"pg_waldump: error: error in WAL record at 0/154FDD8: invalid record length at 0/154FE10: wanted 24, got 0": true,
		"pg_waldump: fatal: could not find a valid record after 0/5000148":                                          true,
		"pg_waldump: error: could not find file \"000000010000000000000000\": No such file or directory":            false,
		"pg_waldump: error: could not read from file 000000010000000000000001, offset 0: Input/output error":        false,
	} {
		if endOfLog(says) != end {
			t.Errorf("%s: %v", says, !end)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	for line := range strings.Lines(waldumpText) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRecord(text)
		if err == nil && (r.rmgr == "" && !strings.HasPrefix(text, "rmgr:  ") || !strings.Contains(text, "tx:")) {
			t.Errorf("%q: %+v", text, r)
		}
	})
}
