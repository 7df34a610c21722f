package response

import (
	"fmt"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// What a member may be behind, and its primary still move to it in peace.
const (
	homeBytes = 1 << 20
	homeLag   = time.Second
)

// Failback is what speaks for and against moving a store's primary to where the estate declares it. A person
// decides; while anything speaks against it, nobody can.
type Failback struct {
	Store   estate.StoreID  `json:"store"`
	From    estate.MemberID `json:"from"`
	To      estate.MemberID `json:"to"`
	For     []string        `json:"for"`
	Against []string        `json:"against"`
	Costs   []string        `json:"costs"` // what it costs where nothing speaks against it
}

// Possible says that nothing speaks against it.
func (f Failback) Possible() bool { return len(f.Against) == 0 }

// Failback weighs the way home of a store's primary.
func (in Input) Failback(id estate.StoreID) Failback {
	e, r := in.Estate.Stores[id], in.Stores[id]
	f := Failback{Store: id, From: in.primary(id), To: e.Primary, For: []string{}, Against: []string{}, Costs: []string{}}
	no := func(format string, args ...any) { f.Against = append(f.Against, fmt.Sprintf(format, args...)) }
	switch {
	case r.Epoch == 0:
		no("it was never adopted, so nobody moves it: haechi adopt %s", id)
		return f
	case f.From == f.To:
		no("%s is its primary: it is at home", f.To)
		return f
	}
	for _, l := range in.standing().OfStore(id) {
		if l.Kind != situation.LackVerified && l.Kind != situation.LackDiffers { // of which more is known below
			no("redundancy is not whole: %s", l.Text)
		}
	}
	if why := in.lags(id, f.To); why != "" {
		no("%s", why)
	}
	switch {
	case r.Differs != "":
		no("the last comparison found a difference: %s; find out who is right, mend it, then haechi verify %s", r.Differs, id)
	case r.Verified.IsZero() && len(r.LeftOut) > 0:
		no("its members were compared, but for %v: haechi verify %s", r.LeftOut, id)
	case r.Verified.IsZero():
		no("its members were not compared since the last of them came back: haechi verify %s", id)
	default:
		f.For = append(f.For, fmt.Sprintf("its members were found to hold the same at %s", r.Verified.UTC().Format("2006-01-02 15:04:05 UTC")))
	}
	if unmet := situation.Forbidding(in.Premises[id]); len(unmet) > 0 {
		no("a premise of a promotion does not hold: %s", strings.Join(unmet, "; "))
	}
	site := in.siteOf(id, f.To)
	if v := in.Now.Sites[site]; v.State != situation.Up {
		no("%s is %s", site, v.State)
	} else if !v.Since.IsZero() {
		f.Costs = append(f.Costs, fmt.Sprintf("%s is up since %s: whether what took it down is mended only people know", site, v.Since.UTC().Format("2006-01-02 15:04:05 UTC")))
	}
	if want := in.Intents[site]; want == situation.Draining || want == situation.Drained {
		no("%s was emptied on purpose: haechi serve %s", site, site)
	}
	f.For = append(f.For, fmt.Sprintf("the estate declares %s in %s as its primary", f.To, site))
	f.Costs = append(f.Costs, fmt.Sprintf("writes pause while the role moves from %s; connections to it end", f.From))
	return f
}

// lags says what a member is behind its primary, by that one's word; empty: nothing that counts.
func (in Input) lags(id estate.StoreID, m estate.MemberID) string {
	c, _ := situation.ClientOf(in.facts(id, in.Stores[id].Primary), m) // that it receives at all is asked before
	switch replay := time.Duration(c.ReplayMS) * time.Millisecond; {
	case c.Bytes > homeBytes:
		return fmt.Sprintf("%s is %d MB behind", m, c.Bytes>>20)
	case replay > homeLag:
		return fmt.Sprintf("%s is %v behind", m, replay)
	}
	return ""
}
