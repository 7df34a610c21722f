package postgres

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// Bounds beyond which a store is not moved without a person.
const (
	// replayRate is how many bytes of log a member is expected to replay in a second.
	replayRate = 64 << 20
	// catchUp is how much replay may be behind, in time, where the estate names no lag.
	catchUp = 30 * time.Second
	// retained is how much log a slot may hold back.
	retained = 8 << 30
)

// Premises says, sorted by their words, what of a store's facts contradicts what a promotion by itself
// rests on. Facts are the members' own, by member; a member without facts is one that
// nobody hears of. Where none forbids it, the store may be moved without a person.
func Premises(store estate.Store, rec situation.Store, facts map[estate.MemberID]map[string]string) []situation.Premise {
	c := &checker{store: store, rec: rec, facts: facts}
	if rec.Epoch == 0 {
		return []situation.Premise{{Text: "it was never adopted: no epoch says who is primary and who may acknowledge"}}
	}
	c.members()
	c.primary()
	c.followers()
	slices.SortFunc(c.unmet, func(a, b situation.Premise) int { return cmp.Compare(a.Text, b.Text) })
	return c.unmet
}

// checker collects what is unmet.
type checker struct {
	store estate.Store
	rec   situation.Store
	facts map[estate.MemberID]map[string]string
	unmet []situation.Premise
	early bool // what the primary last said is of the time before it was one
}

// bad is what forbids a promotion by itself.
func (c *checker) bad(format string, args ...any) {
	c.unmet = append(c.unmet, situation.Premise{Text: fmt.Sprintf(format, args...)})
}

// slow is what the seal or the choice deals with: it ends readers in the way of replay, lets it go
// on where it is paused, and waits until all is replayed.
func (c *checker) slow(format string, args ...any) {
	c.unmet = append(c.unmet, situation.Premise{Text: fmt.Sprintf(format, args...), Borne: true})
}

