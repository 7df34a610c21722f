package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/haechi/haechi/agent"
)

// How long a promotion waits for what makes the switch smooth, and goes on without it.
const (
	followersWait   = 300 * time.Millisecond
	checkpointLimit = 5 * time.Minute
)

// promote makes the member primary under the order's epoch, or, where it is that already,
// brings its list and credential level.
func (u *Unit) promote(ctx context.Context, o agent.Order, mem memory, m *agent.Memory) (map[string]string, error) {
	if o.Alone {
		return u.goAlone(ctx, o, mem, m)
	}
	if err := checkList(u.set.Member, o.Any, o.Sync); err != nil {
		return nil, err
	}
	watch := startWatch()
	if !u.up() && u.mayBePromoted(o, mem) == nil {
		if err := u.resume(ctx, o, mem, m); err != nil {
			return nil, fmt.Errorf("promote: %w", err)
		}
		watch.lap("start")
	}
	inRecovery, err := u.local.value(ctx, "SELECT pg_is_in_recovery()")
	if err != nil {
		return nil, agent.Refuse(agent.Unsafe, "%s does not answer, so it is not promoted: %v", u.set.Member, err)
	}
	if inRecovery == "t" {
		err = u.mayBePromoted(o, mem)
	} else {
		err = u.mayBeLevelled(o, &mem)
	}
	if err != nil {
		return nil, err
	}
	if err := wanted(ctx, "promote"); err != nil {
		return nil, err
	}
	if mem.Role != asPrimary || o.Reign == 0 {
		mem.Reign = o.Epoch
	}
	if inRecovery == "t" {
		mem.Horizon = u.horizon(ctx)
	}
	mem.Role, mem.Sealed, mem.Halted, mem.Due, mem.Read = asPrimary, false, nil, "", read{}
	mem.List, mem.Any = o.Sync, o.Any
	mem.endAlone()
	if err := m.Save(mem); err != nil {
		return nil, err
	}
	watch.lap("remember")
	if err := u.ruleInForce(ctx, mem); err != nil {
		return nil, fmt.Errorf("promote: %w", err)
	}
	if err := u.endMandate(ctx, &mem, m); err != nil {
		return nil, fmt.Errorf("promote: the list is in force, %w", err)
	}
	watch.lap("rule")
	if inRecovery == "t" {
		if err := u.leaveRecovery(ctx); err != nil {
			return nil, fmt.Errorf("promote: %w", err)
		}
		watch.lap("leave recovery")
	}
	if err := u.newCredential(ctx, mem, m.Epoch()); err != nil {
		return nil, fmt.Errorf("promote: the member is primary, its followers' credential was not changed: %w", err)
	}
	if inRecovery == "t" {
		go u.checkpointSoon()
	} else if err := u.letReturn(ctx); err != nil {
		return nil, fmt.Errorf("promote: the list is in force, and members that come back were not let in: %w", err)
	}
	watch.lap("credential")
	f, err := u.promoted(ctx, mem)
	watch.lap("look")
	if err == nil {
		f["took"] = watch.String()
	}
	return f, err
}

// horizon is what a standby takes over that is about to be promoted; nil where it does not say, which
// costs a later salvage some of its certainty, and the promotion nothing.
func (u *Unit) horizon(ctx context.Context) *horizon {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	r, err := u.local.rows(ctx, "SELECT pg_snapshot_xmin(s), pg_snapshot_xmax(s) FROM pg_current_snapshot() AS s")
	if err != nil || len(r) != 1 {
		return nil
	}
	return &horizon{Oldest: toNumber(r[0][0]), Next: toNumber(r[0][1])}
}

// mayBePromoted lets a standby be promoted that was sealed for exactly this.
func (u *Unit) mayBePromoted(o agent.Order, mem memory) error {
	switch {
	case mem.Fenced:
		return agent.Refuse(agent.Unsafe, "%s is fenced", u.set.Member)
	case mem.Role == asPrimary && mem.Reign == o.Epoch:
		return nil // begun by the same order before
	case mem.Role == asPrimary:
		return agent.Refuse(agent.Unsafe, "a promotion of %s under epoch %d has begun; this is epoch %d", u.set.Member, mem.Reign, o.Epoch)
	case mem.sealed() != "true" || mem.SealedEpoch != o.Epoch:
		return agent.Refuse(agent.Unsafe, "%s was not sealed under epoch %d, so it may still help another primary to acknowledge", u.set.Member, o.Epoch)
	}
	return nil
}

// resume starts the server of a member that this epoch promotes and that went down before the end of
// it. Nothing else starts one whose promotion began and does not stand yet: only the run that
// ordered it knows that it is to go on.
func (u *Unit) resume(ctx context.Context, o agent.Order, mem memory, m *agent.Memory) error {
	if err := u.endStopping(ctx); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := wanted(ctx, "start"); err != nil {
		return err
	}
	if u.postmaster() == 0 {
		start := u.startBegun
		if mem.Role != asPrimary {
			if err := u.mayStart(o, mem); err != nil {
				return err
			}
			start = u.startAs
		}
		if err := start(ctx, mem, m); err != nil {
			return err
		}
	}
	return u.awaitReady(ctx)
}

