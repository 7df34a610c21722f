package postgres

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haechi/haechi/agent"
)

// backJob is what one attempt works with.
type backJob struct {
	*attempt
	u    *Unit
	m    *agent.Memory
	mem  memory // as it is remembered
	s    *source
	lock *os.File // held by this attempt, and by each program that it starts
}

// bringBack makes the member a follower of its upstream again, by the least that does.
func (u *Unit) bringBack(ctx context.Context, a *attempt, mem memory, m *agent.Memory) error {
	j := &backJob{attempt: a, u: u, m: m, mem: mem}
	var err error
	if j.lock, err = lockAlone(u.set.Passfile + ".rejoin"); err != nil {
		return err
	}
	defer j.lock.Close()
	up := *a.order.Upstream
	if j.s, err = openSource(ctx, up, credential(u.secret, u.set.Store, up.Credential), u.set.Member, a.taken); err != nil {
		return err
	}
	defer j.s.close()
	e, err := u.gather(ctx, j.s, a.order, mem)
	if err != nil {
		return err
	}
	method, reason, err := e.choose()
	if err != nil {
		return err
	}
	a.by(method, reason)
	if err := j.mayRewrite(ctx, e, method, reason); err != nil {
		return err
	}
	if err := j.make(ctx, method); err != nil {
		return err
	}
	return j.join(ctx)
}

// make brings the data directory to where it can be started as a follower, and remembers that.
func (j *backJob) make(ctx context.Context, method string) error {
	if method == byRewind {
		why, err := j.rewind(ctx)
		if err != nil || why == "" {
			return err
		}
		j.by(byCopy, why)
		method = byCopy
	}
	if method == byCopy {
		return j.copy(ctx, j.s)
	}
	return j.becomeFollower(ctx)
}

// mayRewrite refuses to rewrite what may stand nowhere else, and a member on whose word others may count.
func (j *backJob) mayRewrite(ctx context.Context, e evidence, method, reason string) error {
	switch o := j.order; {
	case !rewrites(method):
		return nil
	case o.Counted:
		return agent.Refuse(agent.Unsafe, "%s counts for acknowledgement and would have to be made anew (%s: %s): it has to be counted out first", j.u.set.Member, method, reason)
	case e.Empty || e.Broken != "":
		return nil
	case j.mem.Role == asFollower && e.Beyond == "" && e.Strange == "":
		return nil // it only ever received, and no more than its primary has
	case j.mem.Rebuild.Kept == "" && j.mem.Role == "":
		return agent.Refuse(agent.Unsafe, "%s is new to the store, and %s holds a copy already that would have to be made anew (%s): where nothing in it is needed, move it away (mv %[2]s %[2]s.old), and the next try copies the primary's",
			j.u.set.Member, j.u.set.Data, reason)
	case j.mem.Rebuild.Kept == "":
		return agent.Refuse(agent.Unsafe, "%s may hold what nobody else does (%s), and no salvage of it is named: salvage it first", j.u.set.Member, reason)
	case !e.wasRead(j.mem):
		return agent.Refuse(agent.Unsafe, "salvage %s of %s was made for another primary, or before it received more (%s): salvage it again", j.mem.Read.Salvage.ID, j.u.set.Member, reason)
	}
	return j.u.mayRewrite(ctx, j.mem)
}

// stage remembers that the data directory is being rewritten, before it is.
func (j *backJob) remember(stage string) error {
	r := *j.mem.Rebuild
	if r.Stage != stage {
		r.Stage, r.Since = stage, time.Now().UTC()
	}
	next := j.mem
	next.Rebuild = &r
	if err := j.m.Save(next); err != nil {
		return err
	}
	j.mem = next
	return nil
}

// stop ends the server, in peace where it lets itself be; a primary that nobody fenced is left alone.
func (j *backJob) stop(ctx context.Context) error {
	pid := j.u.postmaster()
	if pid == 0 {
		return nil
	}
	if !j.u.standbySignal() && !j.mem.Fenced {
		return agent.Refuse(agent.Unsafe, "%s runs, and not as a standby: fence it first", j.u.set.Member)
	}
	j.at("stopping")
	j.u.local.drop()
	_ = syscall.Kill(pid, syscall.SIGINT)
	soon, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	if j.u.awaitGone(soon, pid) == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return j.u.kill(ctx, fencePatience)
}