// members checks what holds for each one.
func (c *checker) members() {
	p := c.facts[c.rec.Primary]
	for _, id := range slices.Sorted(maps.Keys(c.store.Members)) {
		f := c.facts[id]
		switch {
		case id != c.rec.Primary && (slices.Contains(c.rec.Former, id) || !slices.Contains(c.rec.Sync, id)):
			continue // it is counted nowhere, so what it says is no premise; a second true loss must still be answered
		case len(f) == 0:
			c.bad("%s: nothing is known of it", id)
			continue
		case f["answers"] != "true":
			c.bad("%s: its server does not answer%s", id, because(f["error"]))
			continue
		}
		for _, a := range unsafe(f) {
			c.bad("%s: %s", id, a.Text)
		}
		if f["system"] != p["system"] && p["system"] != "" {
			c.bad("%s: system identifier %s, the primary's is %s: it is not a copy of this store", id, f["system"], p["system"])
		}
		if f["version_num"] != "" && p["version_num"] != "" && toNumber(f["version_num"])/10000 != toNumber(p["version_num"])/10000 {
			c.bad("%s: PostgreSQL %s, the primary has %s", id, f["version"], p["version"])
		}
		c.slots(id, f)
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

func (c *checker) slots(id estate.MemberID, f map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(f)) {
		if name, ok := strings.CutPrefix(k, "slot/"); ok && toNumber(f[k]) > retained {
			c.bad("%s: slot %s holds back %d GB of log: the disk may fill", id, name, toNumber(f[k])>>30)
		}
	}
}

// primary checks the rule under which writes are acknowledged.
func (c *checker) primary() {
	id := c.rec.Primary
	f := c.facts[id]
	if f["answers"] != "true" {
		return
	}
	c.early = f["in_recovery"] == "true" && c.before(f)
	switch {
	case c.early:
		c.slow("%s: when it was last heard it had not been made primary of epoch %d yet", id, c.rec.Epoch)
	case f["in_recovery"] == "true" && c.beingPromoted(f):
		c.slow("%s: when it was last heard it was just being promoted under epoch %d", id, c.rec.Epoch)
	case f["in_recovery"] == "true":
		c.bad("%s: the record calls it primary, its server is a standby", id)
		return
	default:
		if toNumber(f["agent/reign"]) != c.rec.Epoch {
			c.bad("%s: its agent remembers it as primary of epoch %s, the record says %d", id, f["agent/reign"], c.rec.Epoch)
		}
		c.list(id, f)
	}
	for _, a := range weaker(f) {
		c.bad("%s: %s", id, a.Text)
	}
	if c.rec.LeastAny < 1 || c.rec.Alone {
		c.bad("%s may acknowledge, or may have acknowledged, alone: no number of sealed members proves that nothing is lost", id)
	}
}

// beingPromoted says that a standby's facts are of the moments in which the record's epoch made it
// primary: sealed for it, or told. The record was written after that, when its list was in force.
func (c *checker) beingPromoted(f map[string]string) bool {
	told := f["agent/role"] == asPrimary && toNumber(f["agent/reign"]) == c.rec.Epoch
	return toNumber(f["sealed_epoch"]) == c.rec.Epoch && (f["sealed"] == "true" || told)
}

// before says that a standby's facts are older than the promotion that made it the record's primary: an agent
// that was told to promote its member keeps that for good, so this one had not been told. A site may
// burn in the moment in which its member became primary, before anybody has looked at it again; the last
// look may have met it long before, in the middle of being sealed for that promotion, or between two seals.
func (c *checker) before(f map[string]string) bool {
	reign := toNumber(f["agent/upstream_reign"])
	return f["agent/role"] == asFollower && reign > 0 && reign < c.rec.Epoch && toNumber(f["sealed_epoch"]) <= c.rec.Epoch && toNumber(f["agent/reign"]) < c.rec.Epoch
}

// weak says whether a level of synchronous_commit does not wait for another member's disk.
func weak(level string) bool { return level == "off" || level == "local" || level == "remote_write" }

// list compares who may acknowledge with the record.
func (c *checker) list(id estate.MemberID, f map[string]string) {
	var list, proven []string
	for _, m := range c.rec.Sync {
		if m == id {
			continue
		}
		list = append(list, string(m))
		if !slices.Contains(c.rec.Former, m) {
			proven = append(proven, string(m))
		}
	}
	want, have := syncNames(c.rec.Any, list), f["sync_names"]
	switch {
	case have == want:
	case have == syncNames(c.rec.Any, proven) && have != "": // one that comes back is on the record before it is on the list
	case strings.Contains(have, "*"):
		c.bad("%s: * in its list of synchronous members (%s): anybody who connects may acknowledge", id, have)
	case have == "":
		c.bad("%s: its list of synchronous members is empty: it acknowledges alone", id)
	default:
		c.bad("%s: its list of synchronous members is %s, the record says %s", id, have, want)
	}
	if c.rec.Any != c.store.Any {
		c.bad("the rule in force is any %d, the estate says any %d", c.rec.Any, c.store.Any)
	}
}

// followers checks that each one that counts receives, and could take over in time.
func (c *checker) followers() {
	p := c.facts[c.rec.Primary]
	// Where nobody receives, nobody helps to acknowledge: it is just beginning, or writes wait. Those
	// that this epoch pointed at it were compared with it then, and it got no further without them.
	streams := slices.ContainsFunc(c.rec.Sync, func(id estate.MemberID) bool { return parseClient(p["client/"+string(id)]).state == "streaming" })
	for _, id := range c.rec.Sync {
		f := c.facts[id]
		if f["answers"] != "true" || id == c.rec.Primary || slices.Contains(c.rec.Former, id) {
			continue
		}
		if f["in_recovery"] == "false" {
			c.bad("%s: the record calls it a follower, its server takes writes", id)
			continue
		}
		// A run of ours that sealed or re-pointed it is no reason to leave a second loss unanswered.
		ours := f["sealed"] == "true" || toNumber(f["agent/upstream_reign"]) > c.rec.Epoch
		if cl := parseClient(p["client/"+string(id)]); p["answers"] == "true" && cl.state != "streaming" && !ours {
			say := c.bad
			if c.early || !streams && toNumber(f["agent/upstream_reign"]) == c.rec.Epoch {
				say = c.slow
			}
			say("%s: it does not receive from %s%s", id, c.rec.Primary, because(cl.state))
		}
		c.replay(id, f)
	}
}

// replay checks that what a follower has received is replayed, or soon would be.
func (c *checker) replay(id estate.MemberID, f map[string]string) {
	for _, a := range blocked(f) {
		c.slow("%s: %s", id, a.Text)
	}
	if s := f["replay_paused"]; s != "" && s != "not paused" {
		c.slow("%s: replay is %s", id, s)
	}
	if f["apply_delay"] != "" {
		c.bad("%s: replay is delayed on purpose (recovery_min_apply_delay %s)", id, f["apply_delay"])
	}
	limit := catchUp
	if c.store.Lag > 0 {
		limit = c.store.Lag
	}
	behind := toNumber(f["behind"])
	if takes := time.Duration(float64(behind) / replayRate * float64(time.Second)); takes > limit {
		c.slow("%s: %d MB are received and not replayed: a promotion would wait about %v, more than %v", id, behind>>20, takes.Round(time.Second), limit)
	}
}
