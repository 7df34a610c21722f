// Package run is one plan being carried out, as a machine: events in, commands
// out. It does nothing itself; tower/executor does, and journals every event.
package run

import (
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
)

// ID names a run, for example "r-000012-k3f9": its number, and by whose records it is counted. IDs rise with time, and no
// other run has the same, also where records were lost and numbers begin again.
type ID string

// Outcome is what is known after an attempt. The zero value is Unknown, because
// not knowing is what a timeout, a crash and a forgotten assignment have in common.
type Outcome int

// The outcomes.
const (
	Unknown Outcome = iota // it may or may not have happened: look before acting again
	Done
	NotDone
)

// EventKind is what happened to a run.
type EventKind string

// What can happen to a run.
const (
	Opened     EventKind = "opened"     // the plan was accepted; carries it
	Claimed    EventKind = "claimed"    // a tower drives it from now on, under a higher term
	Began      EventKind = "began"      // written before the act
	Progressed EventKind = "progressed" // written in the middle of a long one: what it has come to, and where another goes on
	Ended      EventKind = "ended"      // written after it, with the outcome
	UndoBegan  EventKind = "undo-began" //
	UndoEnded  EventKind = "undo-ended" //
	Asked      EventKind = "asked"      // stops for a person; Why says what is at stake and who may answer
	Approved   EventKind = "approved"   // By a person
	Paused     EventKind = "paused"
	Resumed    EventKind = "resumed"
	Superseded EventKind = "superseded" // another run takes over; Facts say which stores as they are, others are unsealed
	Aborted    EventKind = "aborted"    // By a person: what can be undone is undone, what cannot is ended
	Closed     EventKind = "closed"     // Why: "done", "undone", "superseded", "failed: …"
	Left       EventKind = "left"       // the towers' records go on from an older copy, or at one tower alone: nobody knows what became of it since, so nobody carries it on
)

// Facts are what steps learned, for later steps: "sealed" = "b,c", "chosen" = "b",
// "lsn/b" = "0/3000148". Keys are unique within one component.
type Facts map[string]string

// Event is one thing that happened to a run. Events are journaled before anything rests on them.
type Event struct {
	Run     ID                `json:"run"`
	Seq     int               `json:"seq"` // place in the run's own log, from 1, without gaps
	Kind    EventKind         `json:"kind"`
	At      time.Time         `json:"at"`
	Term    uint64            `json:"term"`
	Tower   string            `json:"tower,omitempty"`
	Step    int               `json:"step,omitempty"`
	Outcome Outcome           `json:"outcome,omitempty"`
	Took    estate.Duration   `json:"took,omitzero"` // with Ended: how long the attempt or the look took, without the writing of it
	Facts   Facts             `json:"facts,omitempty"`
	By      string            `json:"by,omitempty"` // a person, where one acted
	Why     string            `json:"why,omitempty"`
	Plan    *plan.Plan        `json:"plan,omitempty"`   // with Opened only
	Estate  uint64            `json:"estate,omitempty"` // with Opened: the version that it was planned with
	Epochs  map[string]uint64 `json:"epochs,omitempty"` // with Opened: the new epoch of each store that the plan promotes
}
