package page_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/haechi/haechi/core/verify"
	"github.com/haechi/haechi/lab/page"
)

// real is a copy of a page that PostgreSQL 15 wrote, block 3 of its table.
func real(t *testing.T) page.Page {
	t.Helper()
	raw, err := os.ReadFile("../../core/verify/testdata/page-3")
	if err != nil {
		t.Fatal(err)
	}
	return page.Page(raw)
}

func TestALieChangesOnlyWhatItIsAbout(t *testing.T) {
	for name, lie := range map[string]func(page.Page) error{
		"flip": func(p page.Page) error { return p.Flip(5) },
		"drop": func(p page.Page) error { return p.Drop(5) },
	} {
		p := real(t)
		if err := lie(p); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		n := 0
		for i, b := range real(t) {
			if p[i] != b {
				n++
			}
		}
		if n == 0 || n > 4 {
			t.Errorf("%s: %d bytes are changed", name, n)
		}
	}
	for _, line := range []uint16{0, 5000} {
		if p := real(t); p.Flip(line) == nil || p.Drop(line) == nil || !bytes.Equal(p, real(t)) {
			t.Errorf("line %d, which is not there, was changed", line)
		}
	}
	p := real(t)
	if err := p.Drop(5); err != nil {
		t.Fatal(err)
	}
	if p.Flip(5) == nil {
		t.Error("a row that was dropped is there")
	}
}

func TestARowIsCopiedWhereThereIsRoom(t *testing.T) {
	p := real(t)
	if _, err := p.Copy(3, 1, func([]byte) {}); err == nil {
		t.Log("there is room on the page")
	}
	room := make(page.Page, page.Size) // a page of one row
	binary.LittleEndian.PutUint16(room[12:], 28)
	binary.LittleEndian.PutUint16(room[14:], page.Size-40)
	binary.LittleEndian.PutUint32(room[24:], uint32(page.Size-40)|1<<15|36<<17)
	row := room[page.Size-40:]
	row[22] = 24
	copy(row[24:], "12345678abcd")
	line, err := room.Copy(70000, 1, func(data []byte) { data[0] = '9' })
	if err != nil || line != 2 {
		t.Fatal(line, err)
	}
	fresh := room[page.Size-80:]
	if string(fresh[24:36]) != "92345678abcd" || binary.LittleEndian.Uint16(fresh[12:]) != 1 || binary.LittleEndian.Uint16(fresh[14:]) != 70000-65536 || binary.LittleEndian.Uint16(fresh[16:]) != 2 {
		t.Errorf("%v", fresh[:36])
	}
	if err := room.Flip(2); err != nil || fresh[35] != 'd'^1 {
		t.Error(err)
	}
}

// With sums an edited page is sound, without it is not; a page that would stay as it is is an error.
func TestAnEditedPageSaysTheChecksumThatItIsTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "16384")
	if err := os.WriteFile(path, append(make([]byte, 3*page.Size), real(t)...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sums := range []bool{true, false} {
		if err := page.Edit(path, 3, sums, func(p page.Page) error { return p.Flip(2) }); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil || verify.Sound(raw[3*page.Size:], 3) != sums {
			t.Errorf("with sums %v: %v", sums, err)
		}
	}
	if err := page.Edit(path, 3, true, func(page.Page) error { return nil }); err == nil {
		t.Error("nothing was changed, and that is no error")
	}
	if err := page.Edit(path, 9, true, func(p page.Page) error { return p.Flip(1) }); err == nil {
		t.Error("a page beyond the end was edited")
	}
}

func TestParseTID(t *testing.T) {
	if got, err := page.ParseTID("(12,3)"); err != nil || got != (page.TID{Block: 12, Line: 3}) || got.String() != "(12,3)" {
		t.Error(got, err)
	}
	if _, err := page.ParseTID("12"); err == nil {
		t.Error("12 is taken")
	}
}
