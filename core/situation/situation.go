// Package situation folds what observers saw into what we believe: which site
// is up, lost, isolated or cut off from users, and which single thing is dead.
// It is a value with its time; nothing in it asks a clock.
package situation

import (
	"time"

	"github.com/haechi/haechi/core/estate"
)

// Kind is the kind of thing that is looked at.
type Kind string

// What observers look at in each site.
const (
	KindTower    Kind = "tower"
	KindAgent    Kind = "agent"
	KindGateway  Kind = "gateway"
	KindDatabase Kind = "database"
	KindDNS      Kind = "dns"
)

// Target is one thing that is looked at. ID is "site/kind/name", for example
// "pangyo/database/talk-db/a", and is unique over the estate.
type Target struct {
	ID        string        `json:"id"`
	Kind      Kind          `json:"kind"`
	Site      estate.SiteID `json:"site"`
	Component string        `json:"component"`      // tower, host, service, store/member or host of a name server
	Address   string        `json:"address"`        // host:port, or a URL for a gateway
	Rest      time.Duration `json:"rest,omitempty"` // between two looks while it answers; 0: the profile's
}

// View is what one observer says that it sees, at one instant of its own clock.
// All times in it are durations up to that instant, so that clocks need not agree.
type View struct {
	Observer string        `json:"observer"`      // tower or observer name
	Site     estate.SiteID `json:"site"`          // empty: stands where users are, no vote
	Seq      uint64        `json:"seq"`           // rises with each view of one observer process
	Boot     string        `json:"boot"`          // changes when the observer restarts
	Late     time.Duration `json:"late"`          // longest stall of its own loop within the last silence
	Looks    []Look        `json:"looks"`         // sorted by target
	Ends     time.Time     `json:"ends,omitzero"` // the observer's certificate
	// Line and Cluster say by which records a tower goes: of two that go by different ones, those with the
	// higher Line count. Speaks is what it understands; see core/plan.Release.
	Line    uint64 `json:"line,omitempty"`
	Cluster string `json:"cluster,omitempty"`
	Speaks  int    `json:"speaks,omitempty"`
}

// Look is what an observer knows of one target.
type Look struct {
	Target  string            `json:"target"`
	Silent  time.Duration     `json:"silent"`            // since it last answered, or since the observer began to look, or since its own last stall ended
	Waived  time.Duration     `json:"waived,omitempty"`  // silence before that, which does not count since the observer itself was stopped: the last answer is Silent+Waived ago
	Ever    bool              `json:"ever"`              // it has answered this observer at least once
	Refused bool              `json:"refused,omitempty"` // the host answers, the thing does not (RST, "stopped")
	Why     string            `json:"why,omitempty"`     // the last failure in words
	Facts   map[string]string `json:"facts,omitempty"`   // what the thing says of itself
	Said    time.Duration     `json:"said,omitempty"`    // since it said the facts, which may be longer than since it last answered
	Took    time.Duration     `json:"took,omitempty"`    // of a gateway: how long its last answer took
}

// answered is how long ago the target last answered, where it ever did.
func (l Look) answered() time.Duration { return l.Silent + l.Waived }

// State is what is believed of a site or a thing.
type State string

// The states of a site; a single thing is Up, Suspect or Dead.
const (
	Up       State = "up"
	Suspect  State = "suspect"
	Lost     State = "lost"     // silent to a majority of sites, nobody sees it alive
	Isolated State = "isolated" // silent to a majority of sites, but users still reach it
	CutOff   State = "cut-off"  // the sites see it, users do not
	Dead     State = "dead"     // one thing in a site that lives
	Unknown  State = "unknown"  // not seen yet by enough observers
)

// Verdict is what a quorum concludes of a site or of one target.
type Verdict struct {
	Subject string        `json:"subject"` // site name, or target ID
	Site    estate.SiteID `json:"site"`
	Kind    Kind          `json:"kind,omitempty"` // empty for a site
	State   State         `json:"state"`
	Since   time.Time     `json:"since"`
	Because []string      `json:"because"` // the sightings that it rests on, in words
	// LastGone is when it was last believed to be gone; zero: never, as far as whoever believes this remembers.
	LastGone time.Time `json:"last_gone,omitzero"`
}

// Profile says how long things last. See [Profiles].
type Profile struct {
	Name    string
	Silence time.Duration // how long a target is silent before it counts
	Every   time.Duration // between two looks at one target, and two views, while something does not answer
	Rest    time.Duration // the same while all is well
	Timeout time.Duration // of one look
	Stall   time.Duration // a loop that was later than this does not count its silence
	Stale   time.Duration // a view older than this says nothing any more
	Settle  time.Duration // how long a site must be seen again before it is up
	Alone   time.Duration // how long a tower hears no other site before its site sends users elsewhere
}
