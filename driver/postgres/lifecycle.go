package postgres

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/haechi/haechi/agent"
)

// fencePatience is how long a fence waits for an immediate stop before it kills.
const fencePatience = 1500 * time.Millisecond

// endPatience is how long a primary that was told to end cleanly is waited for.
const endPatience = 10 * time.Second

// start starts a stopped server as what the agent remembers of it, and as nothing else.
func (u *Unit) start(ctx context.Context, o agent.Order, mem memory, m *agent.Memory) (map[string]string, error) {
	if err := u.mayStart(o, mem); err != nil {
		return nil, err
	}
	if err := u.endStopping(ctx); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	if err := wanted(ctx, "start"); err != nil {
		return nil, err
	}
	if u.postmaster() == 0 {
		if err := u.startAs(ctx, mem, m); err != nil {
			return nil, err
		}
	}
	if err := u.awaitReady(ctx); err != nil {
		return nil, err
	}
	f := u.lookNow(ctx, o, mem, m.Epoch())
	mem.facts(f)
	return f, nil
}

// startAs starts the server as what mem says, unless the data directory says something else.
func (u *Unit) startAs(ctx context.Context, mem memory, m *agent.Memory) error {
	if mem.Role == asPrimary && u.standbySignal() {
		// A follow was begun and taken back before anything ran.
		if mem.Halted == nil {
			return agent.Refuse(agent.Unsafe, "%s should be a primary and has a standby.signal that nobody here wrote", u.set.Member)
		}
		if err := u.stillHalted(ctx, mem); err != nil {
			return err
		}
		if err := wanted(ctx, "start"); err != nil {
			return err
		}
		if err := agent.RemoveDurably(u.standbyPath()); err != nil {
			return err
		}
	}
	if mem.Role == asPrimary && mem.Halted != nil {
		mem.Halted = nil // it will write again, so where it ended says nothing any more
		if err := m.Save(mem); err != nil {
			return err
		}
	}
	return u.launchAs(ctx, mem, m)
}

// launchAs makes everything what mem says, then starts the server.
func (u *Unit) launchAs(ctx context.Context, mem memory, m *agent.Memory) error {
	if err := u.mandateBeforeStart(ctx, &mem, m); err != nil {
		return err
	}
	if mem.Role != "" {
		if _, err := u.apply(mem); err != nil {
			return err
		}
	}
	if err := agent.Wanted(ctx); err != nil {
		return fmt.Errorf("start: the server was not started: %w", err)
	}
	return u.launch()
}

// endStopping brings a stop that was begun and hangs to its end, the hard way if need be:
// a server that takes no connections and does not go helps nobody.
func (u *Unit) endStopping(ctx context.Context) error {
	pid, state := u.pidFile()
	if pid == 0 || state != "stopping" {
		return nil
	}
	soon, cancel := context.WithTimeout(ctx, fencePatience)
	defer cancel()
	if u.awaitGone(soon, pid) == nil {
		return nil
	}
	if err := agent.Wanted(ctx); err != nil {
		return err
	}
	return u.kill(ctx, fencePatience)
}

// mayStart refuses to start what could become a second primary.
func (u *Unit) mayStart(o agent.Order, mem memory) error {
	switch {
	case mem.Fenced:
		return agent.Refuse(agent.Unsafe, "%s is fenced: salvage what only it holds, then rewind it", u.set.Member)
	case mem.Role == asPrimary && (o.Reign == 0 || mem.Reign != o.Reign):
		return agent.Refuse(agent.Unsafe, "%s was primary under epoch %d, the promotion that stands is of epoch %d: it must be rewound first", u.set.Member, mem.Reign, o.Reign)
	case mem.Role == asPrimary:
		return nil
	case u.standbySignal():
		return nil
	case mem.Role == asFollower:
		return agent.Refuse(agent.Unsafe, "%s should be a follower and has no standby.signal: started as it is, it would be a second primary", u.set.Member)
	}
	return agent.Refuse(agent.Unsafe, "nothing is known of %s and it has no standby.signal: let haechi adopt the store first", u.set.Member)
}

