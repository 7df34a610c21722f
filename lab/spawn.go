package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spawn is one long-lived process to start.
type spawn struct {
	ns   string    // network namespace
	user string    // operating system user; empty: ourselves
	caps []uintptr // capabilities that the user has besides
	dir  string    // working directory, below the lab's
	log  string    // name of its log file, without ".log"
	args []string  // program and arguments
	env  []string  // besides the mark and what we have
	idle bool      // it waits nearly all the time: its timers may be late
	nice int       // below 0: it goes before others that want a processor
}

// idleSlack is how late timers of processes that wait nearly all the time may be, as the systemd units
// have it for towers and observers. Go's runtime asks to be woken after 20 microseconds again and again:
// on two cores a third of the machine went into that.
const idleSlack = 2 * time.Millisecond

// withSlack runs start on the calling thread; processes that it starts inherit the slack.
func withSlack(d time.Duration, start func() error) error {
	before, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(d), 0, 0, 0)
	}
	if err != nil {
		return fmt.Errorf("timer slack: %w", err)
	}
	return errors.Join(start(), unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(before), 0, 0, 0))
}

// towerNice has towers go before others, as their systemd unit does. Three share this machine with all that
// they guard: one that has to wait for its turn is late for the others' votes, and records stand still.
const towerNice = -10

// withNice runs start on the calling thread; processes that it starts inherit the priority.
func withNice(n int, start func() error) error {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // the kernel's own call gives 20 less it
	if err == nil {
		err = unix.Setpriority(unix.PRIO_PROCESS, 0, n)
	}
	if err != nil {
		return fmt.Errorf("priority: %w", err)
	}
	return errors.Join(start(), unix.Setpriority(unix.PRIO_PROCESS, 0, 20-raw))
}

// start starts a process in its namespace, as its user, in a session of its
// own, with the lab's mark. It is collected when it ends.
func (l *Lab) start(s spawn) (*exec.Cmd, error) {
	name := filepath.Base(s.args[0])
	log, err := os.OpenFile(l.path("log", s.log+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	cmd := exec.Command(s.args[0], s.args[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(l.environ(), s.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, AmbientCaps: s.caps}
	if cmd.SysProcAttr.Credential, err = credential(s.user); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	begin := cmd.Start
	if s.idle {
		begin = func() error { return withSlack(idleSlack, cmd.Start) }
	}
	if start := begin; s.nice != 0 {
		begin = func() error { return withNice(s.nice, start) }
	}
	if err := inNS(s.ns, begin); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", name, s.ns, err)
	}
	go func() { _ = cmd.Wait() }() // how it ended stands in its log, and a fire ends all
	return cmd, nil
}

// command runs a short command in a namespace as a user; the error shows what it said.
func (l *Lab) command(s spawn) (string, error) { return l.commandWithin(context.Background(), s) }

// commandWithin is command for one that may take long: it is ended with ctx.
func (l *Lab) commandWithin(ctx context.Context, s spawn) (string, error) {
	cmd := exec.CommandContext(ctx, s.args[0], s.args[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(l.environ(), s.env...)
	cred, err := credential(s.user)
	if err != nil {
		return "", err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	var out []byte
	work := func() error {
		out, err = cmd.CombinedOutput()
		return err
	}
	if s.ns == "" {
		err = work()
	} else {
		err = inNS(s.ns, work)
	}
	if err != nil {
		return string(out), fmt.Errorf("%v: %w: %s", s.args, err, out)
	}
	return string(out), nil
}

// environ is the environment of the lab's processes: small, the same on every
// machine, and marked.
func (l *Lab) environ() []string {
	return []string{Mark + "=" + l.o.Dir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=" + l.o.Dir}
}

// credential looks a user up; nil stands for ourselves.
func credential(name string) (*syscall.Credential, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("%w (installed with its package: make deps)", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err1, err2)
}

// own makes a directory, or gives a file, to a user and group.
func own(path, name, group string, mode os.FileMode) error {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(path, mode); err != nil {
			return err
		}
	}
	c, err := credential(name)
	if err != nil {
		return err
	}
	gid := int(c.Gid)
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return err
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return err
		}
	}
	return errors.Join(os.Chown(path, int(c.Uid), gid), os.Chmod(path, mode))
}

// write writes a small file for a user.
func write(path, name, group string, mode os.FileMode, text string) error {
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		return err
	}
	return own(path, name, group, mode)
}
