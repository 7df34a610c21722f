// Package history tells the life of a store: who was primary from when to when and why, what was
// lost or accepted, what came back and was compared. It is derived from the events of the runs that
// touched the store, and from nothing else, so there is no second book that could say otherwise.
package history

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// Facts that an engine's driver leaves with the end of a promotion, or of an adoption.
const (
	factPrimary  = "primary"
	factTimeline = "timeline"
	factProven   = "proven" // "false": what it holds was seen nowhere else yet
	factReport   = "report" // of a comparison, as JSON: what was found
)

// Life is what happened to one store.
type Life struct {
	Store    estate.StoreID      `json:"store"`
	Reigns   []Reign             `json:"reigns"` // by epoch
	Events   []Event             `json:"events"` // oldest first
	Salvages []situation.Salvage `json:"salvages"`
	Verified time.Time           `json:"verified,omitzero"` // see [situation.Store]
	Differs  string              `json:"differs,omitempty"`
	Gap      string              `json:"gap,omitempty"` // why older runs are missing here; empty: none are
}

// Reign is the time of one primary under one epoch.
type Reign struct {
	Epoch    uint64          `json:"epoch"`
	Timeline uint64          `json:"timeline,omitempty"` // 0: not known
	Primary  estate.MemberID `json:"primary"`
	From     time.Time       `json:"from"`           // it was seen to take writes
	Until    time.Time       `json:"until,omitzero"` // it could acknowledge nothing more; zero: it goes on
	Run      run.ID          `json:"run"`            // that began it
	Kind     plan.Kind       `json:"kind"`
	Because  []string        `json:"because"`
}

// What is what happened to a store beside its promotions.
type What string

// What can happen.
const (
	Fenced     What = "fenced"
	Salvaged   What = "salvaged"
	Rejoined   What = "rejoined"
	Returned   What = "returned" // counted again
	CountedOut What = "counted-out"
	Verified   What = "verified"
	Differs    What = "differs"   // compared, and not the same
	Unsettled  What = "unsettled" // compared, and it could not all be found out
	Applied    What = "applied"
	Discarded  What = "discarded"
	Alone      What = "alone"
	Together   What = "together"
	Accepted   What = "loss-accepted" // by people, by name
	Unproven   What = "unproven"      // promoted, and nobody was seen to hold what it holds
	Failed     What = "failed"        // a run about it did not do what it was for
)

// happenings are the steps whose end is worth telling.
var happenings = map[plan.Verb]What{
	plan.Fence: Fenced, plan.Salvage: Salvaged, plan.Rejoin: Rejoined, plan.Return: Returned, plan.Verify: Verified,
	plan.CountOut: CountedOut, plan.Apply: Applied, plan.Discard: Discarded, plan.Alone: Alone, plan.Together: Together,
}

// Event is one thing that happened.
type Event struct {
	At      time.Time `json:"at"`
	What    What      `json:"what"`
	Run     run.ID    `json:"run"`
	Kind    plan.Kind `json:"kind"`
	Members []string  `json:"members,omitempty"`
	By      []string  `json:"by,omitempty"` // people
	Text    string    `json:"text"`
}

// Tell tells the life of a store. runs are the logs of all runs that may have touched it, each in
// order; rec and salvages are the records as they are now.
func Tell(store estate.StoreID, rec situation.Store, salvages []situation.Salvage, runs [][]run.Event) Life {
	life := Life{Store: store, Reigns: []Reign{}, Events: []Event{}, Salvages: []situation.Salvage{}, Verified: rec.Verified, Differs: rec.Differs}
	ends := map[uint64]time.Time{} // by the epoch that came after
	for _, events := range runs {
		t := teller{store: store, life: &life, ends: ends, asked: map[int]string{}}
		for _, ev := range events {
			t.hear(ev)
		}
	}
	slices.SortStableFunc(life.Reigns, func(a, b Reign) int { return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), a.From.Compare(b.From)) })
	for i := range life.Reigns[:max(0, len(life.Reigns)-1)] {
		next := life.Reigns[i+1]
		life.Reigns[i].Until = next.From
		if end, ok := ends[next.Epoch]; ok {
			life.Reigns[i].Until = end
		}
	}
	slices.SortStableFunc(life.Events, func(a, b Event) int { return a.At.Compare(b.At) })
	for _, s := range salvages {
		if s.Store == store {
			life.Salvages = append(life.Salvages, s)
		}
	}
	slices.SortFunc(life.Salvages, func(a, b situation.Salvage) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	return life
}

