package tower

import (
	"maps"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver/postgres"
	"github.com/haechi/haechi/tower/state"
)

// beliefs is everything that this tower goes by at one instant. It is made by the mind
// and never changed after that.
type beliefs struct {
	snap     state.Snapshot
	estate   estate.Estate
	profile  situation.Profile
	targets  []situation.Target
	now      situation.Situation
	views    map[string]timedView
	premises map[estate.StoreID][]situation.Premise
	canaries map[estate.StoreID]string // what became of the last canary before a loss, in words
	givenUp  string                    // by which agent's word this tower was given up; see givenUpBy
}

// timedView is the newest view of one observer and when it came.
type timedView struct {
	view situation.View
	at   time.Time
}

// facts is what a member says of itself now; empty while it does not answer.
func (b *beliefs) facts(id estate.StoreID, m estate.MemberID) map[string]string {
	return b.now.Facts[situation.DatabaseTarget(b.estate, id, m)]
}

// shows says whether the records, as they are believed, hold a run.
func (b *beliefs) shows(id run.ID) bool {
	_, ok := b.snap.Index[id]
	return ok
}

// known remembers what members said of themselves while they lived, since premises are
// judged as they were before a loss.
type known map[estate.StoreID]map[estate.MemberID]map[string]string

func (k known) learn(e estate.Estate, now situation.Situation) {
	for _, id := range e.StoreIDs() {
		for _, m := range e.Stores[id].MemberIDs() {
			f := now.Facts[situation.DatabaseTarget(e, id, m)]
			if f[situation.FactAnswers] != "true" {
				continue
			}
			if k[id] == nil {
				k[id] = map[estate.MemberID]map[string]string{}
			}
			k[id][m] = f
		}
	}
}

// premises lists what does not hold for each store that is under epochs.
func (k known) premises(e estate.Estate, stores map[estate.StoreID]situation.Store) map[estate.StoreID][]situation.Premise {
	out := map[estate.StoreID][]situation.Premise{}
	for _, id := range e.StoreIDs() {
		if rec := stores[id]; rec.Epoch > 0 {
			if unmet := postgres.Premises(e.Stores[id], rec, k[id]); len(unmet) > 0 {
				out[id] = unmet
			}
		}
	}
	return out
}

// input is what the response decides on.
func (b *beliefs) input(quorum bool, known, opened map[run.ID]response.OpenRun) response.Input {
	in := response.Input{
		Now: b.now, Estate: b.estate, Stores: b.snap.Stores, Armed: map[string]bool{}, Premises: b.premises,
		Intents: b.snap.Intents, Withdrawn: b.snap.Withdrawn, Returning: b.snap.Returning, Quorum: quorum, Older: b.older(),
	}
	for what := range b.snap.Armed {
		in.Armed[what] = true
	}
	for _, h := range b.snap.Holds {
		in.Holds = append(in.Holds, response.Hold{Scope: h.Scope, By: h.By, Why: h.Why})
	}
	runs := maps.Clone(opened)
	maps.Copy(runs, known)
	for _, id := range sortedIDs(runs) {
		in.Open = append(in.Open, runs[id])
	}
	return in
}

func openRun(r run.Run) response.OpenRun {
	o := response.OpenRun{ID: r.ID, Kind: r.Plan.Kind, Subject: r.Plan.Subject, Lost: r.Plan.Lost, Status: r.Status(), Stores: []estate.StoreID{}, Settled: map[estate.StoreID]time.Time{}, Compares: map[estate.StoreID]time.Time{}}
	seen := map[estate.StoreID]bool{}
	for _, s := range r.Plan.Steps {
		if r.Plan.Kind == plan.BringBack && s.Verb == plan.Rejoin {
			o.Member, o.Anew = estate.MemberID(s.Members[0]), s.Args[plan.ArgAnew] == "true"
		}
		if s.Verb == plan.Seat && r.Settled(s.Component).IsZero() {
			o.Seats = true
		}
		if id := estate.StoreID(s.Component); s.OfStore() && !seen[id] {
			seen[id] = true
			o.Stores = append(o.Stores, id)
			if at := r.Settled(s.Component); !at.IsZero() {
				o.Settled[id] = at
			}
			if since, ok := r.Compares(s.Component); ok {
				o.Compares[id] = since
			}
		}
	}
	if r.Closed != "" {
		o.Closed = r.Last
	}
	if since, short, ok := r.Idle(); ok {
		o.Idle, o.Short = since, short
	}
	for _, q := range r.Questions() {
		o.Agreed = o.Agreed || len(q.By) > 0
	}
	return o
}
