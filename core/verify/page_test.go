package verify_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/haechi/haechi/core/verify"
)

// A page that PostgreSQL 15 wrote, block 3 of its table: it fits there and nowhere else, and with no
// bit turned.
func TestPageSumIsPostgreSQLs(t *testing.T) {
	page, err := os.ReadFile("testdata/page-3")
	if err != nil {
		t.Fatal(err)
	}
	if has, unused := verify.PageHas(page); unused || has != verify.PageSum(page, 3) || !verify.Sound(page, 3) {
		t.Fatalf("it says %d, reckoned is %d", has, verify.PageSum(page, 3))
	}
	if verify.Sound(page, 4) {
		t.Error("it fits in another place")
	}
	for at := 0; at < len(page); at += 61 {
		turned := bytes.Clone(page)
		turned[at] ^= 0x10
		if verify.Sound(turned, 3) && at != 14 && at != 15 {
			t.Errorf("byte %d is turned, and it fits", at)
		}
	}
	if !verify.Sound(make([]byte, 8192), 7) {
		t.Error("a page that was never used is wrong")
	}
}
