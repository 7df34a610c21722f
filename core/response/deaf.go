package response

import (
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

const (
	// deafLong is how long a member that runs must have received nothing, and nobody have done anything to its store,
	// until it is brought back: a connection that broke is made anew by the servers themselves.
	deafLong = 30 * time.Second
	// deafRest is how long it is left alone after it was tried in vain the first time; each time after that twice as
	// long, and at most longestRest.
	deafRest    = 10 * time.Minute
	longestRest = 24 * time.Hour
)

// unheard wants members back that run, count, and only receive nothing, in stores that others leave alone.
func (in Input) unheard(others []want) (out []want) {
	for _, id := range in.storeIDs() {
		for _, m := range in.Estate.Stores[id].MemberIDs() {
			since := in.deafSince(id, m)
			if since.IsZero() || taken(id, slices.Concat(others, out)) {
				continue
			}
			w := in.bringBack(id, m, since)
			w.deaf, w.refuse = true, in.triedInVain(w)
			w.because = []string{fmt.Sprintf("%s/%s runs, and receives nothing from %s since %s", id, m, in.Stores[id].Primary, since.UTC().Format("15:04:05 UTC"))}
			out = append(out, w)
		}
	}
	return out
}

// deafSince is since when a member that runs and counts has received nothing from its primary, if that is long enough;
// zero: it has, or not long enough, or it is not to be asked now.
func (in Input) deafSince(id estate.StoreID, m estate.MemberID) time.Time {
	r, f, v := in.Stores[id], in.facts(id, m), in.Now.Sites[in.siteOf(id, m)]
	since := in.Now.Deaf[situation.DatabaseTarget(in.Estate, id, m)]
	switch {
	case since.IsZero() || in.Now.At.Sub(since) < deafLong || v.State != situation.Up && v.State != situation.Suspect || in.Now.At.Sub(v.Since) < follow:
		return time.Time{}
	case slices.Contains(r.Former, m) || !slices.Contains(r.Sync, m) || f[situation.FactRunning] != "true" || f[situation.FactBroken] != "":
		return time.Time{} // more is wrong with it than that
	case !in.mayAsk(id, m) || f[situation.FactSealed] != "false" || !in.settledDown(id):
		return time.Time{}
	}
	return since
}

// triedInVain says that a member which receives nothing was tried to be brought back, and that it is too soon to try
// again; empty: it is not. What keeps it from its primary lies between the two, where no answer to a question mends it: so
// nobody is asked.
func (in Input) triedInVain(w want) string {
	var last run.ID
	var closed time.Time
	wait := deafRest / 2
	for _, o := range in.Open {
		if o.open() || o.Kind != w.kind || o.Subject != w.subject || o.Member != w.member || o.Status == run.StatusTaken || o.Closed.Before(w.since) || o.Closed.Before(w.anew) {
			continue
		}
		last, closed, wait = o.ID, o.Closed, min(2*wait, longestRest)
	}
	if last == "" || in.Now.At.Sub(closed) >= wait {
		return ""
	}
	return fmt.Sprintf("run %s could not do it: haechi run show %s says what is in the way, most likely that its host does not reach that of %s; it is tried again after %v, or by haechi rejoin %s %s",
		last, last, in.primary(w.stores[0]), wait, w.subject, w.member)
}

// settledDown says that no run has done anything to a store for so long that who receives from whom is what it will be.
func (in Input) settledDown(id estate.StoreID) bool {
	return !slices.ContainsFunc(in.Open, func(o OpenRun) bool {
		last := o.Closed
		if o.open() {
			last = o.Compares[id]
		}
		return in.concerns(o, id) && (last.IsZero() || in.Now.At.Sub(last) < deafLong)
	})
}