// stop stops the server. Clean means that all it wrote is on its followers and that it
// may follow later. One that is not clean waits for nobody: a primary that is cut off
// would wait for followers that it cannot reach.
func (u *Unit) stop(ctx context.Context, o agent.Order, mem memory, m *agent.Memory) (map[string]string, error) {
	if mem.Fenced {
		return nil, agent.Refuse(agent.Unsafe, "%s is fenced", u.set.Member)
	}
	if !o.Clean {
		if err := u.kill(ctx, fencePatience); err != nil {
			return nil, fmt.Errorf("stop: %w", err)
		}
		return map[string]string{"running": "false"}, nil
	}
	pid, state := u.pidFile()
	if pid == 0 && mem.Role == asPrimary && mem.Halted == nil {
		return nil, agent.Refuse(agent.Unsafe, "%s does not run, and nobody halted it: it is not known to have ended cleanly", u.set.Member)
	}
	watch := startWatch()
	// One that was halted before, and that winds up still, has nothing more to be told.
	if pid != 0 && (mem.Halted == nil || state != "stopping") {
		if err := u.checkpointAhead(ctx); err != nil {
			return nil, err
		}
		if err := wanted(ctx, "stop: the server goes on"); err != nil {
			return nil, err
		}
		watch.lap("checkpoint")
		u.local.drop()
		if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
			return nil, fmt.Errorf("stop: %w", err)
		}
		// It ends now, whoever waits for the answer. Where it ended is remembered also when the tower
		// that asked is gone: the next one would find a primary that nobody halted, and could not go on.
		var done context.CancelFunc
		ctx, done = context.WithTimeout(context.WithoutCancel(ctx), endPatience)
		defer done()
		if err := u.awaitEnd(ctx, pid, mem.Role == asPrimary); err != nil {
			return nil, fmt.Errorf("stop: the server has not ended yet; a follower may be slow to take the rest: %w", err)
		}
		watch.lap("end")
	}
	f, err := u.halt(ctx, o, mem, m)
	watch.lap("remember")
	if err == nil {
		f["took"] = watch.String()
	}
	return f, err
}

// checkpointAhead writes out what is dirty while the server still takes writes, so that
// the stop has little left to do. The second round takes what came during the first.
func (u *Unit) checkpointAhead(ctx context.Context) error {
	for range 2 {
		began := time.Now()
		if err := u.local.long(ctx, "CHECKPOINT"); err != nil {
			return agent.Refuse(agent.Unsafe, "the server goes on: the checkpoint before the stop did not end: %v", err)
		}
		if time.Since(began) < 100*time.Millisecond {
			return nil
		}
	}
	return nil
}

// awaitEnd waits until the server is gone, or, where it was a primary, until it has written
// its last record: by then all who could commit are gone, and it does not come up again. What is
// left are senders that hand the rest to the followers, and one follower that is cut off
// holds them, and the server, for as long as wal_sender_timeout. The move need not wait for that.
func (u *Unit) awaitEnd(ctx context.Context, pid int, primary bool) error {
	for primary && u.ours(pid) {
		if u.shutDown() {
			return nil
		}
		if err := pause(ctx, 3*time.Millisecond); err != nil {
			return err
		}
	}
	return u.awaitGone(ctx, pid)
}

// halt remembers where a stopped server ended.
func (u *Unit) halt(ctx context.Context, o agent.Order, mem memory, m *agent.Memory) (map[string]string, error) {
	c, err := u.ended(ctx)
	if err != nil {
		return nil, err
	}
	f := map[string]string{"running": yes(u.postmaster() != 0), "control": c[controlState], "lsn": c[controlAt], "timeline": c[controlTimeline]}
	if mem.Role == asPrimary {
		if f["control"] != "shut down" {
			return nil, fmt.Errorf("stop: the server did not end cleanly, it is %q", f["control"])
		}
		mem.Halted = &halted{Epoch: o.Epoch, Timeline: toNumber(f["timeline"]), LSN: toLSN(f["lsn"])}
		if err := m.Save(mem); err != nil {
			return nil, err
		}
	}
	if err := u.aloneNoMore(ctx, &mem, m); err != nil {
		return nil, fmt.Errorf("stop: the server has ended, %w", err)
	}
	mem.facts(f)
	return f, nil
}

// fence stops the server at once and for good; its data stays for salvage.
func (u *Unit) fence(ctx context.Context, _ agent.Order, mem memory, m *agent.Memory) (map[string]string, error) {
	u.reading.giveUp()
	was := u.postmaster() != 0
	if !mem.Fenced || was && !u.isApart() {
		mem.Fenced = true
		mem.Read = read{} // what was read before is not all that it holds now
		if was && mem.Role == asPrimary {
			mem.Read.Waiting = u.whoWaits(ctx)
		}
		if err := m.Save(mem); err != nil {
			return nil, err
		}
	}
	if err := u.kill(ctx, fencePatience); err != nil {
		return nil, fmt.Errorf("fence: %w", err)
	}
	if u.postmaster() != 0 {
		return nil, errors.New("fence: the server is running again; something else starts it: disable that")
	}
	if err := u.aloneNoMore(ctx, &mem, m); err != nil {
		u.log.Warn("fenced", "but", err) // what is left in the kernel lets nothing through
	}
	f := map[string]string{"running": "false", "was_running": yes(was)}
	mem.facts(f)
	return f, nil
}
