package response

import (
	"fmt"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
)

// overs are the questions that nobody has to answer any more: what the run is about is seen to be
// well again, and nothing of what it did lasts. Whoever agreed now would move a store that lives.
func (in Input) overs(decided []Decision) (out []Decision) {
	for _, o := range in.Open {
		taken := slices.ContainsFunc(decided, func(d Decision) bool { return slices.Contains(d.Supersedes, o.ID) })
		if taken || !o.open() || o.Idle.IsZero() || in.Now.At.Sub(o.Idle) < follow {
			continue
		}
		if why := in.over(o); why != "" {
			out = append(out, Decision{Act: Drop, Kind: o.Kind, Subject: o.Subject, Run: o.ID, Because: []string{why}})
		}
	}
	return out
}

// over says why a run's cause is gone; empty: it is not, or nobody knows.
func (in Input) over(o OpenRun) string {
	steady := func(v situation.Verdict) bool { return v.State == situation.Up && in.Now.At.Sub(v.Since) >= follow }
	switch o.Kind {
	case plan.LoseSite:
		for _, s := range o.Lost {
			if !steady(in.Now.Sites[estate.SiteID(s)]) {
				return ""
			}
		}
		if len(o.Lost) == 0 {
			return ""
		}
		return fmt.Sprintf("%s is up again, and nothing was moved", strings.Join(o.Lost, " and "))
	case plan.LoseStore:
		id := estate.StoreID(o.Subject)
		p := in.primary(id)
		if !steady(in.Now.Things[situation.DatabaseTarget(in.Estate, id, p)]) || in.facts(id, p)[situation.FactRole] != situation.RolePrimary {
			return ""
		}
		return fmt.Sprintf("%s, the primary of %s, is up again, and nothing was moved", p, id)
	case plan.Recover:
		if !in.Now.Sites[estate.SiteID(o.Subject)].Gone() {
			return ""
		}
		return fmt.Sprintf("%s is gone again; it is tried anew when it is back", o.Subject)
	case plan.BringBack:
		id := estate.StoreID(o.Subject)
		r, p := in.Stores[id], in.facts(id, in.Stores[id].Primary)
		counts := slices.Contains(r.Sync, o.Member) && !slices.Contains(r.Former, o.Member)
		if !counts || o.Anew || in.facts(id, o.Member)[situation.FactRunning] != "true" || p[situation.FactAnswers] != "true" || situation.Deaf(p, o.Member) {
			return ""
		}
		return fmt.Sprintf("%s receives from %s, and counts", o.Member, r.Primary)
	case plan.FenceOld:
		id := estate.StoreID(o.Subject)
		if !in.onePrimary(id) {
			return ""
		}
		return fmt.Sprintf("no member of %s but %s runs as a primary", id, in.primary(id))
	}
	return ""
}

// onePrimary says whether the server of every member of a store answers, and only the record's runs as a primary.
func (in Input) onePrimary(id estate.StoreID) bool {
	for _, m := range in.Estate.Stores[id].MemberIDs() {
		if role := in.facts(id, m)[situation.FactRole]; role == "" || (role == situation.RolePrimary) != (m == in.primary(id)) {
			return false
		}
	}
	return true
}
