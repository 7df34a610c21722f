// Package journal is the totally ordered, hash-chained record of everything
// that happened. Timeline, report and pages are views of it.
package journal

import (
	"encoding/json"
	"time"
)

// Entry is one record. Hash covers every other field and Prev is the hash of the entry
// before, so a changed, missing or inserted entry shows.
type Entry struct {
	Seq     uint64          `json:"seq"`     // from 1, without gaps
	Version int             `json:"version"` // of this format, 1
	At      time.Time       `json:"at"`      // by the writer's clock; order is Seq's
	Tower   string          `json:"tower"`
	Term    uint64          `json:"term"`
	Kind    string          `json:"kind"`           // "verdict", "decision", "run", "estate", "armed", "hold", "premise", "note"
	Subject string          `json:"subject"`        // run, site, store
	Text    string          `json:"text"`           // for people
	Data    json.RawMessage `json:"data,omitempty"` // for programs: a run.Event where Kind is "run"
	Prev    string          `json:"prev"`
	Hash    string          `json:"hash"`
}
