package lab

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

// Rows are whole, each another one, and as long as six on a page want it.
func TestBulkIsWrittenRowByRow(t *testing.T) {
	r := &bulkReader{last: 500, say: func(string, ...any) {}}
	seen, n := map[string]bool{}, 0
	for lines := bufio.NewScanner(io.LimitReader(r, 1<<30)); lines.Scan(); n++ {
		key, body, ok := strings.Cut(lines.Text(), "\t")
		if !ok || seen[key] || seen[body] || len(body) != 16*bulkWords {
			t.Fatalf("row %d: %q", n, lines.Text())
		}
		seen[key], seen[body] = true, true
	}
	if n != 500 {
		t.Errorf("%d rows", n)
	}
	const header, key, length, line, page = 24, 8, 4, 4, 8192 - 24
	row := (header+key+length+16*bulkWords+7)&^7 + line
	if full := page - 8192*15/100; full/row != 6 || page-6*row < row {
		t.Errorf("%d rows of %d bytes in %d, %d bytes left on the page", full/row, row, full, page-6*row)
	}
	if _, err := (&bulkReader{last: 1, say: func(string, ...any) {}}).Read(make([]byte, 10)); !errors.Is(err, io.ErrShortBuffer) {
		t.Error(err)
	}
}

func TestFilesOfARelationAreKnown(t *testing.T) {
	first := [][]string{{"base/5/16400"}, {"base/5/16409"}}
	for path, want := range map[string]bool{
		"/x/base/5/16400": true, "/x/base/5/16400.3": true, "/x/base/5/16400_vm": true, "/x/base/5/16409": true,
		"/x/base/5/164001": false, "/x/base/51/16400": false, "/x/pg_wal/16400": false,
	} {
		if isOf(path, "/x", first) != want {
			t.Errorf("%s: want %v", path, want)
		}
	}
}
