// Package agent acts on a host: a closed list of verbs on declared units, one
// at a time, with the least rights. It knows no shell and takes no path from the wire.
package agent

import (
	"time"

	"github.com/haechi/haechi/core/verify"
)

// Verb is what an agent can be asked. The list is closed.
type Verb string

// The verbs.
const (
	Status   Verb = "status"   // looks, changes nothing; needs no term
	Position Verb = "position" // looks, changes nothing; what the member holds
	Seal     Verb = "seal"
	Unseal   Verb = "unseal"
	Follow   Verb = "follow"
	Promote  Verb = "promote"
	Start    Verb = "start"
	Stop     Verb = "stop"
	Fence    Verb = "fence"
	Salvage  Verb = "salvage" // begins to read what only this member holds, or says how far it is
	Rejoin   Verb = "rejoin"  // begins to make the member a follower again, or says how far it is
	Apply    Verb = "apply"   // rows of a salvage
	Check    Verb = "check"   // begins to read the member's pages and indexes, or says how far it is; the job ends soon after nobody asks any more
	Digest   Verb = "digest"  // looks, changes nothing; checksums of ranges of a table, or its rows
)

// Order is one request to an agent: POST /v1/order over mTLS, JSON. A field that is added needs the tag since;
// see release.go.
type Order struct {
	Version int    `json:"version"` // 1
	Verb    Verb   `json:"verb"`
	Unit    string `json:"unit"`
	Term    uint64 `json:"term"`
	Epoch   uint64 `json:"epoch"`
	// Reign is the epoch whose promotion stands, as the towers' record says. A unit
	// that was made primary under it may be started as primary. Epoch may be higher:
	// it rises with each run, also with those that promoted nobody.
	Reign uint64 `json:"reign,omitempty"`
	Run   string `json:"run,omitempty"`
	Step  int    `json:"step,omitempty"`

	// Until when the order may have effects, by the agent's own clock, since clocks of two
	// hosts need not agree: it was sent at Sent and has Within from then on. Life is the agent's
	// that the clock belongs to. The client fills them in from what the agent said last; an
	// order that changes something and says nothing here is refused as late.
	Life   string        `json:"life,omitempty"`
	Sent   time.Duration `json:"sent,omitempty"`
	Within time.Duration `json:"within,omitempty"`

	// Follow, Rejoin: whom. Promote: nobody.
	Upstream *Upstream `json:"upstream,omitempty"`
	// Promote: the members that may acknowledge, and how many of them must.
	Sync []string `json:"sync,omitempty"`
	Any  int      `json:"any,omitempty"`
	// Alone with Promote: an empty list is meant, with a mandate that ends by itself after
	// Mandate unless it is given again. Renew: only where it is alone already, so that a
	// renewal that is late never makes it so again.
	Alone   bool          `json:"alone,omitempty"`
	Renew   bool          `json:"renew,omitempty"`
	Mandate time.Duration `json:"mandate,omitempty"`
	// Self is the member's own name, which it shows to its upstream.
	Self string `json:"self,omitempty"`
	// Salvage, Apply and Digest: the salvage that the order is about.
	Salvage *Salvaging `json:"salvage,omitempty" since:"2"`
	// Clean with Stop: checkpoint first, then let followers have everything. Without it the
	// server stops at once, and may be started again as what it was.
	Clean bool `json:"clean,omitempty"`
	// With Rejoin. Kept is the salvage in which what only this member held lies, so that it may be rewritten.
	// Counted: it counts for acknowledgement, so that nothing on it may be. Rate is how many bytes it may take
	// off its upstream in a second; 0: as many as come. Anew: it is copied from its upstream whatever is known of
	// it, once in a run.
	Kept    string `json:"kept,omitempty" since:"2"`
	Counted bool   `json:"counted,omitempty" since:"2"`
	Rate    int64  `json:"rate,omitempty" since:"2"`
	Anew    bool   `json:"anew,omitempty" since:"2"`
	// Line is the code of the towers' records by which the order is given; empty: by a release that has none. Towers that were
	// given up for others are obeyed no more, whatever their term; see [GivenUp]. An order that changes something, and a status
	// that names one, is by whom the agent goes from then on.
	Line string `json:"line,omitempty" since:"2,optional"`
	// Digest: what to tell.
	Question *Question `json:"question,omitempty" since:"2"`
	// Check: what the job may take of the host, and where an earlier one of the same owner came to,
	// in the words of its answer.
	Pace   *Pace  `json:"pace,omitempty" since:"2"`
	Resume string `json:"resume,omitempty" since:"2"`
}

// Question is what a member is to tell of what it holds. Its answer is [FactDigest].
type Question struct {
	Want     Want          `json:"want"`
	Database string        `json:"database,omitempty"`
	After    uint32        `json:"after,omitempty"` // tables, sequences: those with a higher ID; an answer holds only so many
	Spans    []verify.Span `json:"spans,omitempty"` // sums; rows: one
}

// Want is what a question is about.
type Want string

