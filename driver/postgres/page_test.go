package postgres

import (
	"encoding/hex"
	"testing"
)

func TestPageLSN(t *testing.T) {
	page := make([]byte, pageSize)
	header := "0000000060500d08205f04007801c0010020042000000000" // of a page that a real server wrote: ../../core/verify/testdata/page-3
	if _, err := hex.Decode(page, []byte(header)); err != nil {
		t.Fatal(err)
	}
	if got := pageLSN(page); got.String() != "0/80D5060" {
		t.Errorf("LSN %s", got)
	}
}
