package postgres

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"time"

	"github.com/haechi/haechi/agent"
)

// followWait is how long follow waits to see the member stream; not yet is an answer, too.
// Before a promotion nobody waits: the member connects while the other is promoted.
const followWait = 250 * time.Millisecond

var hostOK = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?$`)

// follow points the member at an upstream. A former primary follows only if it was halted
// cleanly and has not run since; it is started as a standby.
func (u *Unit) follow(ctx context.Context, o agent.Order, mem memory, m *agent.Memory) (map[string]string, error) {
	if err := u.mayFollow(ctx, o, mem); err != nil {
		return nil, err
	}
	if err := wanted(ctx, "follow"); err != nil {
		return nil, err
	}
	if err := u.aloneNoMore(ctx, &mem, m); err != nil { // mayFollow has seen that it does not run
		return nil, fmt.Errorf("follow: %w", err)
	}
	former := mem.Role == asPrimary
	if former {
		// First of all: from here on it cannot start as a primary by mistake, and an
		// order that was cut off here finds it as it was halted.
		if err := u.writeStandby(); err != nil {
			return nil, err
		}
	}
	if mem.Before == nil && !former {
		mem.Before = mem.Upstream
	}
	mem.Role, mem.Sealed, mem.Reign, mem.Read = asFollower, false, 0, read{}
	mem.Upstream = o.Upstream
	if o.Upstream.Credential == o.Upstream.Reign {
		mem.Before = nil // it is primary already: there is no way back
	}
	if len(o.Sync) > 0 {
		if err := checkList(u.set.Member, o.Any, o.Sync); err != nil {
			return nil, err
		}
		mem.List, mem.Any = o.Sync, o.Any
	}
	if err := m.Save(mem); err != nil {
		return nil, err
	}
	if err := u.followNow(ctx, mem); err != nil {
		return nil, err
	}
	return u.streams(ctx, mem)
}

// mayFollow refuses an impossible upstream, and a member whose data may have gone another way.
func (u *Unit) mayFollow(ctx context.Context, o agent.Order, mem memory) error {
	if err := checkUpstream(o.Upstream, u.set.Member); err != nil {
		return err
	}
	if mem.Fenced {
		return agent.Refuse(agent.Unsafe, "%s is fenced: salvage what only it holds, then rewind it", u.set.Member)
	}
	if mem.Role != asPrimary {
		if u.standbySignal() {
			return nil
		}
		return agent.Refuse(agent.Unsafe, "%s has no standby.signal: it is, or was, a primary that haechi does not know", u.set.Member)
	}
	if mem.Halted == nil {
		return agent.Refuse(agent.Unsafe, "diverged: %s was primary under epoch %d and was not halted cleanly; it must be rewound first", u.set.Member, mem.Reign)
	}
	if pid, state := u.pidFile(); pid != 0 && state == "stopping" {
		if err := u.awaitGone(ctx, pid); err != nil {
			return agent.Refuse(agent.Unsafe, "%s was halted and has not gone yet: %v", u.set.Member, err)
		}
	}
	if u.postmaster() != 0 {
		return agent.Refuse(agent.Unsafe, "%s runs as primary: halt it first", u.set.Member)
	}
	return u.stillHalted(ctx, mem)
}

// stillHalted makes sure that the member has not written since it was halted.
func (u *Unit) stillHalted(ctx context.Context, mem memory) error {
	c, err := u.ended(ctx)
	if err != nil {
		return err
	}
	if state, at := c[controlState], c[controlAt]; state != "shut down" || toLSN(at) != mem.Halted.LSN {
		return agent.Refuse(agent.Unsafe, "diverged: %s was halted at %s, now it is %q at %s; it must be rewound first", u.set.Member, mem.Halted.LSN, state, at)
	}
	return nil
}

func checkUpstream(up *agent.Upstream, self string) error {
	switch {
	case up == nil:
		return agent.Refuse(agent.BadOrder, "follow: whom?")
	case up.Member == self:
		return agent.Refuse(agent.BadOrder, "follow: %s cannot follow itself", self)
	case !nameOK.MatchString(up.Member):
		return agent.Refuse(agent.BadOrder, "follow: %q is not a member's name", up.Member)
	case net.ParseIP(up.Host) == nil && !hostOK.MatchString(up.Host):
		return agent.Refuse(agent.BadOrder, "follow: %q is not a host", up.Host)
	case up.Credential == 0 || up.Reign == 0 || up.Credential > up.Reign:
		return agent.Refuse(agent.BadOrder, "follow: credential of epoch %d for a primary of epoch %d", up.Credential, up.Reign)
	}
	if p, err := strconv.Atoi(up.Port); err != nil || p < 1 || p > 65535 {
		return agent.Refuse(agent.BadOrder, "follow: %q is not a port", up.Port)
	}
	return nil
}

// followNow brings about what mem says of a follower; a stopped one is started.
func (u *Unit) followNow(ctx context.Context, mem memory) error {
	changed, err := u.applySoon(mem)
	if err != nil {
		return err
	}
	running := u.postmaster() != 0
	if running && changed {
		if err := u.reload(); err != nil {
			return err
		}
	}
	if err := u.settle(); err != nil || running {
		return err
	}
	if err := agent.Wanted(ctx); err != nil {
		return fmt.Errorf("follow: remembered, and the server was not started: %w", err)
	}
	if err := u.launch(); err != nil {
		return err
	}
	return u.awaitReady(ctx)
}

// streams says whether the member receives from its upstream by now.
func (u *Unit) streams(ctx context.Context, mem memory) (map[string]string, error) {
	f := map[string]string{"running": "true"}
	mem.facts(f)
	want := net.JoinHostPort(mem.Upstream.Host, mem.Upstream.Port)
	end := time.Now()
	if mem.Before == nil {
		end = end.Add(followWait)
	}
	for {
		rows, err := u.local.rows(ctx, `SELECT status, coalesce(sender_host, ''), coalesce(sender_port, 0)::text, received_tli::text,
			coalesce(flushed_lsn::text, '') FROM pg_stat_wal_receiver`)
		if err == nil && len(rows) == 1 {
			r := rows[0]
			f["receiver"], f["upstream"], f["timeline"], f["received"] = r[0], net.JoinHostPort(r[1], r[2]), r[3], r[4]
			if r[0] == "streaming" && f["upstream"] == want {
				f["streaming"] = "true"
				return f, nil
			}
		}
		if time.Now().After(end) {
			f["streaming"] = "false"
			return f, nil
		}
		if err := pause(ctx, 4*time.Millisecond); err != nil {
			return f, fmt.Errorf("follow: %w", err)
		}
	}
}
