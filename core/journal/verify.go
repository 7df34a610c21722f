package journal

import "fmt"

// Why says what is wrong with a chain.
type Why string

// What can be wrong.
const (
	Gap       Why = "gap"       // entries are missing before this one
	Reordered Why = "reordered" // this one belongs further up, or stands here twice
	Changed   Why = "changed"   // its content does not fit its hash
	Unlinked  Why = "unlinked"  // the entry before it is not the one that it was linked to
	CutShort  Why = "cut short" // entries are missing at the end
)

// Bad is the first fault of a chain.
type Bad struct {
	Seq  uint64 // of the entry that is wrong, or would come next
	Why  Why
	Says string
}

// Error returns the fault in one sentence.
func (b *Bad) Error() string { return fmt.Sprintf("journal entry %d: %s: %s", b.Seq, b.Why, b.Says) }

// Verify checks that entries are one piece of a chain: each fits its hash and
// follows the one before. A piece may begin anywhere; where it begins with entry
// 1, nothing may precede it. The error is a *[Bad] that names the first fault.
// What is missing at either end does not show here: see [VerifyTo].
func Verify(entries []Entry) error {
	for i, e := range entries {
		if i > 0 {
			if err := follows(entries[i-1], e); err != nil {
				return err
			}
		}
		if got := hash(e); got != e.Hash {
			return &Bad{e.Seq, Changed, fmt.Sprintf("its content gives hash %.12s, it carries %.12s", got, e.Hash)}
		}
		switch {
		case e.Seq == 0:
			return &Bad{0, Changed, "entries count from 1"}
		case e.Seq == 1 && e.Prev != "":
			return &Bad{1, Unlinked, "the first entry names one before it"}
		case i > 0 && e.Prev != entries[i-1].Hash:
			return &Bad{e.Seq, Unlinked, fmt.Sprintf("it follows %.12s, but the entry before it is %.12s", e.Prev, entries[i-1].Hash)}
		}
	}
	return nil
}

// VerifyTo checks the journal from entry from to head: nothing missing at either end.
// With from 1 that is all of it.
func VerifyTo(entries []Entry, from uint64, head Head) error {
	if len(entries) > 0 && entries[0].Seq != from {
		return &Bad{entries[0].Seq, Gap, fmt.Sprintf("it should begin with entry %d", from)}
	}
	if err := Verify(entries); err != nil {
		return err
	}
	last := Head{Seq: from - 1}
	if len(entries) > 0 {
		last = entries[len(entries)-1].Head()
	}
	switch {
	case last.Seq < head.Seq:
		return &Bad{last.Seq + 1, CutShort, fmt.Sprintf("the journal ends at %d, its head says %d", last.Seq, head.Seq)}
	case last != head:
		return &Bad{last.Seq, Changed, fmt.Sprintf("the head says entry %d with hash %.12s, the journal ends at %d with %.12s", head.Seq, head.Hash, last.Seq, last.Hash)}
	}
	return nil
}

func follows(prev, e Entry) error {
	switch {
	case e.Seq > prev.Seq+1:
		return &Bad{e.Seq, Gap, fmt.Sprintf("the entry before it is %d", prev.Seq)}
	case e.Seq <= prev.Seq:
		return &Bad{e.Seq, Reordered, fmt.Sprintf("it stands after entry %d", prev.Seq)}
	}
	return nil
}
