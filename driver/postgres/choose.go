package postgres

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// Held is how much of the log a sealed member holds.
type Held struct {
	Member   string
	Timeline uint64
	LSN      LSN
	// Reign is the epoch of the primary that it last followed; a timeline newer than that
	// of the record is known only by it.
	Reign uint64
}

// choose returns the member that holds the most: the newest timeline under a known epoch,
// then the furthest position. Where several hold the same, one that the last comparison found to differ from its
// primary comes last: what it lacks was acknowledged. Then prefer wins, then the name.
// A timeline that no epoch explains is an error: somebody promoted that member by hand,
// and what it holds is not what the others acknowledged. So is, where a commit waits for three or
// more, a newest timeline whose holders were pointed at primaries of different epochs, which the record
// does not know: two promotions that did not see each other may have begun timelines of the same
// number, and neither number nor position tells which of them acknowledged.
func choose(held []Held, rec situation.Store, prefer string) (Held, error) {
	if len(held) == 0 {
		return Held{}, fmt.Errorf("no sealed member has said what it holds")
	}
	for _, h := range held {
		if rec.Timeline != 0 && h.Timeline > rec.Timeline && h.Reign <= rec.Epoch {
			return Held{}, fmt.Errorf("member %s is on timeline %d; epoch %d began timeline %d and nobody ordered a newer one: find out who promoted it", h.Member, h.Timeline, rec.Epoch, rec.Timeline)
		}
	}
	best := slices.MaxFunc(held, func(a, b Held) int {
		return cmp.Or(cmp.Compare(a.Timeline, b.Timeline), cmp.Compare(a.LSN, b.LSN),
			cmp.Compare(rank(a, rec, prefer), rank(b, rec, prefer)), cmp.Compare(b.Member, a.Member))
	})
	for _, h := range held {
		if rec.LeastAny >= 3 && h.Timeline == best.Timeline && h.Timeline > rec.Timeline && h.Reign != best.Reign {
			return Held{}, fmt.Errorf("members %s and %s are on timeline %d and were pointed at primaries of epochs %d and %d, of which the record knows neither: compare them by hand, and fence the one whose promotion was overtaken",
				h.Member, best.Member, h.Timeline, h.Reign, best.Reign)
		}
	}
	return best, nil
}

func rank(h Held, rec situation.Store, prefer string) int {
	switch {
	case slices.Contains(rec.DiffersOn, estate.MemberID(h.Member)):
		return 0
	case h.Member == prefer:
		return 2
	}
	return 1
}