// What can be asked, with what the answer is.
const (
	WantDatabases Want = "databases" // []string
	WantTables    Want = "tables"    // []verify.Table
	WantSums      Want = "sums"      // verify.Answer
	WantRows      Want = "rows"      // verify.Answer
	WantSequences Want = "sequences" // verify.SequencesAnswer
)

// Pace bounds what a job takes of its host. 0 is the unit's own bound.
type Pace struct {
	Share float64 `json:"share,omitempty"` // of one processor
	Rate  int64   `json:"rate,omitempty"`  // bytes a second
}

// Facts whose values are JSON.
const (
	FactDigest = "digest" // what a question asks for
	FactCheck  = "check"  // a verify.Check: how far the job is
)

// changes says whether the order is about more than a look.
func (o Order) changes() bool { return o.Verb != Status && o.Verb != Position && o.Verb != Digest }

// Salvaging is what an order says of a salvage. Which of it counts, the verb says.
type Salvaging struct {
	ID string `json:"id"`
	// Salvage: the timelines that the primary came by, oldest first, and when it left each. Upstream is
	// the primary itself, for comparison.
	Turns []Turn `json:"turns,omitempty"`
	// Salvage: the members beside whose agents the file lies by now, in two sites at least; from then
	// on the member may be rewritten.
	Holders []string `json:"holders,omitempty"`
	// Salvage: who accepts that nobody can know what the member held, or the rest of it.
	Accepted string `json:"accepted,omitempty"`
	// Apply, and Digest of its rows: sha256 and length of the file.
	SHA256 string `json:"sha256,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
	// Apply: numbers of rows, "1,3-5"; empty: all. Digest: rows from number From on.
	Rows      string `json:"rows,omitempty"`
	Overwrite bool   `json:"overwrite,omitempty"`
	From      int    `json:"from,omitempty"`
	// Digest: what the primary has under these keys. Next is the first transaction after the fork.
	Keys []RowKey `json:"keys,omitempty"`
	Next uint64   `json:"next,omitempty"`
	// Digest: how many of Rows stand as the salvage wants them.
	Standing bool `json:"standing,omitempty"`
}

// Turn is where a primary's past left a timeline for the next one, and which transactions it took
// along, see [situation.Fork]; the last one has no End.
type Turn struct {
	Timeline uint64 `json:"timeline"`
	End      string `json:"end,omitempty"`
	Oldest   uint64 `json:"oldest,omitempty"`
	Next     uint64 `json:"next,omitempty"`
}

// RowKey names one row of a table.
type RowKey struct {
	Database string   `json:"database"`
	Schema   string   `json:"schema"`
	Table    string   `json:"table"`
	Columns  []string `json:"columns"`
	Values   []string `json:"values"`
}

// Upstream is whom a follower receives from.
type Upstream struct {
	Member string `json:"member"`
	Host   string `json:"host"`
	Port   string `json:"port"`
	// Credential is the epoch whose credential the upstream accepts now. It is
	// lower than Order.Epoch until the upstream has been promoted.
	Credential uint64 `json:"credential,omitempty"`
	// Reign is the epoch under which the upstream is, or is about to be, primary.
	Reign uint64 `json:"reign,omitempty"`
}

// Code says why an order was not carried out.
type Code string

// The codes. All but Failed mean that nothing was changed.
const (
	OldTerm     Code = "old-term"     // a newer tower has spoken
	OldEpoch    Code = "old-epoch"    // a newer epoch of the unit has been ordered
	OldLine     Code = "old-line"     // towers with other records have been followed since
	UnknownVerb Code = "unknown-verb" // not on the list
	UnknownUnit Code = "unknown-unit" // not declared on this host
	BadOrder    Code = "bad-order"    // cannot be read, or says something impossible
	Busy        Code = "busy"         // another order is being carried out
	Held        Code = "held"         // the host's hold file is there
	Late        Code = "late"         // nobody waits for it any more, or it does not say until when
	Unsafe      Code = "unsafe"       // it would risk a write or make two primaries
	Failed      Code = "failed"       // it was begun and did not end well: look before acting again
)

// The facts of a status that are true of the host, whatever the unit.
const (
	FactHeld    = "held"             // "true" while the hold file is there
	FactLines   = "lines"            // as Lines of an [Answer], with spaces between
	FactEnds    = "certificate_ends" // when the agent's certificate does, as RFC 3339
	FactRelease = "release"          // what the agent understands; missing: as release 1
)

// Answer is what an agent says. Code is empty when the order was carried out.
type Answer struct {
	Version int               `json:"version"`
	Code    Code              `json:"code,omitempty"`
	Error   string            `json:"error,omitempty"`
	Term    uint64            `json:"term"`            // highest seen, kept on disk
	Epoch   uint64            `json:"epoch"`           // of the unit, kept on disk
	Lines   []string          `json:"lines,omitempty"` // of the towers that it went by, the last ones' last, kept on disk
	Facts   map[string]string `json:"facts,omitempty"`
	Life    string            `json:"life,omitempty"`    // of the process that answers
	Clock   time.Duration     `json:"clock,omitempty"`   // what its clock shows
	Release int               `json:"release,omitempty"` // what the agent understands, see core/plan.Release; 0: as release 1
}
