package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/web"
)

// written is a journal of n entries.
func written(n int) (chain []journal.Entry) {
	var prev journal.Entry
	for i := range n {
		prev = journal.Link(prev, journal.Entry{Version: 1, At: time.Unix(int64(i), 0).UTC(), Kind: "note", Text: fmt.Sprint("entry ", i)})
		chain = append(chain, prev)
	}
	return chain
}

// archive is a tower with these entries, two a page, and this head.
func archive(t *testing.T, kept []journal.Entry, head func() (journal.Head, error)) *town {
	tn := newTown(t, pki.Viewer)
	tn.tower(desk{HeadFunc: head, JournalFunc: func(from uint64) (page []journal.Entry, _ error) {
		for _, e := range kept {
			if e.Seq >= from && len(page) < 2 {
				page = append(page, e)
			}
		}
		return page, nil
	}})
	return tn
}

func TestJournalIsVerifiedToItsHead(t *testing.T) {
	chain := written(6)
	confirmed := func() (journal.Head, error) { return chain[4].Head(), nil } // the last one came since
	altered := slices.Clone(chain)
	altered[2].Text = "nothing happened"
	for name, c := range map[string]struct {
		kept []journal.Entry
		from string
		out  string // empty: an error
		says string
	}{
		"whole":           {chain, "1", "5 entries", ""},
		"a piece":         {chain, "3", "3 entries", ""},
		"altered":         {altered, "1", "", "entry 3: changed"},
		"head gone":       {chain[2:], "1", "", "it should begin with entry 1"},
		"piece's head":    {chain[3:], "3", "", "it should begin with entry 3"},
		"tail gone":       {chain[:4], "1", "", "entry 5: cut short"},
		"piece's tail":    {chain[:4], "3", "", "entry 5: cut short"},
		"piece gone":      {chain[:1], "3", "", "entry 3: cut short"},
		"everything gone": {nil, "1", "", "entry 1: cut short"},
		"after its end":   {chain, "6", "", "no entry 6"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := archive(t, c.kept, confirmed).haechi("journal", "--verify", "--from", c.from)
			if (c.out == "") != (err != nil) || err != nil && !strings.Contains(err.Error(), c.says) || !strings.Contains(out, c.out) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// A tower tells what it has itself, which may be a moment behind what the quorum has.
func TestATowerThatIsBehindIsAskedAgain(t *testing.T) {
	chain, asked := written(6), 0
	tn := newTown(t, pki.Viewer)
	tn.tower(desk{HeadFunc: func() (journal.Head, error) { return chain[5].Head(), nil }, JournalFunc: func(from uint64) ([]journal.Entry, error) {
		asked++
		return chain[from-1 : min(3+asked, 6)], nil
	}})
	if out, err := tn.haechi("journal", "--verify"); err != nil || !strings.Contains(out, "6 entries") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A journal whose head is gone, too, is not taken for one that is whole.
func TestEmptyJournalIsNotVerified(t *testing.T) {
	_, err := archive(t, nil, func() (journal.Head, error) { return journal.Head{}, nil }).haechi("journal", "--verify")
	if err == nil || !strings.Contains(err.Error(), "no entry 1") {
		t.Errorf("%v", err)
	}
}

func TestWithoutQuorumTheEndIsNotConfirmed(t *testing.T) {
	cut := func() (journal.Head, error) {
		return journal.Head{}, &web.Refused{Code: web.NoQuorum, Why: "1 of 3 voters"}
	}
	chain := written(5)
	out, err := archive(t, chain, cut).haechi("journal", "--verify", "--output", "json")
	if err == nil || !strings.Contains(err.Error(), "end could not be confirmed") || !strings.Contains(err.Error(), "1 of 3 voters") || !strings.Contains(out, `"ok": false`) {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := archive(t, chain[1:], cut).haechi("journal", "--verify"); err == nil || !strings.Contains(err.Error(), "altered") {
		t.Errorf("%v", err)
	}
}

func TestJournalIsRead(t *testing.T) {
	out, err := archive(t, written(5), nil).haechi("journal", "--from", "2")
	if err != nil || strings.Count(out, "entry") != 4 {
		t.Errorf("%v\n%s", err, out)
	}
}
