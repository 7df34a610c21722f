package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/haechi/haechi/agent"
)

// How long the member must have been seen without a receiver before it counts as sealed.
const (
	quiet      = 10 * time.Millisecond // the startup process was seen to wait with the new configuration
	quietBlind = 60 * time.Millisecond // it is busy or blocked, so nothing is known of it
	sealLook   = 3 * time.Millisecond
)

// seal stops the member from receiving, durably. It is done when nothing of the server
// receives or could begin to; replay may go on, or be behind. One whose time is over before
// that is taken back.
func (u *Unit) seal(ctx context.Context, o agent.Order, mem memory, m *agent.Memory) (map[string]string, error) {
	if mem.Role == asPrimary && mem.Halted != nil {
		return u.standDown(ctx, o, mem, m)
	}
	if err := u.mayBeSealed(mem, o); err != nil {
		return nil, err
	}
	was := mem
	mem.Before = goBackTo(mem, o.Reign)
	mem.Sealed, mem.SealedEpoch, mem.Proven = true, o.Epoch, false
	if len(o.Sync) > 0 {
		// Commits will wait from the first one after a promotion on; who is in the list then is decided by it.
		if err := checkList(u.set.Member, o.Any, o.Sync); err != nil {
			return nil, err
		}
		mem.List, mem.Any = o.Sync, o.Any
	}
	watch := startWatch()
	if err := m.Save(mem); err != nil {
		return nil, err
	}
	watch.lap("remember")
	defer u.local.makeReady(ctx)() // for position
	err := u.sealNow(ctx, mem, watch)
	watch.lap("disk")
	mem.Proven = true
	var f map[string]string
	if err == nil {
		f = u.position(ctx, o, mem, m.Epoch())
		watch.lap("position")
	}
	why := agent.Wanted(ctx)
	if errors.Is(why, agent.ErrLate) {
		return nil, u.takeBack("seal", was, m, why)
	}
	if err = cmp.Or(err, why); err != nil { // who comes next finds it begun, and decides
		return nil, fmt.Errorf("seal: %w", err)
	}
	// From here on the member shows itself as sealed, and somebody may count on it.
	if err := m.Save(mem); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if err := agent.Wanted(ctx); err != nil {
		return nil, fmt.Errorf("seal: it is sealed, and stays so until it is let go: %w", err)
	}
	watch.lap("proof")
	f["took"] = watch.String()
	return f, nil
}

// sealNow brings about what mem says of a sealed member.
func (u *Unit) sealNow(ctx context.Context, mem memory, watch *stopwatch) error {
	if _, err := u.applySoon(mem); err != nil {
		return err
	}
	settled := make(chan error, 1)
	go func() { settled <- u.settle() }()
	var err error
	if u.postmaster() != 0 {
		if err = u.silence(ctx); err == nil && len(mem.List) > 0 {
			go u.proveRuleSoon(syncNames(mem.Any, mem.List))
		}
		watch.lap("silence")
	}
	return errors.Join(err, <-settled)
}

// takeBack makes the member what it was before an order whose time was over before it was answered, so that
// it is as if the order had never come. Of a seal nobody was ever told: one that has begun counts for nothing, and
// a proven one is taken back by order only.
func (u *Unit) takeBack(what string, was memory, m *agent.Memory, late error) error {
	err := m.Save(was)
	if err == nil {
		_, err = u.apply(was)
	}
	if err == nil {
		err = u.reload()
	}
	if err != nil {
		return fmt.Errorf("%s: %w; it had begun and was not taken back: %w", what, late, err)
	}
	return agent.Refuse(agent.Late, "the %s had begun and was taken back: %v", what, late)
}

// goBackTo is whom the member receives from when the run is taken back: the upstream that
// is primary under the promotion that stands, and nobody else. A member that went back to
// an older one would help a former primary to acknowledge.
func goBackTo(mem memory, reign uint64) *agent.Upstream {
	for _, was := range []*agent.Upstream{mem.Upstream, mem.Before} {
		if was != nil && was.Reign == reign {
			back := *was
			back.Credential = reign
			return &back
		}
	}
	return nil
}

func (u *Unit) mayBeSealed(mem memory, o agent.Order) error {
	switch {
	case mem.Fenced:
		return agent.Refuse(agent.Unsafe, "%s is fenced: what it holds is for salvage", u.set.Member)
	case mem.Role == asPrimary:
		return agent.Refuse(agent.Unsafe, "%s was made primary under epoch %d, or its promotion has begun: halt or fence it", u.set.Member, mem.Reign)
	case mem.Upstream == nil && mem.Halted == nil:
		return agent.Refuse(agent.Unsafe, "%s was never told whom to follow, so it could not be unsealed: let haechi adopt the store first", u.set.Member)
	case !u.standbySignal():
		return agent.Refuse(agent.Unsafe, "%s has no standby.signal: it is no follower", u.set.Member)
	}
	return nil
}

