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

func sitesOf(towers []Tower) (out []estate.SiteID) {
	for _, t := range towers {
		out = append(out, t.Site)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
