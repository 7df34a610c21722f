// Package verify compares what the members of a store hold while they go on writing and
// receiving: it says what to ask whom next, and what the answers prove. It asks nobody itself.
//
// Members are copies block by block, so a table is compared by ranges of its blocks: that needs no
// key, no order of texts on which two hosts could disagree, and no index, which may be what lies.
// First each member says count and checksum of a range. What differs is halved and asked again, later
// each time, so that most of what was only under way falls out. What is left is one block, whose
// rows are looked at one by one; see [bracket] for what proves that one differs.
package verify

import "time"

// Table is one relation of a database, as the primary has it.
type Table struct {
	ID     uint32 `json:"id"`             // the same on every copy
	Name   string `json:"name"`           // with its schema, as SQL writes it
	Blocks uint32 `json:"blocks"`         // its length, when it was asked
	Shape  string `json:"shape"`          // another one once its columns, or the file in which it lies, have changed
	Skip   string `json:"skip,omitempty"` // why it cannot be compared; empty: it can
}

// Span is a part of a table: the blocks From up to To, without To. To 0 is the table's end, wherever
// that is when it is looked at.
type Span struct {
	Table uint32 `json:"table"`
	From  uint32 `json:"from"`
	To    uint32 `json:"to,omitempty"`
}

// Ask is what to ask next.
type Ask struct {
	Members []string // all at the same time
	Spans   []Span
	Rows    bool // the rows of the one span, one by one; else count and checksum of each
	Wait    int  // the how manieth repetition it is: wait longer before each
}

// Answer is what one member says.
type Answer struct {
	From LSN           `json:"from"`           // how far its log was replayed, or written, before it looked
	To   LSN           `json:"to"`             // and once its snapshot was taken: what the snapshot shows was logged before that
	Snap Snapshot      `json:"snap"`           // of Rows
	Part []Part        `json:"part"`           // as the spans were asked
	Main bool          `json:"main,omitempty"` // it takes writes
	Took time.Duration `json:"took"`           // that the member needed for it
	// Worked is how much of that cost the host anything: without what was waited for a free processor. 0: it is not known.
	Worked time.Duration `json:"worked,omitempty"`
}

// LSN is a place in the log, in bytes.
type LSN uint64

// Snapshot bounds what was seen: transactions before Xmin are over, those from Xmax on not begun
// or not over.
type Snapshot struct {
	Xmin uint64 `json:"xmin"`
	Xmax uint64 `json:"xmax"`
}

// Part is what a member holds of one span.
type Part struct {
	Shape  string `json:"shape,omitempty"`
	Blocks uint32 `json:"blocks,omitempty"` // the whole table's length, now
	Count  int64  `json:"count,omitempty"`
	Sum    string `json:"sum,omitempty"`
	Rows   []Row  `json:"rows,omitempty"`
	Gone   bool   `json:"gone,omitempty"`   // there is no such table
	Broken string `json:"broken,omitempty"` // why it cannot be read; time does not mend it
}

// Row is one version of a row. At and Xmin together never come back once the version is gone.
type Row struct {
	At   string `json:"at"` // its place: block and line
	Xmin uint32 `json:"xmin"`
	Xmax uint32 `json:"xmax,omitempty"` // who deleted, or locked it, or wanted to; 0: nobody ever
	Hash string `json:"hash"`
	Key  string `json:"key,omitempty"` // its key's values, for people
}

// same says whether two members say the same of a span.
func (p Part) same(q Part) bool {
	return p.Count == q.Count && p.Sum == q.Sum && p.Broken == "" && q.Broken == ""
}

const (
	// fan is into how many parts a span is cut that differs.
	fan = 16
	// most is how many spans are asked at once.
	most = 256
	// waiting is how many parts that differ may wait for a second look before they get it.
	waiting = 2048
	// stretch is after how many blocks of a table what differs gets its second look, so that there is a
	// place to go on from in a table that takes hours.
	stretch = 1 << 17
	// turns is how often rows are looked at before they are left as not settled.
	turns = 12
	// lates is how often they are looked at in vain, since no follower has replayed so far.
	lates = 60
	// cuts is how often the end of a table that grows is followed.
	cuts = 2
	// alters is how often a table is begun again that was altered meanwhile.
	alters = 3
	// named is how many differences are named of one table, and namedAll of all.
	named, namedAll = 20, 200
)
