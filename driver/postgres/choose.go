package postgres

import (
	"cmp"
	"fmt"
	"slices"
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
// then the furthest position. Where several hold the same, prefer wins, then the name.
// A timeline that no epoch explains is an error: somebody promoted that member by hand,
// and what it holds is not what the others acknowledged.
func choose(held []Held, timeline, epoch uint64, prefer string) (Held, error) {
	if len(held) == 0 {
		return Held{}, fmt.Errorf("no sealed member has said what it holds")
	}
	for _, h := range held {
		if timeline != 0 && h.Timeline > timeline && h.Reign <= epoch {
			return Held{}, fmt.Errorf("member %s is on timeline %d; epoch %d began timeline %d and nobody ordered a newer one: find out who promoted it", h.Member, h.Timeline, epoch, timeline)
		}
	}
	return slices.MaxFunc(held, func(a, b Held) int {
		return cmp.Or(cmp.Compare(a.Timeline, b.Timeline), cmp.Compare(a.LSN, b.LSN),
			cmp.Compare(rank(a, prefer), rank(b, prefer)), cmp.Compare(b.Member, a.Member))
	}), nil
}

func rank(h Held, prefer string) int {
	if h.Member == prefer {
		return 1
	}
	return 0
}
