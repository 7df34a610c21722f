// Package web shows people what a tower believes and does, and takes their
// orders: the page Now, its live stream, and the JSON API. It decides nothing:
// what it shows comes from, and what it is told goes to, the [Desk]. It is the
// only place where errors become status codes.
package web

import (
	"time"

	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/simulate"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/core/verify"
)

// Now is everything that the page shows, at one instant of one tower. The tower
// fills it in; [Describe] adds what follows from it. Lists are in the order in
// which they are shown.
type Now struct {
	At        time.Time  `json:"at"`       // when this was true, by the tower's clock
	Headline  Headline   `json:"headline"` // set by Describe
	Estate    EstateRef  `json:"estate"`
	Tower     string     `json:"tower"` // who answers
	Driver    Driver     `json:"driver"`
	Quorum    Quorum     `json:"quorum"`
	Profile   string     `json:"profile"`
	Armed     []string   `json:"armed"` // "*", site or "tier-N"; empty: disarmed
	Holds     []Hold     `json:"holds"`
	Sites     []Site     `json:"sites"`
	Observers []Observer `json:"observers"`
	Stores    []Store    `json:"stores"`
	Names     []Name     `json:"names"`
	Missing   []Lack     `json:"missing"` // until the estate is as redundant as declared
	Runs      []Run      `json:"runs"`    // open ones first, then the newest
	Journal   []Line     `json:"journal"` // the last 50, oldest first
	Rate      Rate       `json:"rate"`
	Audit     AuditBrief `json:"audit"`
	Warnings  []Warning  `json:"warnings"` // the tower's own; Describe adds those that Now itself shows
}

// Headline is the state of everything in a few words.
type Headline struct {
	Level  Level  `json:"level"`
	Text   string `json:"text"`   // read from three metres: "PANGYO LOST"
	Detail string `json:"detail"` // what follows from it: "talk-db is in ansan, writes are acknowledged"
}

// Level is how bad something is.
type Level string

// The levels, best first.
const (
	Fine   Level = "ok"
	Acting Level = "act"  // a run is under way
	Warn   Level = "warn" // nothing is lost, something is not as it should be
	Bad    Level = "bad"
)

// EstateRef names the version of the estate that is in force. Version 0: none was applied.
type EstateRef struct {
	Name    string `json:"name"`
	Version uint64 `json:"version"`
}

// Driver is the tower that drives, as far as this tower knows.
type Driver struct {
	Tower string `json:"tower"`
	Term  uint64 `json:"term"`
}

// Quorum says whether this tower reaches a majority of the voters.
type Quorum struct {
	Have bool   `json:"have"`
	Why  string `json:"why,omitempty"` // when it does not: who is missing
}

// Hold is a person's order to act on nothing.
type Hold struct {
	By    string    `json:"by"`
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
}

// Site is one data centre and what is looked at in it.
type Site struct {
	ID      string    `json:"id"`
	Title   string    `json:"title,omitempty"`
	State   string    `json:"state"` // situation.State
	Since   time.Time `json:"since"`
	Because []string  `json:"because"`
	Intent  string    `json:"intent"` // situation.Intent
	TowerUp bool      `json:"tower_up"`
	Targets []Target  `json:"targets"`
}

// Target is one thing that is looked at.
type Target struct {
	Kind      string `json:"kind"`
	Component string `json:"component"`
	State     string `json:"state"`
	SilentMS  int64  `json:"silent_ms"` // since any observer heard it; -1: never
	Why       string `json:"why,omitempty"`
	Held      bool   `json:"held,omitempty"` // an agent whose hold file is there
	Seat      string `json:"seat,omitempty"` // a tower that does not simply vote: what it is instead
}

// Observer is one that looks from where users are.
type Observer struct {
	ID       string `json:"id"`
	SilentMS int64  `json:"silent_ms"` // since its last view came; -1: never
}

// The values of Store.Writes.
const (
	WritesAcknowledged = "acknowledged"
	WritesWaiting      = "waiting: too few others"
	WritesAlone        = "alone under mandate"
	WritesNone         = "no primary"
	WritesUnknown      = "unknown"
)

// Store is one replicated store.
type Store struct {
	ID      string   `json:"id"`
	Engine  string   `json:"engine"`
	Epoch   uint64   `json:"epoch"` // 0: not adopted
	Primary string   `json:"primary"`
	Any     int      `json:"any"`
	Alone   bool     `json:"alone"`
	Writes  string   `json:"writes"`
	Unmet   []string `json:"unmet"` // premises that do not hold, in words, and whether they forbid a promotion by itself
	Members []Member `json:"members"`
	Home    string   `json:"home,omitempty"` // that and why its primary could go home; people decide

	Canary string `json:"canary,omitempty"` // after a loss: whether the last that was acknowledged before it is there; and why none is written, or for how long one waits
	// Verified is when all members were last found to hold the same, and Differs what differed last.
	Verified time.Time           `json:"verified,omitzero"`
	Differs  string              `json:"differs,omitempty"`
	Salvages []situation.Salvage `json:"salvages,omitempty"` // those that people have to look at first, then the newest
}

// Lack is one thing that is missing until the estate is as redundant as declared.
type Lack = situation.Lack

