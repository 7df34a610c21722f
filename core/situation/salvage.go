package situation

import (
	"time"

	"github.com/haechi/haechi/core/estate"
)

// Salvage is what was read of a member that went another way than the record's primary, before
// anything on it was rewritten. The rows themselves lie in a file beside the agents of Holders.
type Salvage struct {
	ID       string            `json:"id"` // of the run that made it and the member, for example "r-000012-a"
	Store    estate.StoreID    `json:"store"`
	Member   estate.MemberID   `json:"member"`
	System   string            `json:"system,omitempty"`   // identifier of the database cluster
	Reign    uint64            `json:"reign,omitempty"`    // the epoch under which the member was primary; 0: it never was
	Timeline uint64            `json:"timeline,omitempty"` // that it was on
	Fork     string            `json:"fork,omitempty"`     // where the record's primary left that timeline
	End      string            `json:"end,omitempty"`      // how far the member went on it
	Method   SalvageMethod     `json:"method"`
	Rows     int               `json:"rows"`
	Tables   map[string]int    `json:"tables,omitempty"`  // rows by table
	Told     int               `json:"told,omitempty"`    // rows of which it is not known that no client was told they are saved
	Unknown  []string          `json:"unknown,omitempty"` // what could not be found out, in words
	SHA256   string            `json:"sha256,omitempty"`  // of the file, in hex
	Bytes    int64             `json:"bytes,omitempty"`
	Holders  []estate.MemberID `json:"holders,omitempty"` // sorted
	At       time.Time         `json:"at"`
	State    SalvageState      `json:"state"`
	Applied  int               `json:"applied,omitempty"` // rows that were written back
	By       []string          `json:"by,omitempty"`      // who closed it
	Closed   time.Time         `json:"closed,omitzero"`
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