// receiverName is how a WAL receiver calls itself, with or without a cluster name.
var receiverName = regexp.MustCompile(`^postgres: ([^ ]+: )?walreceiver\b`)

// silence ends the receiver and whatever could bring another, and returns when it stays away.
func (u *Unit) silence(ctx context.Context) error {
	pid := u.postmaster()
	before := u.wakeStartup(ctx)
	if err := u.reload(); err != nil {
		return err
	}
	still := time.Now() // since when nothing was seen
	for {
		if err := agent.Wanted(ctx); err != nil {
			return err
		}
		if u.ours(pid) && u.endReceivers(pid) {
			still = time.Now()
		}
		if !u.ours(pid) {
			return nil // the server went down: it cannot receive, and starts sealed
		}
		waits, err := u.clearReplay(ctx, before)
		if err != nil {
			// Without a connection the processes still say all that matters.
			waits = false
		}
		need := quietBlind
		if waits {
			need = quiet
		}
		if time.Since(still) >= need {
			return u.conninfoEmpty(ctx, err)
		}
		if err := pause(ctx, sealLook); err != nil {
			return fmt.Errorf("the receiver of %s would not stay away: %w", u.set.Member, err)
		}
	}
}

// conninfoEmpty makes sure that no command line wins over what was written. A server that
// gives no connection is not asked: its processes were.
func (u *Unit) conninfoEmpty(ctx context.Context, noConnection error) error {
	if noConnection != nil {
		return nil
	}
	return u.inForce(ctx, "primary_conninfo", "")
}

// endReceivers tells every receiver to end and says whether there was one, or a child too young to tell.
func (u *Unit) endReceivers(postmaster int) bool {
	brood := children(postmaster)
	own := commandLine(postmaster)
	seen := false
	for _, p := range brood {
		switch {
		case receiverName.MatchString(p.name):
			_ = syscall.Kill(p.pid, syscall.SIGTERM)
			seen = true
		case p.name == own || !strings.HasPrefix(p.name, "postgres: "):
			seen = true
		}
	}
	return seen
}

// replayState is what the startup process is doing.
type replayState struct {
	pid         int
	kind, event string
	paused      bool
}

func (u *Unit) replayState(ctx context.Context) (replayState, error) {
	rows, err := u.local.rows(ctx, `SELECT pid, coalesce(wait_event_type, ''), coalesce(wait_event, ''),
		CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() <> 'not paused' ELSE false END
		FROM pg_stat_activity WHERE backend_type = 'startup'`)
	if err != nil || len(rows) == 0 {
		return replayState{}, err
	}
	r := rows[0]
	return replayState{int(toNumber(r[0])), r[1], r[2], r[3] == "t"}, nil
}

// idle says whether replay has read all that there is and waits for more.
func (r replayState) idle() bool {
	return r.pid == 0 || r.event == "RecoveryWalStream" || r.event == "RecoveryRetrieveRetryInterval"
}

// wakeStartup has the startup process read the configuration, without the way over the
// postmaster, and returns how often it had slept before; 0 where nothing is known. It is
// the one that asks for receivers: once it has read an empty primary_conninfo it stops the one
// that runs, and one that is still to be forked finds itself unwanted.
func (u *Unit) wakeStartup(ctx context.Context) uint64 {
	r, err := u.replayState(ctx)
	if err != nil || r.pid == 0 {
		return 0
	}
	before := sleeps(r.pid)
	if syscall.Kill(r.pid, syscall.SIGHUP) != nil {
		return 0
	}
	return before
}

// clearReplay ends readers in the way of replay and a pause of it, and says whether the startup process was
// seen to wait for more after it was woken by the reload: it has read the new configuration then.
func (u *Unit) clearReplay(ctx context.Context, before uint64) (bool, error) {
	r, err := u.replayState(ctx)
	if err != nil || r.pid == 0 {
		return false, err
	}
	if r.paused {
		_, err = u.local.rows(ctx, "SELECT pg_wal_replay_resume()")
		return false, err
	}
	if who := blockers(r); who != "" {
		_, err = u.local.rows(ctx, who)
		return false, err
	}
	return before != 0 && r.idle() && sleeps(r.pid) > before, nil
}

