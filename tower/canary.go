package tower

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/core/verify"
	"github.com/haechi/haechi/driver/postgres"
)

// canary is one as a fact says it.
type canary struct {
	seq int64
	at  time.Time // by the clock of the primary that wrote it
}

// readCanary reads "1234 1764140215000"; false: it says nothing.
func readCanary(fact string) (canary, bool) {
	seq, ms, ok := strings.Cut(fact, " ")
	n, err := strconv.ParseInt(seq, 10, 64)
	at, err2 := strconv.ParseInt(ms, 10, 64)
	return canary{n, time.UnixMilli(at)}, ok && err == nil && err2 == nil
}

// canaryMS is how far a member's canary is behind the primary's, both as towers read them, by the
// primary's clock alone; -1: not known, also where the primary writes none. Reads are as far apart as canaries are, so one of
// difference is none.
func canaryMS(primary, member map[string]string) int64 {
	p, ok := readCanary(primary[situation.FactCanary])
	m, ok2 := readCanary(member[situation.FactCanary])
	switch {
	case !ok || !ok2 || primary[situation.FactCanaryMissing] != "":
		return -1
	case p.seq-m.seq <= 1:
		return 0
	}
	return max(p.at.Sub(m.at).Milliseconds(), 0)
}

// canaryWaits is for how long a canary waits for other members before that is worth a word: writes of others wait as long.
const canaryWaits = 3 * time.Second

// silentCanary says why a primary's canary tells nothing just now; empty: it does.
func silentCanary(primary map[string]string) string {
	if why := primary[situation.FactCanaryMissing]; why != "" {
		return "no canary is written: " + why
	}
	ms, err := strconv.ParseInt(primary[situation.FactCanaryWaits], 10, 64)
	if waits := time.Duration(ms) * time.Millisecond; err == nil && waits >= canaryWaits {
		return fmt.Sprintf("a canary has waited for other members for %v", waits.Round(time.Second))
	}
	return ""
}

// canaries says of each store that has lost a primary whether the last canary that was acknowledged there
// was on the next one: what a client lost, as far as one row a second shows it.
func (k known) canaries(e estate.Estate, stores map[estate.StoreID]situation.Store) map[estate.StoreID]string {
	out := map[estate.StoreID]string{}
	for _, id := range e.StoreIDs() {
		rec := stores[id]
		found, ok := readCanary(k[id][rec.Primary][situation.FactCanaryFound])
		if !ok {
			continue
		}
		for _, old := range rec.Former {
			acked, ok := readCanary(k[id][old][situation.FactCanaryAcked])
			switch {
			case !ok:
			case acked.seq <= found.seq:
				out[id] = fmt.Sprintf("the last canary that %s acknowledged (%d) was on %s when it took over", old, acked.seq, rec.Primary)
			default:
				out[id] = fmt.Sprintf("%s acknowledged canary %d, %s had only %d when it took over: acknowledged writes of up to %v are missing",
					old, acked.seq, rec.Primary, found.seq, acked.at.Sub(found.at).Round(time.Millisecond))
			}
		}
	}
	return out
}

// report is what a comparison came to, where a step's facts hold that.
func report(f run.Facts) *verify.Summary {
	raw := f[postgres.FactReport]
	if raw == "" {
		return nil
	}
	var s verify.Summary
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		return nil // of another version: the step's note says what it came to
	}
	return &s
}
