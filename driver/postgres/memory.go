package postgres

import (
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/situation"
)

// What a member can be.
const (
	asPrimary  = "primary"
	asFollower = "follower"
)

// memory is what the agent keeps of a member. It is on disk before the member is
// changed, and everything that the server reads is made from it.
//
// At most one of these holds: Role is primary; Sealed. Fenced goes over both.
type memory struct {
	Role        string          `json:"role,omitempty"`         // what it was last made
	Reign       uint64          `json:"reign,omitempty"`        // of a primary: the epoch that made it one
	List        []string        `json:"list,omitempty"`         // who may acknowledge for it
	Any         int             `json:"any,omitempty"`          // how many of them must
	Sealed      bool            `json:"sealed,omitempty"`       // receives from nobody
	SealedEpoch uint64          `json:"sealed_epoch,omitempty"` // the last epoch that sealed it
	Proven      bool            `json:"proven,omitempty"`       // of that seal: nothing receives any more; before, the seal has only begun
	Upstream    *agent.Upstream `json:"upstream,omitempty"`     // of a follower
	Before      *agent.Upstream `json:"before,omitempty"`       // to go back to when the run is taken back
	Halted      *halted         `json:"halted,omitempty"`       // of one that was primary and was stopped cleanly, until it is started or promoted as one again
	Fenced      bool            `json:"fenced,omitempty"`       // must not be started
	Alone       *alone          `json:"alone,omitempty"`        // of a primary: goes on without others, or still ends doing so
	Rebuild     *rebuild        `json:"rebuild,omitempty"`      // while it is brought back
	Anew        string          `json:"anew,omitempty"`         // of a follower: the run that had it copied last whatever was known of it
	Due         string          `json:"due,omitempty"`          // the run that wants it copied so, until it was: once it is counted out it comes back by no other way
	Horizon     *horizon        `json:"horizon,omitempty"`      // of a primary that was promoted: what it took over
	Read        read            `json:"read,omitzero"`          // of one that went another way than the primary: what was found
}

// horizon is which transactions a promotion took over, see [situation.Fork].
type horizon struct {
	Oldest uint64 `json:"oldest"`
	Next   uint64 `json:"next"`
}

// read is what came of reading what only this member holds, before anything on it is rewritten.
type read struct {
	Waiting *waiting           `json:"waiting,omitempty"` // who waited for other members when it was fenced; nil: nobody saw
	Salvage *situation.Salvage `json:"salvage,omitempty"` // what was found; nil: it was not read
	Stand   LSN                `json:"stand,omitempty"`   // the data directory's last checkpoint after that: where it is another one, somebody wrote since
	Kept    bool               `json:"kept,omitempty"`    // what was found lies in two sites, or people accept that it is not known
}

// rebuild is a member that is being brought back. What goes before it in the memory stays as it was until
// the end, so that nothing is known of the member that is not so.
type rebuild struct {
	Stage string    `json:"stage"`          // choosing; then byRewind or byCopy, from before the first byte is rewritten
	From  string    `json:"from"`           // the member that it comes back to
	Reign uint64    `json:"reign"`          // under which that one is primary
	Kept  string    `json:"kept,omitempty"` // the salvage that holds what only it held
	Since time.Time `json:"since,omitzero"` // it is in this stage
	Bare  bool      `json:"bare,omitempty"` // it had no configuration of its own in its data directory
}

// choosing is the stage in which nothing is rewritten yet.
const choosing = "choosing"

// broken says that the data directory is neither what it was nor what it is to be: nothing starts or uses it
// but the order that ends this.
func (r *rebuild) broken() bool { return r != nil && r.Stage != choosing }

// alone is a primary that acknowledges without others, under a mandate. While it is
// remembered, the host's kernel lets the server's clients through only under that mandate.
type alone struct {
	Epoch  uint64 `json:"epoch"`            // of the order that made it so
	Ending bool   `json:"ending,omitempty"` // the list is to be in force again; the kernel is not told yet
}

// names is the list of synchronous members that the server is to have; false where nobody
// has said yet.
func (mem memory) names() (string, bool) {
	if mem.Alone != nil && !mem.Alone.Ending {
		return "", true
	}
	return syncNames(mem.Any, mem.List), len(mem.List) > 0
}

// halted is where a primary that was stopped cleanly ended.
type halted struct {
	Epoch    uint64 `json:"epoch"`
	Timeline uint64 `json:"timeline"`
	LSN      LSN    `json:"lsn"` // of the checkpoint that its shutdown wrote
}

func recall(m *agent.Memory) (memory, error) {
	var mem memory
	return mem, m.Load(&mem)
}

// epochs are those of which the replication role may have the credential, as the orders so far say,
// and reign, whose promotion stands.
func (mem memory) epochs(reign uint64) []uint64 {
	out := []uint64{mem.Reign, reign}
	for _, up := range []*agent.Upstream{mem.Upstream, mem.Before} {
		if up != nil {
			out = append(out, up.Credential, up.Reign)
		}
	}
	return out
}

// sealed is "true" only once it was seen that nothing receives. A seal that has begun, and
// perhaps was cut off, stands in the memory before that; whoever counted it could promote
// while the member still helps the old primary to acknowledge.
func (mem memory) sealed() string {
	switch {
	case mem.Sealed && mem.Proven:
		return "true"
	case mem.Sealed:
		return "begun"
	}
	return "false"
}

// facts are what others may know of it.
func (mem memory) facts(f map[string]string) {
	f["agent/role"] = mem.Role
	f["agent/reign"] = number(mem.Reign)
	f["sealed"] = mem.sealed()
	f["sealed_epoch"] = number(mem.SealedEpoch)
	f["fenced"] = yes(mem.Fenced)
	f["alone"] = yes(mem.Alone != nil)
	if mem.Anew != "" {
		f["agent/anew"] = mem.Anew
	}
	if mem.Due != "" {
		f["agent/due"] = mem.Due
	}
	if mem.Rebuild.broken() {
		f["broken"] = mem.Rebuild.Stage
	}
	if mem.Upstream != nil {
		f["agent/upstream"] = mem.Upstream.Member
		f["agent/upstream_reign"] = number(mem.Upstream.Reign)
	}
	if mem.Role == asPrimary && mem.Horizon != nil {
		f["oldest_xid"], f["next_xid"] = number(mem.Horizon.Oldest), number(mem.Horizon.Next)
	}
	if mem.Read.Salvage != nil {
		f["salvage"], f["salvage/kept"] = drawSalvage(*mem.Read.Salvage), yes(mem.Read.Kept)
	}
	if mem.Halted != nil {
		f["halted_epoch"] = number(mem.Halted.Epoch)
		f["halted_lsn"] = mem.Halted.LSN.String()
		f["halted_timeline"] = number(mem.Halted.Timeline)
	}
}
