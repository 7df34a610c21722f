package postgres

import (
	"context"
	"time"

	"github.com/haechi/haechi/agent"
)

// A planned move that lost its target on the way leaves behind a former primary that ended
// cleanly. It holds all that it ever acknowledged, so it counts as sealed and may be chosen; but
// only as a follower, which is promoted like any other: under a new epoch, with its list in force
// before its first commit.

// windUp is how long a halted primary that winds up still is given to end by itself.
const windUp = 100 * time.Millisecond

// standDown makes a halted primary a sealed follower, durably, and does not start it. It can go back
// to nobody, and nobody but this epoch's promotion makes it a primary again.
func (u *Unit) standDown(ctx context.Context, o agent.Order, mem memory, m *agent.Memory) (map[string]string, error) {
	if err := u.mayStandDown(ctx, o, mem); err != nil {
		return nil, err
	}
	// Its last record is on the disk. Senders that wait for a follower which burned would hold it
	// for as long as wal_sender_timeout.
	if err := u.kill(ctx, windUp); err != nil {
		return nil, err
	}
	if err := u.aloneNoMore(ctx, &mem, m); err != nil {
		return nil, err
	}
	if err := u.writeStandby(); err != nil { // first of all, as in follow
		return nil, err
	}
	mem.Role, mem.Reign, mem.Upstream, mem.Before, mem.Read = asFollower, 0, nil, nil, read{}
	mem.Sealed, mem.SealedEpoch, mem.Proven = true, o.Epoch, true
	if len(o.Sync) > 0 {
		mem.List, mem.Any = o.Sync, o.Any
	}
	if err := m.Save(mem); err != nil {
		return nil, err
	}
	if _, err := u.apply(mem); err != nil {
		return nil, err
	}
	return u.position(ctx, o, mem, m.Epoch()), nil
}

// mayStandDown refuses one that may have written since it was halted, and one that was not halted
// by the primary's own epoch or by the move that began it.
func (u *Unit) mayStandDown(ctx context.Context, o agent.Order, mem memory) error {
	pid, state := u.pidFile()
	switch {
	case mem.Fenced:
		return agent.Refuse(agent.Unsafe, "%s is fenced: what it holds is for salvage", u.set.Member)
	case pid != 0 && state != "stopping":
		return agent.Refuse(agent.Unsafe, "%s was halted, and runs: something else started it", u.set.Member)
	case o.Reign == 0 || mem.Reign != o.Reign && mem.Halted.Epoch != o.Reign:
		return agent.Refuse(agent.Unsafe, "%s was primary under epoch %d and halted under %d; the promotion that stands is of epoch %d", u.set.Member, mem.Reign, mem.Halted.Epoch, o.Reign)
	}
	if len(o.Sync) > 0 {
		if err := checkList(u.set.Member, o.Any, o.Sync); err != nil {
			return err
		}
	}
	if err := u.stillHalted(ctx, mem); err != nil {
		return err
	}
	return agent.Wanted(ctx) // it may have been stopped meanwhile
}

// stayDown takes back what a run wanted of a halted primary. It goes on receiving from nobody, or
// from whom it was pointed at; what it was sealed for cannot be done any more.
func (u *Unit) stayDown(mem memory, m *agent.Memory) (map[string]string, error) {
	mem.SealedEpoch = 0
	if err := m.Save(mem); err != nil {
		return nil, err
	}
	f := map[string]string{"running": yes(u.postmaster() != 0)}
	mem.facts(f)
	return f, nil
}
