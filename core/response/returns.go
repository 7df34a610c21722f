package response

import (
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// gather is how long a site that is up again is waited for until all its agents have spoken and what comes first
// is done, so that all of it comes back in one run.
const gather = 30 * time.Second

// recent is how long a site counts as just come back where no run tells that it was lost.
const recent = 10 * time.Minute

// returns wants back what is missing of sites that are up and steady: one run for a site that was lost, or
// of which more than one member is missing; else one for the member. others are the wants besides:
// while one of them that may be done is about a store, nobody comes back to it.
func (in Input) returns(others []want) (out []want) {
	missing := situation.Missing(in.standing())
	for _, site := range in.Estate.SiteIDs() {
		v := in.Now.Sites[site]
		if v.State != situation.Up || in.Now.At.Sub(v.Since) < follow {
			continue
		}
		lacks := situation.InSite(missing, site)
		if in.gathers(site, lacks, others) {
			continue
		}
		back := in.comeBack(site, slices.Concat(others, out))
		whole := want{kind: plan.Recover, subject: string(site), site: site, anew: v.Since}
		for _, w := range back {
			if !slices.Contains(whole.stores, w.stores[0]) {
				whole.stores = append(whole.stores, w.stores[0])
			}
			whole.because = append(whole.because, w.because...)
		}
		for _, l := range lacks {
			if l.Kind == situation.LackAnswers {
				whole.traffic = true
				whole.because = append(whole.because, l.Text)
			}
		}
		fell := func(w want) bool { return in.fellWith(site, w.stores[0], w.since) }
		if !in.recovers(site) && (whole.traffic || len(whole.stores) > 1 || slices.ContainsFunc(back, fell)) {
			whole.because = append([]string{fmt.Sprintf("%s is up since %s", site, v.Since.UTC().Format("15:04:05 UTC"))}, whole.because...)
			back = []want{whole}
		}
		out = append(out, back...)
	}
	return append(out, in.unheard(slices.Concat(others, out))...)
}

// standing is what the estate's redundancy rests on, as far as stores and answers go.
func (in Input) standing() situation.Standing {
	return situation.Standing{Estate: in.Estate, Now: in.Now, Stores: in.Stores, Withdrawn: in.Withdrawn, Returning: in.Returning, Intents: in.Intents}
}

// gathers says that more of a site is about to be there: the agent of a member that is missing has not spoken
// yet, or something else is done about one first, or was a moment ago.
func (in Input) gathers(site estate.SiteID, lacks []situation.Lack, others []want) bool {
	v := in.Now.Sites[site]
	if v.Since.IsZero() || in.Now.At.Sub(v.Since) >= gather {
		return false
	}
	for _, l := range lacks {
		if l.Member == "" {
			continue
		}
		id := estate.StoreID(l.Component)
		first := func(w want) bool { return w.refuse == "" && slices.Contains(w.stores, id) }
		under := func(o OpenRun) bool {
			soon := o.open() && o.Idle.IsZero() && o.Status != run.StatusAsked && !returns(o.Kind)
			return in.concerns(o, id) && (soon || !o.open() && in.Now.At.Sub(o.Closed) < follow)
		}
		if in.facts(id, l.Member)[situation.FactRunning] == "" || slices.ContainsFunc(others, first) || slices.ContainsFunc(in.Open, under) {
			return true
		}
	}
	return false
}

// returns says whether a kind brings back what was lost.
func returns(k plan.Kind) bool { return k == plan.Recover || k == plan.BringBack }

// recovers says whether a run about the whole site is open.
func (in Input) recovers(site estate.SiteID) bool {
	return slices.ContainsFunc(in.Open, func(o OpenRun) bool {
		return o.open() && o.Kind == plan.Recover && o.Subject == string(site) && o.Status != run.StatusHanding
	})
}

// fellWith says that a member of a store that is down was lost with its site, and that no run has brought it back since.
// down is since when it is; zero: not known.
func (in Input) fellWith(site estate.SiteID, id estate.StoreID, down time.Time) bool {
	gone := in.Now.Sites[site].LastGone
	if !gone.IsZero() && down.After(gone.Add(gather)) {
		return false // it was there after that
	}
	lost := !gone.IsZero() && in.Now.At.Sub(gone) < recent
	for _, o := range in.Open {
		switch {
		case o.Kind == plan.LoseSite && slices.Contains(o.Lost, string(site)):
			lost = true
		case o.Kind == plan.Recover && o.Subject == string(site) && o.broughtBack(id) && o.Closed.After(gone):
			lost = false
		}
	}
	return lost
}

// broughtBack says that a recovery has left nothing to do about a store but to compare it. One whose place another run took
// has come so far with some of its stores, and of those that it is not about nothing was missing.
func (o OpenRun) broughtBack(id estate.StoreID) bool {
	_, compares := o.Compares[id]
	_, settled := o.Settled[id]
	return o.Status == run.StatusDone || o.Status == run.StatusTaken && (compares || settled || !slices.Contains(o.Stores, id))
}

// comeBack wants the members in a site that can come back now, one of each store that others leave alone.
func (in Input) comeBack(site estate.SiteID, others []want) (out []want) {
	for _, id := range in.storeIDs() {
		if taken(id, others) {
			continue
		}
		for _, m := range in.Estate.Stores[id].MemberIDs() {
			if in.siteOf(id, m) != site {
				continue
			}
			why, since := in.canComeBack(id, m)
			if why == "" {
				continue
			}
			w := in.bringBack(id, m, since)
			w.because = []string{fmt.Sprintf("%s/%s %s, and its agent answers", id, m, why)}
			out = append(out, w)
			break
		}
	}
	return out
}

// taken says that one of some wants is about a store, and may be done.
func taken(id estate.StoreID, by []want) bool {
	return slices.ContainsFunc(by, func(o want) bool { return o.refuse == "" && slices.Contains(o.stores, id) })
}

// bringBack wants one member back, for a cause that began at since.
func (in Input) bringBack(id estate.StoreID, m estate.MemberID, since time.Time) want {
	site := in.siteOf(id, m)
	return want{
		kind: plan.BringBack, subject: string(id), member: m, site: site, stores: []estate.StoreID{id}, since: since,
		anew: in.reached(site, situation.AgentTarget(in.Estate, in.Estate.Stores[id].Members[m].Host)),
	}
}

// canComeBack says what is wrong with a member that can be brought back now, and since when where that is
// known; empty: nothing is, or not now. What runs as a primary, or would, is fenced first; what somebody
// stopped on purpose stays stopped.
func (in Input) canComeBack(id estate.StoreID, m estate.MemberID) (why string, since time.Time) {
	r, f := in.Stores[id], in.facts(id, m)
	down := in.Now.Things[situation.DatabaseTarget(in.Estate, id, m)].Since
	switch {
	case !in.mayAsk(id, m):
		return "", since
	case slices.Contains(r.Former, m), !slices.Contains(r.Sync, m):
		if f[situation.FactMade] == situation.RolePrimary && f[situation.FactFenced] != "true" && f[situation.FactHalted] == "" {
			return "", since
		}
		return "is not counted", since
	case f[situation.FactBroken] != "":
		return "is broken", down
	case f[situation.FactRunning] == "false":
		if f[situation.FactStopped] == "cleanly" && !in.fellWith(in.siteOf(id, m), id, down) {
			return "", since
		}
		return "does not run", down
	}
	return "", since
}

// mayAsk says that the agent of a member can be asked to bring it back to its primary, which lives.
func (in Input) mayAsk(id estate.StoreID, m estate.MemberID) bool {
	r, f, p := in.Stores[id], in.facts(id, m), in.facts(id, in.Stores[id].Primary)
	return r.Epoch > 0 && m != r.Primary && f[situation.FactRunning] != "" && f[situation.FactHeld] != "true" && f[situation.FactRole] != situation.RolePrimary &&
		p[situation.FactRole] == situation.RolePrimary && p[situation.FactAnswers] == "true"
}

// beside is what of a return an open run leaves to do: nothing where it is about the same, and no store that
// it is about, or was a moment ago. Where it only compares a store still, its place is taken: see yields.
func (in Input) beside(o OpenRun, w want) (want, bool) {
	lately := !o.open() && in.Now.At.Sub(o.Closed) < follow
	compares := func(id estate.StoreID) bool { return in.compares(o, id) }
	switch {
	case !o.open() && !lately:
		return w, true
	case o.Kind == w.kind && o.Subject == w.subject && o.Member == w.member && !slices.ContainsFunc(w.stores, compares):
		return w, false
	case o.open() && o.Kind == plan.LoseSite && slices.Contains(o.Lost, string(w.site)):
		return w, false // it still takes the site for lost; its question is dropped, or answered, first
	}
	w.stores = slices.DeleteFunc(slices.Clone(w.stores), func(id estate.StoreID) bool { return in.concerns(o, id) && !compares(id) })
	return w, len(w.stores) > 0 || w.traffic
}

// compares says that an open run has nothing more to do with a store than to compare its members, and that what it did
// before can be seen by now.
func (in Input) compares(o OpenRun, id estate.StoreID) bool {
	since, ok := o.Compares[id]
	return ok && o.open() && o.Status != run.StatusHanding && in.Now.At.Sub(since) >= follow
}
