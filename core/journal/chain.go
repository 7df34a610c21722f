package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// FormatVersion is the version that [Link] writes into an entry without one.
const FormatVersion = 1

// Head is the end of a chain: what the next entry links to, and what proves
// that nothing is missing at the end.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// Head returns the place of e in its chain.
func (e Entry) Head() Head { return Head{Seq: e.Seq, Hash: e.Hash} }

// Link makes next the entry that follows prev; the zero Entry precedes the
// first. It fills Seq, Prev, Hash and, where it is 0, Version, and brings At and
// the texts into the form that survives being written and read, so that the
// hash does too.
func Link(prev, next Entry) Entry { return LinkTo(prev.Head(), next) }

// LinkTo is [Link] where only the head is known.
func LinkTo(prev Head, next Entry) Entry {
	if next.Version == 0 {
		next.Version = FormatVersion
	}
	next.At = next.At.UTC().Round(0)
	for _, s := range []*string{&next.Tower, &next.Kind, &next.Subject, &next.Text} {
		*s = strings.ToValidUTF8(*s, "\uFFFD")
	}
	next.Data = compact(next.Data)
	next.Seq = prev.Seq + 1
	next.Prev = prev.Hash
	next.Hash = hash(next)
	return next
}

// canonical is what is hashed: every field but the hash, in this order, as
// compact JSON. Its members never change within one format version.
type canonical struct {
	Seq     uint64 `json:"seq"`
	Version int    `json:"version"`
	At      string `json:"at"` // RFC 3339 with nanoseconds, UTC
	Tower   string `json:"tower"`
	Term    uint64 `json:"term"`
	Kind    string `json:"kind"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
	Data    string `json:"data"` // compact JSON, as text
	Prev    string `json:"prev"`
}

func hash(e Entry) string {
	b, err := json.Marshal(canonical{
		Seq: e.Seq, Version: e.Version, At: e.At.UTC().Format(time.RFC3339Nano), Tower: e.Tower, Term: e.Term,
		Kind: e.Kind, Subject: e.Subject, Text: e.Text, Data: string(compact(e.Data)), Prev: e.Prev,
	})
	if err != nil {
		panic(fmt.Sprintf("journal: numbers and texts do not marshal: %v", err)) // cannot happen
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// compact removes the spaces that may be added on the way, and escapes as
// encoding/json does when it writes an Entry. What is not JSON stays as it is.
func compact(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return nil
	}
	b, err := json.Marshal(raw)
	if err != nil {
		return bytes.Clone(raw)
	}
	return b
}

// String returns the entry as one line for people.
func (e Entry) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%06d %s %-8s", e.Seq, e.At.UTC().Format("2006-01-02 15:04:05.000"), e.Kind)
	if e.Subject != "" {
		fmt.Fprintf(&b, " %s:", e.Subject)
	}
	fmt.Fprintf(&b, " %s", oneLine(e.Text))
	if e.Tower != "" {
		fmt.Fprintf(&b, "  (%s, term %d)", e.Tower, e.Term)
	}
	return b.String()
}

// oneLine keeps an entry from writing lines, or moving the cursor, in a person's terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
