package postgres

import (
	"os"
	"testing"
)

func TestPageLSN(t *testing.T) {
	page, err := os.ReadFile("../../core/verify/testdata/page-3")
	if err != nil || len(page) != pageSize {
		t.Fatal(len(page), err)
	}
	if got := pageLSN(page); got.String() != "0/80D5060" {
		t.Errorf("LSN %s", got)
	}
}
