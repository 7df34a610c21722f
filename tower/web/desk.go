package web

import (
	"context"
	"io"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/history"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
)

// Desk is what this package asks of the tower behind it. Everything that reads
// works without the quorum, from what the tower knows. Everything that changes
// something names the person who asked, has been written to the journal when it
// returns nil, and has changed nothing when it returns a [*Refused].
type Desk interface {
	// Now is what the tower believes and does. It does not block.
	Now() Now

	// Estate returns the version in force as canonical JSON, as core/estate writes it.
	Estate(ctx context.Context) (raw []byte, version uint64, err error)
	// Apply checks the files together and makes them the next version. With
	// ifVersion >= 0 only if that version is still in force. Where policy asks fewer people
	// from then on, only for an approver.
	Apply(ctx context.Context, by pki.Identity, files []File, ifVersion int64) (Applied, error)

	foresight

	// Plan says what would be done, and changes nothing.
	Plan(ctx context.Context, ask Ask) (plan.Plan, error)
	// Start opens a run for it; another tower may carry it.
	Start(ctx context.Context, by string, ask Ask) (run.ID, error)

	// Failback says what speaks for and against moving a store's primary to where the estate
	// declares it.
	Failback(ctx context.Context, store string) (response.Failback, error)
	// Home opens the run that moves it there; refused while anything speaks against it.
	Home(ctx context.Context, by, store string) (run.ID, error)
	// Salvages lists what was found on members that went another way than their primary, newest first.
	Salvages(ctx context.Context) ([]situation.Salvage, error)
	// Salvage returns one, with its rows from a number on, as many as go into one answer, and what stands
	// in their places on the primary now.
	Salvage(ctx context.Context, id string, from int) (SalvageRows, error)

	// Arm lets haechi act by itself on what: a site, "tier-N" or "*".
	Arm(ctx context.Context, by, what string) error
	// Disarm takes that back.
	Disarm(ctx context.Context, by, what string) error
	// Hold stops all acts, also where there is no quorum.
	Hold(ctx context.Context, by, why string) error
	// Release ends every hold.
	Release(ctx context.Context, by string) error

	// Runs lists open runs, then the newest closed ones.
	Runs(ctx context.Context) ([]Run, error)
	// Run returns one.
	Run(ctx context.Context, id run.ID) (Run, error)
	// Steer tells an open run to do as a person says.
	Steer(ctx context.Context, by string, id run.ID, how Steering) error

	// Journal returns at most limit entries from seq on, in order.
	Journal(ctx context.Context, from uint64, limit int) ([]journal.Entry, error)
	// JournalHead returns the journal's end as the quorum has it, without which it is refused:
	// only against it does what is missing at the end show.
	JournalHead(ctx context.Context) (journal.Head, error)

	// History tells the life of a store; Life.Gap says where some of it cannot be read now.
	History(ctx context.Context, id estate.StoreID) (history.Life, error)
	// Snapshot writes the towers' records to w as a file that can be restored.
	Snapshot(ctx context.Context, by string, w io.Writer) error
	// Waive goes on without asking the agent of a host what it has seen, where that is waited for after the
	// records were restored.
	Waive(ctx context.Context, by, host, why string) error

	// Doctor says what is missing or unsafe, of this tower and of all that it sees.
	Doctor(ctx context.Context) ([]Finding, error)
}

// File is one file of an estate as it was sent.
type File struct {
	Name string
	Data []byte
}

// Applied is what came of applying an estate.
type Applied struct {
	Version uint64   `json:"version"`
	Diff    []string `json:"diff"` // against the version before, in words
}

// Ask is what a person wants planned or done.
type Ask struct {
	Kind    plan.Kind `json:"kind"`           // LoseSite (Plan only), Evacuate, Failover, AdoptNew, Serve, Reseat, BringBack, Uncount, Restore or GiveUp
	Subject string    `json:"subject"`        // the site, the store or the salvage; "towers" of Reseat
	To      string    `json:"to,omitempty"`   // Failover: the member that becomes primary; empty: the best one. BringBack: the one that comes back. Uncount: the one that is gone
	Anew    bool      `json:"anew,omitempty"` // BringBack: it is copied from its primary, also where it follows and counts
	// Restore: which rows, "1,3-5"; empty: all of them. Overwrite: also where the primary has others.
	Rows      string `json:"rows,omitempty"`
	Overwrite bool   `json:"overwrite,omitempty"`
}

// Steering is what a person may tell an open run.
type Steering string

// What a person may tell a run.
const (
	Pause   Steering = "pause"
	Resume  Steering = "resume"
	Approve Steering = "approve" // what the run asked
	Abort   Steering = "abort"   // undo what can be undone, then end
)

// Finding is one thing that doctor looked at.
type Finding struct {
	Subject string `json:"subject"` // host, member, tower, file
	Level   Level  `json:"level"`   // Fine, Warn or Bad
	Text    string `json:"text"`
	Do      string `json:"do,omitempty"`
}

// Code is why something was refused.
type Code string

// The codes, each with its status in [explain].
const (
	BadRequest Code = "bad-request" // 400: it cannot be understood
	Forbidden  Code = "forbidden"   // 403: not with these roles
	NotFound   Code = "not-found"   // 404
	Conflict   Code = "conflict"    // 409: somebody changed it first, or it is under way
	TooLarge   Code = "too-large"   // 413
	NotDriver  Code = "not-driver"  // 421: another tower drives; Tower says which, as far as is known
	Unmet      Code = "unmet"       // 422: understood, and unsafe or impossible now
	NoQuorum   Code = "no-quorum"   // 503: this tower reaches too few others
)

// Refused is an error that is the asker's business: nothing was changed.
type Refused struct {
	Code  Code   `json:"code"`
	Why   string `json:"why"`          // what, where and why
	Do    string `json:"do,omitempty"` // what to do about it
	Tower string `json:"tower,omitempty"`
}

func (e *Refused) Error() string {
	if e.Do == "" {
		return e.Why
	}
	return e.Why + "; " + e.Do
}