// teller folds one run's events into a life.
type teller struct {
	store   estate.StoreID
	life    *Life
	ends    map[uint64]time.Time
	plan    plan.Plan
	epoch   uint64
	by      string // who asked for the run
	touched bool   // a step of the store began
	asked   map[int]string
}

func (t *teller) hear(ev run.Event) {
	switch ev.Kind {
	case run.Opened:
		t.plan, t.epoch, t.by = *ev.Plan, ev.Epochs[string(t.store)], ev.By
	case run.Closed:
		if t.touched && !(run.Run{}).DoneWith(ev.Why) && !strings.HasPrefix(ev.Why, "superseded") {
			t.tell(ev, Failed, nil, nil, ev.Why)
		}
	case run.Approved:
		for _, step := range stepsOf(ev.Step, t.asked) {
			t.tell(ev, Accepted, t.plan.Steps[step-1].Members, []string{ev.By}, t.asked[step])
		}
	case run.Began, run.Ended, run.Asked:
		if ev.Step > 0 && t.plan.Steps[ev.Step-1].OfStore() && t.plan.Steps[ev.Step-1].Component == string(t.store) {
			t.step(ev, t.plan.Steps[ev.Step-1])
		}
	}
}

// stepsOf are the steps that an approval is about: one, or all that asked.
func stepsOf(step int, asked map[int]string) (out []int) {
	for id := range asked {
		if step == 0 || step == id {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// step takes what happened to a step of the store.
func (t *teller) step(ev run.Event, s plan.Step) {
	t.touched = true
	switch {
	case ev.Kind == run.Asked:
		if delete(t.asked, s.ID); ev.Facts[run.FactAccepts] != "" {
			t.asked[s.ID] = ev.Why
		}
	case ev.Kind == run.Ended && ev.Outcome == run.Done:
		t.done(ev, s)
	}
}

func (t *teller) done(ev run.Event, s plan.Step) {
	switch s.Verb {
	case plan.Seal, plan.Halt:
		if _, known := t.ends[t.epoch]; !known {
			t.ends[t.epoch] = ev.At
		}
	case plan.Adopt, plan.Promote:
		timeline, _ := strconv.ParseUint(ev.Facts[factTimeline], 10, 64) // 0 where the engine counts none
		because := t.plan.Because
		if len(because) == 0 && t.by != "" {
			because = []string{t.by + " asked for it"}
		}
		t.life.Reigns = append(t.life.Reigns, Reign{Epoch: t.epoch, Timeline: timeline, Primary: estate.MemberID(ev.Facts[factPrimary]),
			From: ev.At, Run: ev.Run, Kind: t.plan.Kind, Because: because})
		if ev.Facts[factProven] == "false" {
			t.tell(ev, Unproven, s.Members, nil, ev.Why)
		}
	default:
		what, ok := happenings[s.Verb]
		members := s.Members
		switch s.Verb {
		case plan.Verify:
			what, members = compared(ev.Facts[factReport], members)
		case plan.CountOut:
			members = []string{s.Args[plan.ArgMember]} // its step is about the primary alone
		}
		if ok {
			var by []string
			if t.by != "" {
				by = []string{t.by}
			}
			t.tell(ev, what, members, by, ev.Why)
		}
	}
}

// compared says what a comparison came to, by its report, and of which of its step's members: who fell silent was not.
func compared(report string, members []string) (What, []string) {
	var r struct {
		Primary   string   `json:"primary"`
		Followers []string `json:"followers"`
		Found     []struct {
			Kind string `json:"kind"`
		} `json:"found"`
	}
	if report == "" || json.Unmarshal([]byte(report), &r) != nil {
		return Verified, members // its words say more
	}
	if r.Primary != "" {
		members = slices.Sorted(slices.Values(append(r.Followers, r.Primary)))
	}
	out := Verified
	for _, f := range r.Found {
		if f.Kind != "unsettled" {
			return Differs, members
		}
		out = Unsettled
	}
	return out, members
}

func (t *teller) tell(ev run.Event, what What, members, by []string, text string) {
	if what == Salvaged {
		members = members[:min(1, len(members))] // the others only keep what was found
	}
	t.life.Events = append(t.life.Events, Event{At: ev.At, What: what, Run: ev.Run, Kind: t.plan.Kind, Members: members, By: by, Text: text})
}
