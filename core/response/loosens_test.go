package response

import (
	"strings"
	"testing"

	"github.com/haechi/haechi/core/estate"
)

// Whatever makes the others' consent unnecessary is seen; what asks for more is not.
func TestLoosens(t *testing.T) {
	strict := estate.Estate{
		Policy: estate.Policy{SiteLoss: estate.OnePerson, SiteLossByTier: map[int]estate.Consent{0: estate.TwoPeople, 2: estate.Auto}, AcceptDataLoss: estate.TwoPeople, SiteReturn: estate.OnePerson},
		Stores: map[estate.StoreID]estate.Store{"talk-db": {Tier: 0}},
	}
	change := func(f func(e *estate.Estate)) estate.Estate {
		e := strict
		e.Policy.SiteLossByTier = map[int]estate.Consent{0: estate.TwoPeople, 2: estate.Auto}
		e.Stores = map[estate.StoreID]estate.Store{"talk-db": {Tier: 0}}
		f(&e)
		return e
	}
	for want, next := range map[string]estate.Estate{
		"": change(func(*estate.Estate) {}),
		"site-loss: nobody instead of one person":                    change(func(e *estate.Estate) { e.Policy.SiteLoss = estate.Auto }),
		"site-loss of tier 0: one person instead of 2 people":        change(func(e *estate.Estate) { delete(e.Policy.SiteLossByTier, 0) }),
		"site-loss of tier 1: nobody instead of one person":          change(func(e *estate.Estate) { e.Policy.SiteLossByTier[1] = estate.Auto }),
		"site-loss of talk-db in tier 2: nobody instead of 2 people": change(func(e *estate.Estate) { e.Stores["talk-db"] = estate.Store{Tier: 2} }),
		"talk-db: alone: allow":                                      change(func(e *estate.Estate) { e.Stores["talk-db"] = estate.Store{Tier: 0, Alone: "allow"} }),
		"site-return: nobody instead of one person":                  change(func(e *estate.Estate) { e.Policy.SiteReturn = "" }),
		"accept-data-loss: one person instead of 2 people":           change(func(e *estate.Estate) { e.Policy.AcceptDataLoss = estate.OnePerson }),
	} {
		if got := strings.Join(Loosens(strict, next), "; "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if back := Loosens(next, strict); len(back) != 0 {
			t.Errorf("the way back from %q loosens %q", want, back)
		}
	}
}
