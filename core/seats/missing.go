package seats

import (
	"fmt"
	"slices"

	"github.com/haechi/haechi/core/estate"
)

// Missing says what is missing until the loss of any one site can be borne, in words; none: it can be.
func Missing(all []Tower) (out []string) {
	v := voters(all)
	if len(v) == 0 {
		return nil
	}
	for _, t := range all {
		switch {
		case t.Waits && t.Is != Outside:
			out = append(out, fmt.Sprintf("%s has lost its data, and waits until it is seated anew", t.ID))
		case t.Is == Voter && !t.Well:
			out = append(out, fmt.Sprintf("%s has a vote and does not answer", t.ID))
		}
	}
	need := Quorum(len(v))
	for _, site := range sitesOf(v) {
		left := counted(slices.DeleteFunc(slices.Clone(v), func(t Tower) bool { return t.Site == site }))
		if left < need {
			out = append(out, fmt.Sprintf("without %s %d of %d votes would be left, and %d are needed", site, left, len(v), need))
		}
	}
	if len(out) == 0 {
		return nil
	}
	for _, t := range all {
		if t.Is == Outside && t.Waits || t.Is == Learner {
			out = append(out, fmt.Sprintf("%s stands by without a vote", t.ID))
		}
	}
	return out
}

// Votes says which towers do all that they should among the voters: they vote, or stand by where as many vote
// as should, and no site holds too many of the votes. nil: no voter is known, so nothing is.
func Votes(all []Tower) map[estate.TowerID]bool {
	at, out := map[estate.TowerID]estate.SiteID{}, map[estate.TowerID]bool{}
	var v []Tower
	for _, t := range all {
		at[t.ID] = t.Site
		if t.Is == Voter && !t.Waits {
			v, out[t.ID] = append(v, t), true
		}
	}
	if len(v) == 0 {
		return nil
	}
	enough := len(v) >= len(First(at))
	for _, site := range sitesOf(v) {
		left := slices.DeleteFunc(slices.Clone(v), func(t Tower) bool { return t.Site == site })
		enough = enough && len(left) >= Quorum(len(v))
	}
	for _, t := range all {
		out[t.ID] = out[t.ID] || enough && (t.Is == Outside || !t.Waits)
	}
	return out
}

func sitesOf(towers []Tower) (out []estate.SiteID) {
	for _, t := range towers {
		out = append(out, t.Site)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
