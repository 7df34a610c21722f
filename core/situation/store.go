package situation

import (
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// Store is what the towers have agreed about a store. It lives in state
// and changes only with a journaled event.
type Store struct {
	Epoch     uint64            `json:"epoch"` // 0: not adopted
	Primary   estate.MemberID   `json:"primary"`
	Sync      []estate.MemberID `json:"sync"`                 // who may acknowledge now, besides the primary
	Any       int               `json:"any"`                  // commit rule in force
	LeastAny  int               `json:"least_any"`            // the weakest rule that may be in force: written before weakening, raised after strengthening
	Alone     bool              `json:"alone"`                // under a mandate
	Former    []estate.MemberID `json:"former"`               // not to be counted before they are rewound and proven
	Next      uint64            `json:"next"`                 // highest epoch ever handed out to a run
	Timeline  uint64            `json:"timeline,omitempty"`   // that the epoch began, where the engine counts them; 0: not known
	Verified  time.Time         `json:"verified,omitzero"`    // when all members were last found to hold the same, by a run that began after the last of them came back; zero: not since then
	Differs   string            `json:"differs,omitempty"`    // what the last comparison found, in words; empty: nothing
	DiffersOn []estate.MemberID `json:"differs_on,omitempty"` // the members on which that was found; never all of them
	LeftOut   []estate.MemberID `json:"left_out,omitempty"`   // whom the last comparison left out; none where somebody has come back since
	Forks     []Fork            `json:"forks,omitempty"`      // the promotions so far, oldest first; at most [MaxForks]
}

// MaxForks is how many promotions a record remembers.
const MaxForks = 64

// Fork is one promotion: where a timeline began, and which transactions it took over. What a former
// primary did after it can be told from what it did before only by these numbers, once its log is gone.
type Fork struct {
	Epoch    uint64          `json:"epoch"`
	Primary  estate.MemberID `json:"primary"`
	Timeline uint64          `json:"timeline"`         // that it began
	Oldest   uint64          `json:"oldest,omitempty"` // transactions below had ended then; 0: not known
	Next     uint64          `json:"next,omitempty"`   // transactions from here on had not begun then, so they are of one side alone; 0: not known
}

// Forked is the record with one promotion more. The same epoch's takes the place of what was known of it.
func (s Store) Forked(f Fork) Store {
	forks := slices.DeleteFunc(slices.Clone(s.Forks), func(o Fork) bool { return o.Epoch == f.Epoch })
	forks = append(forks, f)
	s.Forks = forks[max(0, len(forks)-MaxForks):]
	return s
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
	FactRole     = "role"                 // of a member, as its server says it now
	FactAnswers  = "answers"              // of a member: "true" where its agent has asked its server, so that what is not said is not so
	FactClient   = "client/"              // of a primary, with a member's name: "streaming …" while that one receives from it
	FactSealed   = "sealed"               // of a member: "true" or "begun" while it receives from nobody, for a run
	FactReceiver = "receiver"             // of a follower, as its server says it: what its connection to a primary is at; empty: it has none
	FactReign    = "agent/upstream_reign" // of a follower: the epoch of the primary that it was pointed at
	FactMade     = "agent/role"           // of a member: what its agent last made it, whether its server runs or not
	FactFenced   = "fenced"               // of a member: "true" while its agent starts it for nobody
	FactHalted   = "halted_epoch"         // of a member that was primary and was stopped cleanly, until it is one again: the epoch of the run that stopped it
	FactRunning  = "running"              // of a member: whether its server runs
	FactStopped  = "stopped"              // of a member whose server does not run: "cleanly" where somebody told it to end
	FactBroken   = "broken"               // of a member: what its data directory is being made again by; nothing starts it meanwhile
	FactHeld     = "held"                 // of a member: "true" while its host carries nothing out
	FactLocked   = "locked"               // of a name server: "true" while it answers nothing

	// Of the row that a primary's agent writes once a second: its number, and its time by the primary's
	// clock in milliseconds since 1970, apart by a blank.
	FactCanary      = "canary"       // of a member: as a tower reads it there
	FactCanaryAcked = "canary_acked" // of a primary: the last that was acknowledged
	// Why a primary writes none, in words; and for how many milliseconds the one that it wrote last has waited for other members.
	FactCanaryMissing = "canary_missing"
	FactCanaryWaits   = "canary_waits_ms"
	FactCanaryFound   = "canary_found" // of a primary: the last of the epochs before, as it found it

	RolePrimary  = "primary"
	RoleFollower = "follower"
)