// startBegun starts one whose promotion began. What had not left recovery does so once more, also
// where the server had removed its standby.signal already: without that it would end its recovery
// on the old primary's timeline, and nobody could tell what it writes from what that one wrote. It
// receives from nobody meanwhile, and its list is in force.
func (u *Unit) startBegun(ctx context.Context, mem memory, m *agent.Memory) error {
	c, err := u.control(ctx)
	if err != nil {
		return err
	}
	switch state := c[controlState]; {
	case state == "in archive recovery" || state == "shut down in recovery":
		if err := u.writeStandby(); err != nil {
			return err
		}
	case u.standbySignal():
		return agent.Refuse(agent.Unsafe, "%s has left recovery (%q) and has a standby.signal that nobody here wrote", u.set.Member, state)
	}
	return u.launchAs(ctx, mem, m)
}

// mayBeLevelled lets a primary be told its list again: the primary of the promotion that
// stands, or one that comes under haechi with this order.
func (u *Unit) mayBeLevelled(o agent.Order, mem *memory) error {
	switch {
	case mem.Fenced:
		return agent.Refuse(agent.Unsafe, "%s is fenced", u.set.Member)
	case (mem.Role == "" || mem.Role == asPrimary) && o.Reign == 0:
		return nil // adopted, perhaps not for the first time: no promotion stands yet
	case mem.Role == asPrimary && (mem.Reign == o.Epoch || mem.Reign == o.Reign && o.Reign != 0):
		return nil
	}
	return agent.Refuse(agent.Unsafe, "%s is primary under epoch %d, not under %d: two primaries are in question", u.set.Member, mem.Reign, max(o.Epoch, o.Reign))
}

// leaveRecovery promotes the standby and waits until it takes writes.
func (u *Unit) leaveRecovery(ctx context.Context) error {
	if err := agent.Wanted(ctx); err != nil {
		return fmt.Errorf("begun, and the member is still a follower: %w", err)
	}
	if _, err := u.local.rows(ctx, "SELECT pg_promote(false)"); err != nil {
		return err
	}
	for {
		in, err := u.local.value(ctx, "SELECT pg_is_in_recovery()")
		if err == nil && in == "f" {
			return nil
		}
		if u.postmaster() == 0 {
			return fmt.Errorf("the server went down while it was promoted; its log is %s", u.set.Log)
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return fmt.Errorf("the member has not left recovery yet: %w", err)
		}
	}
}

// newCredential gives the replication role the credential of the epoch that made the
// member primary. It waits a moment for followers that are just connecting with the old one.
func (u *Unit) newCredential(ctx context.Context, mem memory, last uint64) error {
	now, err := u.credentialNow(ctx, max(last, mem.Reign), mem.epochs(0)...)
	if err != nil || now == mem.Reign {
		return err
	}
	u.awaitFollowers(ctx, mem)
	if err := agent.Wanted(ctx); err != nil {
		return err
	}
	v, err := verifier(credential(u.secret, u.set.Store, mem.Reign))
	if err != nil {
		return err
	}
	// Local: the change must not wait for the very followers that it is about.
	_, err = u.local.rows(ctx, "BEGIN; SET LOCAL synchronous_commit = local; ALTER ROLE "+ReplicationRole+" PASSWORD "+quote(v)+"; COMMIT")
	return err
}

// awaitFollowers waits until as many listed members stream as the rule needs, but not long.
func (u *Unit) awaitFollowers(ctx context.Context, mem memory) {
	ctx, cancel := context.WithTimeout(ctx, followersWait)
	defer cancel()
	names := make([]string, len(mem.List))
	for i, m := range mem.List {
		names[i] = quote(m)
	}
	sql := "SELECT count(DISTINCT application_name) FROM pg_stat_replication WHERE state = 'streaming' AND usename = " +
		quote(ReplicationRole) + " AND application_name IN (" + strings.Join(names, ",") + ")"
	for {
		n, err := u.local.value(ctx, sql)
		if err != nil || toNumber(n) >= uint64(mem.Any) || pause(ctx, 4*time.Millisecond) != nil {
			return
		}
	}
}

// checkpointSoon makes the checkpoint that pg_rewind wants to see on a new primary, and lets members come back.
func (u *Unit) checkpointSoon() {
	if !u.proving.TryLock() {
		return
	}
	defer u.proving.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), checkpointLimit)
	defer cancel()
	if err := u.local.long(ctx, "CHECKPOINT"); err != nil {
		u.log.Warn("checkpoint after the promotion", "error", err)
	}
	if err := u.letReturn(ctx); err != nil {
		u.log.Warn("grants for members that come back", "error", err)
	}
}

// promoted says what the member is now.
func (u *Unit) promoted(ctx context.Context, mem memory) (map[string]string, error) {
	rows, err := u.local.planned(ctx, "look", lookSQL)
	if err != nil {
		return nil, fmt.Errorf("promote: %s does not say what it is now: %w", u.set.Member, err)
	}
	f := map[string]string{"running": "true", "answers": "true", "member": u.set.Member, "credential": number(mem.Reign)}
	into(f, rows)
	f["history"] = u.historyFact(toNumber(f["timeline"]))
	mem.facts(f)
	if f["in_recovery"] != "false" {
		return nil, fmt.Errorf("promote: %s does not show itself as primary", u.set.Member)
	}
	return f, nil
}