// The values of Member.Role.
const (
	RolePrimary  = "primary"
	RoleFollower = "follower"
	RoleSealed   = "sealed"
	RoleFormer   = "former" // not counted before it is rewound and proven
	RoleDown     = "down"
	RoleUnknown  = "unknown"
)

// Member is one copy of a store.
type Member struct {
	ID            string `json:"id"`
	Site          string `json:"site"`
	Role          string `json:"role"`
	Streaming     bool   `json:"streaming"`
	Sync          bool   `json:"sync"`      // may acknowledge
	LagBytes      int64  `json:"lag_bytes"` // behind the primary; -1: not known
	LagMS         int64  `json:"lag_ms"`    // behind the primary; -1: not known
	CanaryMS      int64  `json:"canary_ms"` // how far what it holds of the canary is behind what the primary holds; -1: not known
	ReplayBlocked bool   `json:"replay_blocked"`
	Note          string `json:"note,omitempty"`
	Jobs          []Job  `json:"jobs,omitempty"` // what its agent is at
}

// Job is something long that an agent does on a member.
type Job struct {
	What  string  `json:"what"`  // "salvage", "rejoin", "check"
	Phase string  `json:"phase"` // in the agent's words
	Bytes int64   `json:"bytes"` // done
	Of    int64   `json:"of"`    // of so many; 0: not known
	ETAS  float64 `json:"eta_s"` // until it ends; -1: not known
}

// Name is what users resolve.
type Name struct {
	Name    string       `json:"name"`
	Answers []Answer     `json:"answers"`
	Servers []NameServer `json:"servers"`
}

// Answer is what a name says of one site.
type Answer struct {
	Site      string   `json:"site"`
	Addresses []string `json:"addresses"`
	Serving   bool     `json:"serving"`        // users are sent there
	Part      bool     `json:"part,omitempty"` // of one that is not: some are, it is on its way back
}

// NameServer is one authoritative server of a name.
type NameServer struct {
	Host  string `json:"host"`
	Site  string `json:"site"`
	State string `json:"state"` // situation.State, or "old" while its zone is brought level
}

// The values of Run.Status that are treated apart; all are those of run.Status.
const (
	RunRunning = string(run.StatusRunning)
	RunAsking  = string(run.StatusAsked) // a person has to answer
	RunPaused  = string(run.StatusPaused)
	RunDone    = string(run.StatusDone)
	RunUndone  = string(run.StatusUndone)
	RunFailed  = string(run.StatusFailed)
)

// Run is one plan being carried out, or one that was.
type Run struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"` // plan.Kind
	Subject string    `json:"subject"`
	Status  string    `json:"status"` // run.Status
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"` // zero: it is open
	Driver  string    `json:"driver"`
	Because []string  `json:"because,omitempty"`
	Ask     string    `json:"ask,omitempty"` // what a person has to decide
	Why     string    `json:"why,omitempty"` // how it ended, where not well
	Plan    string    `json:"plan,omitempty"`
	Steps   []Step    `json:"steps"`

	Foreseen *Foreseen `json:"foreseen,omitempty"` // once it has ended, where this tower had foreseen it
}

// Foreseen is how a run went beside what a tower had foreseen of it while all was calm.
type Foreseen struct {
	At       time.Time         `json:"at"`      // when it was foreseen
	Version  uint64            `json:"version"` // of the estate then
	Runs     int               `json:"runs"`    // simulated
	Steps    []simulate.Beside `json:"steps"`
	Forecast simulate.Forecast `json:"forecast"` // with all that it rests on
}

// Open says whether the run has not ended.
func (r Run) Open() bool { return r.Ended.IsZero() }

// The values of Step.State.
const (
	StepWaiting = "waiting"
	StepRunning = "running"
	StepDone    = "done"
	StepNotDone = "not-done"
	StepUnknown = "unknown"
	StepUndone  = "undone"
)

// Step is one act of a run.
type Step struct {
	ID        int       `json:"id"`
	Verb      string    `json:"verb"`
	Component string    `json:"component"`
	Reason    string    `json:"reason"`
	State     string    `json:"state"`
	Started   time.Time `json:"started,omitzero"`
	Seconds   float64   `json:"seconds"` // so far, while it runs
	Note      string    `json:"note,omitempty"`
	// Report is what a comparison came to; nil for other steps.
	Report *verify.Summary `json:"report,omitempty"`
}

// Line is one entry of the journal, for people.
type Line struct {
	Seq   uint64    `json:"seq"`
	At    time.Time `json:"at"`
	Tower string    `json:"tower"`
	Kind  string    `json:"kind"`
	Text  string    `json:"text"`
}

// Rate is acknowledged messages a second over the last while, from [RateMeter].
type Rate struct {
	From      time.Time  `json:"from"`       // start of the first point
	StepMS    int64      `json:"step_ms"`    // how much time one point stands for
	PerSecond []*float64 `json:"per_second"` // nil: nobody could say
}

// Warning is something that is unsafe now, before anything has happened.
type Warning struct {
	Severity Level     `json:"severity"` // Warn or Bad
	Text     string    `json:"text"`
	Do       string    `json:"do,omitempty"`
	Since    time.Time `json:"since,omitzero"`
}
