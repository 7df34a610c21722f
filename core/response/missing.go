package response

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
)

// Lack is something that is declared of a site and is not there.
type Lack struct {
	Store  estate.StoreID // whose member it is; empty: it is no member
	Member estate.MemberID
	Name   estate.NameID // whose answers of the site are out; empty: it is no name
	Text   string        // in words: "talk-db/pangyo is not counted"
}

// Missing is what is not as declared of what a site can help with, stores first: the estate is as redundant as
// declared, as far as this site goes, when there is nothing.
func (in Input) Missing(site estate.SiteID) (out []Lack) {
	say := func(l Lack, format string, args ...any) {
		l.Text = fmt.Sprintf(format, args...)
		out = append(out, l)
	}
	for _, id := range in.storeIDs() {
		for _, m := range in.Estate.Stores[id].MemberIDs() {
			if in.siteOf(id, m) != site || in.Stores[id].Epoch == 0 {
				continue
			}
			if why := in.unfit(id, m); why != "" {
				say(Lack{Store: id, Member: m}, "%s/%s %s", id, m, why)
			}
		}
	}
	for _, id := range in.answersOut(site) {
		say(Lack{Name: id}, "the answers of %s are out of %s", site, id)
	}
	for _, t := range situation.Targets(in.Estate) {
		if t.Site == site && t.Kind != situation.KindDatabase && in.Now.Things[t.ID].State != situation.Up {
			say(Lack{}, "%s %s does not answer", t.Kind, t.Component)
		}
	}
	return out
}

// unfit says why a member is not what it should be; empty: it is.
func (in Input) unfit(id estate.StoreID, m estate.MemberID) string {
	r, f := in.Stores[id], in.facts(id, m)
	switch {
	case m == r.Primary && f[situation.FactRole] != situation.RolePrimary:
		return "is the primary, and does not run as one"
	case m == r.Primary:
		return ""
	case f[situation.FactBroken] != "":
		return "is being made anew (" + f[situation.FactBroken] + ")"
	case slices.Contains(r.Former, m), !slices.Contains(r.Sync, m):
		return "is not counted"
	case len(f) == 0 || f[situation.FactRunning] == "false":
		return "does not run"
	case in.deaf(id, m):
		return fmt.Sprintf("does not receive from %s", r.Primary)
	}
	return ""
}

// deaf says that the primary of a store, by its own word, does not send to a member.
func (in Input) deaf(id estate.StoreID, m estate.MemberID) bool {
	f := in.facts(id, in.Stores[id].Primary)
	return f[situation.FactAnswers] == "true" && !strings.HasPrefix(f[situation.FactClient+string(m)], "streaming ")
}

// answersOut lists the names whose answers of a site are out though people want it to serve.
func (in Input) answersOut(site estate.SiteID) (out []estate.NameID) {
	if want := in.Intents[site]; want == situation.Draining || want == situation.Drained {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(in.Estate.Names)) {
		if slices.Contains(in.Withdrawn[id], site) && len(in.Estate.Names[id].Answers[site]) > 0 {
			out = append(out, id)
		}
	}
	return out
}

// returns says whether a kind brings back what was lost.
func returns(k plan.Kind) bool { return k == plan.Recover || k == plan.BringBack }
