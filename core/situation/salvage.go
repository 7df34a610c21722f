package situation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// Salvage is what was read of a member that went another way than the record's primary, before
// anything on it was rewritten. The rows themselves lie in a file beside the agents of Holders.
type Salvage struct {
	ID       string            `json:"id"` // of the run that made it and the member, for example "r-000012-k3f9-a"
	Store    estate.StoreID    `json:"store"`
	Member   estate.MemberID   `json:"member"`
	System   string            `json:"system,omitempty"`   // identifier of the database cluster
	Reign    uint64            `json:"reign,omitempty"`    // the epoch under which the member was primary; 0: it never was
	Timeline uint64            `json:"timeline,omitempty"` // that it was on
	Fork     string            `json:"fork,omitempty"`     // where the record's primary left that timeline
	End      string            `json:"end,omitempty"`      // how far the member went on it
	Method   SalvageMethod     `json:"method"`
	Rows     int               `json:"rows"`
	Tables   map[string]int    `json:"tables,omitempty"`   // rows by table
	Told     int               `json:"told,omitempty"`     // rows of which a client may have been told that they are saved
	Unknown  []string          `json:"unknown,omitempty"`  // what could not be found out, in words
	Partial  bool              `json:"partial,omitempty"`  // something that may hold rows could not be read, see Unknown
	Accepted string            `json:"accepted,omitempty"` // by whom it was accepted that this is not known, joined by ","
	SHA256   string            `json:"sha256,omitempty"`   // of the file, in hex
	Bytes    int64             `json:"bytes,omitempty"`
	Holders  []estate.MemberID `json:"holders,omitempty"` // sorted
	At       time.Time         `json:"at"`
	State    SalvageState      `json:"state"`
	Applied  int               `json:"applied,omitempty"` // rows that stand on the primary again
	Written  string            `json:"written,omitempty"` // their numbers, see [ParseRows]
	By       []string          `json:"by,omitempty"`      // who closed it
	Closed   time.Time         `json:"closed,omitzero"`
}

// Over is the record s in the place of what was known before: what people have decided about the
// salvage stays where s, which may only have found it again, knows nothing of it.
func (s Salvage) Over(before Salvage) Salvage {
	if before.ID != s.ID {
		return s
	}
	holders := append(slices.Clone(before.Holders), s.Holders...)
	slices.Sort(holders)
	s.Holders = slices.Compact(holders)
	decided := before.State == SalvageApplied || before.State == SalvageDiscarded
	if s.Written == "" && (before.Written != "" || decided) && s.Closed.IsZero() {
		s.State, s.Applied, s.Written, s.By, s.Closed = before.State, before.Applied, before.Written, before.By, before.Closed
	}
	return s
}

// SalvageMethod is how a salvage was made.
type SalvageMethod string

// The methods.
const (
	Decoded    SalvageMethod = "decoded"    // from the log, change by change
	Compared   SalvageMethod = "compared"   // by comparing rows; what was there in between is not known
	Nothing    SalvageMethod = "nothing"    // it holds nothing beyond the fork
	Unreadable SalvageMethod = "unreadable" // nobody can know
)

// SalvageState is what became of it.
type SalvageState string

// The states.
const (
	SalvageEmpty     SalvageState = "empty" // nothing to decide
	SalvageOpen      SalvageState = "open"  // people have to look at its rows
	SalvageApplied   SalvageState = "applied"
	SalvageDiscarded SalvageState = "discarded"
)

// ParseRows reads numbers of rows as people write them: "1,3-5". They come sorted, each once.
func ParseRows(text string) ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.Atoi(from)
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(to)
		}
		if err != nil || first < 1 || last < first || last-first >= maxRows-len(out) {
			return nil, fmt.Errorf("%q names no rows; write their numbers, for example 1,3-5", part)
		}
		for n := first; n <= last; n++ {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// maxRows is how many rows are chosen at once.
const maxRows = 10_000_000

// FormatRows writes sorted numbers as [ParseRows] reads them.
func FormatRows(rows []int) string {
	var out []string
	for i := 0; i < len(rows); {
		j := i
		for j+1 < len(rows) && rows[j+1] == rows[j]+1 {
			j++
		}
		part := strconv.Itoa(rows[i])
		if j > i {
			part += "-" + strconv.Itoa(rows[j])
		}
		out = append(out, part)
		i = j + 1
	}
	return strings.Join(out, ",")
}
