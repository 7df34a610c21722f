// Package state is what the towers have agreed: typed records over etcd, each
// change of which is written in one transaction with the journal entry that tells of it.
// Whoever drives writes under a guard that fails as soon as another tower has
// claimed; people's acts are written from any tower that has the quorum.
package state

import (
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// Drive is the right to open and carry runs: one tower has it, under a term that
// only rises. The zero value means that nobody has claimed yet.
type Drive struct {
	Tower string `json:"tower"`
	Term  uint64 `json:"term"`
	// Claim tells two claims of one tower apart, so that a process does not
	// take the claim of its predecessor for its own.
	Claim string `json:"claim"`
}

// EstateVersion is who applied an estate, and when.
type EstateVersion struct {
	Version uint64    `json:"version"` // from 1
	By      string    `json:"by"`
	At      time.Time `json:"at"`
	Bytes   int       `json:"bytes"`
}

// Mark is who set something, and when.
type Mark struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// Hold stops acts. Scope is "*", a site, or a store.
type Hold struct {
	ID    string    `json:"id"`
	Scope string    `json:"scope"`
	By    string    `json:"by"`
	Why   string    `json:"why"`
	At    time.Time `json:"at"`
}

// Ask is a person's wish that the tower that drives has to fulfil: "pause",
// "resume", "approve", "abort" of a run, or "evacuate", "failover" of a subject. It is
// gone once [AskDone] was written with what was made of it.
type Ask struct {
	ID      string            `json:"id"` // rises with time
	Verb    string            `json:"verb"`
	Run     run.ID            `json:"run,omitempty"`
	Step    int               `json:"step,omitempty"`
	Subject string            `json:"subject,omitempty"`
	Args    map[string]string `json:"args,omitempty"`
	By      string            `json:"by"`
	Roles   []string          `json:"roles,omitempty"`
	Why     string            `json:"why,omitempty"`
	At      time.Time         `json:"at"`
}

// RunInfo is what a list of runs shows.
type RunInfo struct {
	ID      run.ID    `json:"id"`
	Kind    plan.Kind `json:"kind"`
	Subject string    `json:"subject"`
	Events  int       `json:"events"`
	Opened  time.Time `json:"opened"`
	Closed  time.Time `json:"closed,omitzero"` // zero: open
	Why     string    `json:"why,omitempty"`   // it was closed
}

// Open says whether the run goes on.
func (r RunInfo) Open() bool { return r.Closed.IsZero() }

// Snapshot is everything at one revision. Its maps and slices are shared: read only.
type Snapshot struct {
	Revision    int64 // 0: nothing was read yet
	Acts        int64 // changes with each act of a person; see [Batch.Basis]
	Opened      int64 // changes with each run that is opened; see [Store.Apply]
	Drive       Drive
	Line        Line
	Cluster     string // that the records were read from, as Line names it
	Estate      EstateVersion
	EstateRaw   []byte
	Stores      map[estate.StoreID]situation.Store
	Index       map[run.ID]RunInfo     // every run
	Runs        map[run.ID][]run.Event // open runs, and the last [RecentRuns] that were closed
	Armed       map[string]Mark        // site, "tier-N" or "*"
	Holds       map[string]Hold        // by ID
	Intents     map[estate.SiteID]situation.Intent
	Withdrawn   map[estate.NameID][]estate.SiteID
	Returning   map[estate.NameID][]estate.SiteID // of these, the ones that some name servers may give
	Asks        []Ask                             // oldest first
	Salvages    map[string]situation.Salvage      // by ID
	LastJournal journal.Entry
}

// RecentRuns is how many closed runs a snapshot holds in full.
const RecentRuns = 20

// OpenRuns returns the open runs, in the order in which they were opened.
func (s Snapshot) OpenRuns() []RunInfo {
	var out []RunInfo
	for _, id := range sortedKeys(s.Index) {
		if s.Index[id].Open() {
			out = append(out, s.Index[id])
		}
	}
	return out
}
