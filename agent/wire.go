// Package agent acts on a host: a closed list of verbs on declared units, one
// at a time, with the least rights. It knows no shell and takes no path from the wire.
package agent

import "time"

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
	Check    Verb = "check"   // begins to read the member's pages and indexes, or says how far it is
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

	// Follow: whom. Promote: nobody.
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
	// Clean with Stop: checkpoint first, then let followers have everything. Without it the
	// server stops at once, and may be started again as what it was.
	Clean bool `json:"clean,omitempty"`
}

// changes says whether the order is about more than a look.
func (o Order) changes() bool { return o.Verb != Status && o.Verb != Position && o.Verb != Digest }

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
	FactEnds    = "certificate_ends" // when the agent's certificate does, as RFC 3339
	FactRelease = "release"          // what the agent understands; missing: as release 1
)

// Answer is what an agent says. Code is empty when the order was carried out.
type Answer struct {
	Version int               `json:"version"`
	Code    Code              `json:"code,omitempty"`
	Error   string            `json:"error,omitempty"`
	Term    uint64            `json:"term"`  // highest seen, kept on disk
	Epoch   uint64            `json:"epoch"` // of the unit, kept on disk
	Facts   map[string]string `json:"facts,omitempty"`
	Life    string            `json:"life,omitempty"`    // of the process that answers
	Clock   time.Duration     `json:"clock,omitempty"`   // what its clock shows
	Release int               `json:"release,omitempty"` // what the agent understands, see core/plan.Release; 0: as release 1
}
