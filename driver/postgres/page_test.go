package postgres

import (
	"os"
	"slices"
	"testing"
)

// The page is block 1 of pg_proc, as a server with data checksums wrote it.
func TestPageSumIsPostgreSQLs(t *testing.T) {
	page, err := os.ReadFile("testdata/page.bin")
	if err != nil || len(page) != pageSize {
		t.Fatal(len(page), err)
	}
	if got := pageSum(page, 1); got != 17478 {
		t.Errorf("sum %d, want 17478", got)
	}
	if !pageFits(page, 1) || pageFits(page, 2) {
		t.Error("it fits block 1 and no other")
	}
	if got := pageLSN(page); got.String() != "0/1519478" {
		t.Errorf("LSN %s", got)
	}
	for _, at := range []int{0, 13, 100, pageSize - 1} {
		bad := slices.Clone(page)
		bad[at] ^= 1
		if pageFits(bad, 1) {
			t.Errorf("a flipped bit in byte %d is not seen", at)
		}
	}
	if !pageFits(make([]byte, pageSize), 7) {
		t.Error("a page that was never used has no sum")
	}
}