// becomeFollower writes all that makes the member a follower of its upstream, and remembers that it is one.
func (j *backJob) becomeFollower(ctx context.Context) error {
	if j.mem.Alone != nil {
		if err := j.stop(ctx); err != nil {
			return err
		}
		if err := j.u.aloneNoMore(ctx, &j.mem, j.m); err != nil {
			return err
		}
	}
	next := j.mem
	next.Role, next.Reign, next.Upstream, next.Before = asFollower, 0, j.order.Upstream, nil
	next.Sealed, next.Proven, next.Fenced, next.Halted, next.Rebuild = false, false, false, nil, nil
	next.Read = read{}
	if next.Due != "" {
		next.Anew, next.Due = next.Due, "" // all that could be wrong was copied
	}
	if j.u.postmaster() != 0 && !j.u.standbySignal() {
		if err := j.stop(ctx); err != nil {
			return err
		}
	}
	if err := j.u.writeStandby(); err != nil {
		return err
	}
	if _, err := j.u.apply(next); err != nil {
		return err
	}
	if j.mem.Rebuild.Bare {
		if err := j.u.ownIdentity(); err != nil {
			return err
		}
	}
	if j.mem.Rebuild.broken() {
		if err := j.u.putControl(); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := j.m.Save(next); err != nil {
		return err
	}
	j.mem = next
	return j.u.dropOwn()
}

// join starts the server, or has it read its configuration, and returns when it receives from its upstream.
func (j *backJob) join(ctx context.Context) error {
	j.at("starting")
	if j.u.postmaster() != 0 {
		if err := j.u.reload(); err != nil {
			return err
		}
	} else if err := j.u.launch(); err != nil {
		return err
	}
	if err := j.ready(ctx); err != nil {
		return err
	}
	j.at("catching up")
	up := j.order.Upstream
	for end := time.Now().Add(joinFor); ; {
		rows, err := j.u.local.rows(ctx, "SELECT status, coalesce(sender_host, ''), coalesce(sender_port, 0)::text FROM pg_stat_wal_receiver")
		if err == nil && len(rows) == 1 && rows[0][0] == "streaming" && net.JoinHostPort(rows[0][1], rows[0][2]) == net.JoinHostPort(up.Host, up.Port) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s runs as a follower and has received nothing from %s for %v; its log says why: %s", j.u.set.Member, up.Member, joinFor, j.u.set.Log)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// ready waits until the server takes connections, as long as it replays, and keeps the source awake meanwhile.
func (j *backJob) ready(ctx context.Context) error {
	began, asked := time.Now(), time.Now()
	for !j.u.up() {
		if j.u.postmaster() == 0 && time.Since(began) > 3*time.Second {
			return fmt.Errorf("the server did not come up; its log is %s", j.u.set.Log)
		}
		if time.Since(asked) > awake {
			if err := keepsLog(ctx, j.s, j.order.Upstream.Member); err != nil {
				return err
			}
			asked = time.Now()
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// keepsLog makes sure that the source still keeps the log for this member, and not too much of it: a source
// whose disk fills is worse than a member that comes back later.
func keepsLog(ctx context.Context, s origin, member string) error {
	held, err := s.holds(ctx)
	if err != nil {
		return err
	}
	if held > retained {
		return fmt.Errorf("%s holds back %d GB of log for this member, more than %d GB: it is given up; let it come back with more bytes a second, or when less is written",
			member, held>>30, retained>>30)
	}
	return nil
}

// lockAlone opens a file that one attempt at a time holds, also through the programs that it starts: one that
// outlived an agent still works on the data directory.
func lockAlone(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("rejoin: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, again(fmt.Errorf("rejoin: what an agent before this one has started still works on the data directory (%s is held): %w", path, err))
	}
	return f, nil
}
