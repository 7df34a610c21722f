package situation

import (
	"time"

	"github.com/haechi/haechi/core/estate"
)

// Store is what the towers have agreed about a store. It lives in state
// and changes only with a journaled event.
type Store struct {
	Epoch    uint64            `json:"epoch"` // 0: not adopted
	Primary  estate.MemberID   `json:"primary"`
	Sync     []estate.MemberID `json:"sync"`               // who may acknowledge now, besides the primary
	Any      int               `json:"any"`                // commit rule in force
	LeastAny int               `json:"least_any"`          // the weakest rule that may be in force: written before weakening, raised after strengthening
	Alone    bool              `json:"alone"`              // under a mandate
	Former   []estate.MemberID `json:"former"`             // not to be counted before they are rewound and proven
	Next     uint64            `json:"next"`               // highest epoch ever handed out to a run
	Timeline uint64            `json:"timeline,omitempty"` // that the epoch began, where the engine counts them; 0: not known
	Verified time.Time         `json:"verified,omitzero"`  // when all members were last found to hold the same, by a run that began after the last of them came back; zero: not since then
	Differs  string            `json:"differs,omitempty"`  // what the last comparison found, in words; empty: nothing
}

// Intent is what people or a run want of a site.
type Intent string

// The intents of a site.
const (
	Serving  Intent = "serving"
	Draining Intent = "draining"
	Drained  Intent = "drained"
)

// Facts that decisions rest on. What things say of themselves beyond these is
// for people and for the drivers that know them.
const (
	FactRole    = "role"                 // of a member, as its server says it now
	FactAnswers = "answers"              // of a member: "true" where its agent has asked its server, so that what is not said is not so
	FactClient  = "client/"              // of a primary, with a member's name: "streaming …" while that one receives from it
	FactSealed  = "sealed"               // of a member: "true" or "begun" while it receives from nobody, for a run
	FactReign   = "agent/upstream_reign" // of a follower: the epoch of the primary that it was pointed at
	FactMade    = "agent/role"           // of a member: what its agent last made it, whether its server runs or not
	FactFenced  = "fenced"               // of a member: "true" while its agent starts it for nobody
	FactHalted  = "halted_epoch"         // of a member that was primary and was stopped cleanly, until it is one again: the epoch of the run that stopped it
	FactLocked  = "locked"               // of a name server: "true" while it answers nothing

	// Of the row that a primary's agent writes once a second: its number, and its time by the primary's
	// clock in milliseconds since 1970, apart by a blank.
	FactCanary      = "canary"       // of a member: as a tower reads it there
	FactCanaryAcked = "canary_acked" // of a primary: the last that was acknowledged
	FactCanaryFound = "canary_found" // of a primary: the last of the epochs before, as it found it

	RolePrimary = "primary"
)
