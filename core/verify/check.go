package verify

import "time"

// SequencesAnswer is what a member says of a database's sequences.
type SequencesAnswer struct {
	From      LSN        `json:"from"` // how far its log was replayed before it looked
	To        LSN        `json:"to"`   // or written, after
	Sequences []Sequence `json:"sequences,omitempty"`
}

// Check is how far a member is with reading its own pages and indexes.
type Check struct {
	Job     string     `json:"job"`    // another one for each job
	Phase   string     `json:"phase"`  // "pages", "indexes"; "done" once it is over
	Cursor  string     `json:"cursor"` // where another job goes on
	Done    int64      `json:"done"`   // bytes of this phase
	All     int64      `json:"all"`
	Pages   int64      `json:"pages"` // read in all
	Indexes int        `json:"indexes"`
	Found   []Finding  `json:"found,omitempty"` // since the job began
	LeftOut []Omission `json:"left_out,omitempty"`
	Error   string     `json:"error,omitempty"` // why the job stopped before its end
}

// Summary is what a comparison came to, for people and programs.
type Summary struct {
	Primary   string           `json:"primary"`
	Followers []string         `json:"followers"`
	Begun     time.Time        `json:"begun"`
	Seconds   float64          `json:"seconds"` // of all who carried it
	Databases map[string]Count `json:"databases"`
	Checks    map[string]Check `json:"checks,omitempty"` // by member; what they found stands in the report
	Report
}

// Over says that nothing is left to be read.
func (c Check) Over() bool { return c.Phase == PhaseDone }

// The phases of a check.
const (
	PhasePages   = "pages"
	PhaseIndexes = "indexes"
	PhaseDone    = "done"
)

// Join adds what a later job of the same check did.
func (c Check) Join(later Check) Check {
	later.Pages += c.Pages
	later.Indexes += c.Indexes
	later.Found = append(c.Found[:len(c.Found):len(c.Found)], later.Found...)
	later.LeftOut = append(c.LeftOut[:len(c.LeftOut):len(c.LeftOut)], later.LeftOut...)
	return later
}
