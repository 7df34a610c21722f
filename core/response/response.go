// Package response decides what to do about a situation, and whether it may be
// done: start a run, supersede one, ask a person, refuse, or only say what would be
// done. It is pure: equal inputs give equal decisions, in the same order.
package response

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/seats"
	"github.com/haechi/haechi/core/situation"
)

// Input is everything that a decision depends on.
type Input struct {
	Now    situation.Situation
	Estate estate.Estate
	Stores map[estate.StoreID]situation.Store
	Armed  map[string]bool // site, "tier-N" or "*"
	Holds  []Hold
	// Open are the runs that are open, and those that were closed lately.
	Open []OpenRun
	// Premises are those that do not hold, as they were found before the loss.
	Premises  map[estate.StoreID][]situation.Premise
	Intents   map[estate.SiteID]situation.Intent
	Withdrawn map[estate.NameID][]estate.SiteID
	Returning map[estate.NameID][]estate.SiteID // of these, the answers that some name servers may give
	Seats     []seats.Tower                     // see [Towers]
	// Older is a tower that answers and is of the release before, which does not know every kind of run; "": none is.
	Older  string
	Quorum bool
}

// Hold is a person's order to act on nothing.
type Hold struct {
	Scope string // "*", a site or a store
	By    string
	Why   string
}

// OpenRun is a run that is open, or was closed lately.
type OpenRun struct {
	ID      run.ID
	Kind    plan.Kind
	Subject string
	Member  estate.MemberID              // that it brings back; empty: it is about no single one
	Anew    bool                         // it has that one copied, also where it follows and counts
	Lost    []string                     // sites that it takes for lost
	Stores  []estate.StoreID             // that its steps are about; nil: not known, then all that it may touch
	Settled map[estate.StoreID]time.Time // of those of its stores that it has nothing more to do with: since when
	// Compares are those of its stores with which it has nothing more to do than to compare their members: since when.
	// What brings a member back takes its place.
	Compares map[estate.StoreID]time.Time
	Status   run.Status
	Closed   time.Time // zero: it is open
	Idle     time.Time // since when it does nothing but ask, and nothing of what it did lasts; zero: it does not
	Short    bool      // of one that is idle: it asks only since too few members could be sealed, or none could follow
	Seats    bool      // it gives towers their seats, and is not done with that
	Agreed   bool      // somebody has agreed to what it asks, and others are waited for
}

// Act is what is done about a cause.
type Act string

// The acts.
const (
	Start     Act = "start"
	Supersede Act = "supersede" // start, and take the place of other runs
	Ask       Act = "ask"       // a person has to agree first
	Refuse    Act = "refuse"    // not now; Because says what stands in the way
	Would     Act = "would"     // disarmed: only journaled
	Drop      Act = "drop"      // take the question of a run back, since its cause is gone
)

// Decision is one thing to do, or not to do, and why.
type Decision struct {
	Act     Act
	Kind    plan.Kind
	Subject string          // as in [plan.Input]
	Lost    []estate.SiteID // all sites that are lost, where it is about a loss
	// Stores that are moved. A lose-site run without any moves traffic alone; see [Decision.StoresOnly].
	Stores     []estate.StoreID
	Member     estate.MemberID // to fence, to let go, or to bring back
	People     int             // of an Ask: how many have to agree
	Run        run.ID          // of a Drop: whose question
	Supersedes []run.ID
	Because    []string
}

// Key is equal for decisions that differ in their words only. Whoever journals
// decisions journals each key once, as long as it stays.
func (d Decision) Key() string {
	return fmt.Sprintf("%s %s %s %s%s lost=%v stores=%v supersedes=%v", d.Act, d.Kind, d.Subject, d.Member, d.Run, d.Lost, d.Stores, d.Supersedes)
}

// StoresOnly is for [plan.Input]: there, an empty list would mean all stores. It is
// never empty; where no store may be moved it names none that there is.
func (d Decision) StoresOnly() []estate.StoreID {
	if len(d.Stores) == 0 {
		return []estate.StoreID{""}
	}
	return slices.Clone(d.Stores)
}

// String draws the decision as scenarios and the journal show it.
func (d Decision) String() string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(fmt.Sprintf("%s %s %s", d.Act, d.Kind, d.Subject)))
	if d.Member != "" {
		fmt.Fprintf(&b, " member=%s", d.Member)
	}
	if d.Run != "" {
		fmt.Fprintf(&b, " run=%s", d.Run)
	}
	if len(d.Lost) > 0 {
		fmt.Fprintf(&b, " lost=%v", d.Lost)
	}
	if len(d.Stores) > 0 {
		fmt.Fprintf(&b, " stores=%v", d.Stores)
	}
	if d.People > 0 {
		fmt.Fprintf(&b, " people=%d", d.People)
	}
	if len(d.Supersedes) > 0 {
		fmt.Fprintf(&b, " supersedes=%v", d.Supersedes)
	}
	return b.String()
}

// Decide says what to do now. What is being done already is not decided again.
func Decide(in Input) []Decision {
	wants := in.wants()
	if !in.Quorum {
		return []Decision{refuseAll(wants)}
	}
	var out []Decision
	for _, w := range wants {
		out = append(out, in.decide(w)...)
	}
	out = append(out, in.overs(out)...)
	slices.SortStableFunc(out, func(a, b Decision) int {
		return cmp.Or(cmp.Compare(rank(a.Kind), rank(b.Kind)), cmp.Compare(urgency(a.Act), urgency(b.Act)), cmp.Compare(a.Subject, b.Subject))
	})
	return out
}

// refuseAll is what a tower decides that does not reach a majority of the voters.
func refuseAll(wants []want) Decision {
	d := Decision{Act: Refuse, Because: []string{
		"this tower does not reach a majority of the voters, so it starts nothing; bring voters back; until then only people can move anything, by hand",
	}}
	for _, w := range wants {
		d.Because = append(d.Because, fmt.Sprintf("otherwise: %s %s: %s", w.kind, w.subject, strings.Join(w.because, "; ")))
	}
	return d
}

// rank orders decisions: what saves data first.
func rank(k plan.Kind) int {
	order := []plan.Kind{plan.LoseSite, plan.LoseStore, plan.FenceOld, plan.CutUsers, plan.GoAlone, plan.EndAlone, plan.LetGo, plan.LevelDNS, plan.Reseat, plan.Recover, plan.BringBack}
	if i := slices.Index(order, k); i >= 0 {
		return i
	}
	return len(order)
}

// urgency orders decisions of one kind: what starts now first.
func urgency(a Act) int { return slices.Index([]Act{Start, Supersede, Ask, Refuse, Would, Drop}, a) }