// blockers is the statement that ends whoever blocks replay; empty where nobody does.
func blockers(r replayState) string {
	const end = `SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() AND `
	switch {
	case r.kind == "Lock":
		return end + fmt.Sprintf("a.pid IN (SELECT b.pid FROM (SELECT %d AS pid) AS s, LATERAL (%s) AS b)", r.pid, blockersOf)
	case r.event == "RecoveryConflictSnapshot":
		return end + "a.backend_xmin IS NOT NULL"
	case r.kind == "BufferPin" || r.event == "BufferPin":
		return end + "a.state <> 'idle'"
	case r.event == "RecoveryConflictTablespace":
		return end + "a.state <> 'idle'"
	}
	return ""
}

// position says how much of the log a sealed member holds, exactly, and whether that can still
// change; of another one only how far it has received and replayed, which costs one question.
func (u *Unit) position(ctx context.Context, o agent.Order, mem memory, epoch uint64) map[string]string {
	f := map[string]string{"member": u.set.Member, "running": yes(u.postmaster() != 0), "epoch": number(epoch)}
	mem.facts(f)
	if f["running"] == "false" {
		return f
	}
	rows, err := u.local.rows(ctx, positionSQL)
	if err != nil {
		f["error"] = err.Error()
		return f
	}
	into(f, rows)
	if !mem.Sealed {
		return f // it may change at any moment: nobody chooses by it
	}
	timeline, at, err := u.local.identify(ctx)
	if err != nil {
		f["error"] = err.Error()
		return f
	}
	f["timeline"], f["lsn"] = number(timeline), at.String()
	if c, err := u.credentialNow(ctx, epoch, mem.epochs(o.Reign)...); err == nil {
		f["credential"] = number(c)
	}
	// Where nothing was received since the server began, the two positions are one.
	f["replayed_all"] = yes(f["in_recovery"] == "false" || f["received"] != "" && toLSN(f["replayed"]) >= max(at, toLSN(f["received"])) ||
		f["receiver"] == "" && replayState{event: f["replay_wait"], pid: 1}.idle())
	// Before the receiver ran, only replay tells what stands on the disk.
	f["final"] = yes(f["received"] != "" || f["replayed_all"] == "true")
	return f
}

const positionSQL = `
WITH here AS (SELECT pg_is_in_recovery() AS r)
SELECT 'in_recovery', r::text FROM here
UNION ALL SELECT 'role', CASE WHEN r THEN 'follower' ELSE 'primary' END FROM here
UNION ALL SELECT 'received', pg_last_wal_receive_lsn()::text FROM here WHERE r
UNION ALL SELECT 'replayed', pg_last_wal_replay_lsn()::text FROM here WHERE r
UNION ALL SELECT 'replay_wait', wait_event FROM pg_stat_activity WHERE backend_type = 'startup'
UNION ALL SELECT 'receiver', status FROM pg_stat_wal_receiver
UNION ALL SELECT 'replay_blocked_by', CASE WHEN s.wait_event_type = 'Lock' THEN (` + whoBlocks + `) END FROM pg_stat_activity s WHERE s.backend_type = 'startup'`

// unseal lets the member receive as before the run, unless a promotion has begun. One that ends late is taken back:
// who gave it up may have gone on since.
func (u *Unit) unseal(ctx context.Context, o agent.Order, mem memory, m *agent.Memory) (map[string]string, error) {
	back := goBackTo(mem, o.Reign)
	switch {
	case mem.Fenced:
		return nil, agent.Refuse(agent.Unsafe, "%s is fenced", u.set.Member)
	case mem.Halted != nil && (mem.Role == asPrimary || back == nil):
		return u.stayDown(mem, m)
	case mem.Role == asPrimary:
		return nil, agent.Refuse(agent.Unsafe, "the promotion of %s under epoch %d has begun: it cannot be taken back", u.set.Member, mem.Reign)
	case mem.Upstream == nil:
		return nil, agent.Refuse(agent.Unsafe, "%s was never told whom to follow", u.set.Member)
	}
	if back == nil {
		return nil, agent.Refuse(agent.Unsafe, "%s knows no upstream that is primary under epoch %d: tell it whom to follow", u.set.Member, o.Reign)
	}
	if err := wanted(ctx, "unseal"); err != nil {
		return nil, err
	}
	was := mem
	was.Proven = false // it may have received meanwhile: a seal that is taken up again has only begun
	mem.Upstream, mem.Before = back, nil
	mem.Sealed = false
	if err := m.Save(mem); err != nil {
		return nil, err
	}
	changed, err := u.apply(mem)
	if err == nil && changed {
		err = u.reload()
	}
	if why := agent.Wanted(ctx); errors.Is(why, agent.ErrLate) {
		return nil, u.takeBack("unseal", was, m, errors.Join(why, err))
	}
	if err != nil {
		return nil, err
	}
	f := map[string]string{"running": yes(u.postmaster() != 0)}
	mem.facts(f)
	return f, nil
}
