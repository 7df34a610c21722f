package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haechi/haechi/agent"
)

// process is one process of the server, as /proc shows it.
type process struct {
	pid  int
	name string // command line, spaces between the words
}

// pidFile is what the server's pid file says: its first process, 0 where that is not there, and its state: "starting",
// "stopping", "ready", "standby". Both are of one moment: a server that starts puts a file of its own in the place of one
// that a dead server left. The file may be stale and its number somebody else's: the process must be a postgres that stands
// in our data directory.
func (u *Unit) pidFile() (pid int, state string) {
	raw, err := os.ReadFile(filepath.Join(u.set.Data, "postmaster.pid"))
	if err != nil {
		return 0, ""
	}
	lines := strings.Split(string(raw), "\n")
	pid, err = strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 1 || !u.ours(pid) {
		pid = 0
	}
	if len(lines) < 8 {
		return pid, "starting"
	}
	return pid, strings.TrimSpace(lines[7])
}

// postmaster is the server's first process, or 0.
func (u *Unit) postmaster() int {
	pid, _ := u.pidFile()
	return pid
}

// ours says whether pid lives, is a postgres, and works in our data directory.
func (u *Unit) ours(pid int) bool {
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false // gone, a zombie, or another user's
	}
	want, err := filepath.EvalSymlinks(u.set.Data)
	if err != nil || cwd != want {
		return false
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && filepath.Base(strings.TrimSuffix(exe, " (deleted)")) == "postgres"
}

// children returns the processes that the server forked.
func children(parent int) []process {
	var out []process
	for _, pid := range childPids(parent) {
		if name := commandLine(pid); name != "" { // a zombie has none
			out = append(out, process{pid, name})
		}
	}
	return out
}

// childPids asks the kernel for the children of a process, and looks at every process where
// it does not keep such a list.
func childPids(parent int) []int {
	var out []int
	if raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent)); err == nil {
		for _, f := range strings.Fields(string(raw)) {
			if pid, err := strconv.Atoi(f); err == nil {
				out = append(out, pid)
			}
		}
		return out
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && parentOf(pid) == parent {
			out = append(out, pid)
		}
	}
	return out
}

// parentOf reads the fourth field of /proc/PID/stat, which follows the name in brackets.
func parentOf(pid int) int {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(raw[strings.LastIndexByte(string(raw), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(fields[1])
	return ppid
}

// sleeps counts how often a process went to sleep by itself.
func sleeps(pid int) uint64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if v, ok := strings.CutPrefix(sc.Text(), "voluntary_ctxt_switches:"); ok {
			return toNumber(strings.TrimSpace(v))
		}
	}
	return 0
}

// launch starts the server in a session of its own, so that it outlives the agent, with
// the agent's environment. options go on its command line, where they win over every file. It
// does not wait for it to be ready.
func (u *Unit) launch(options ...string) error {
	log, err := os.OpenFile(u.set.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start: log: %w", err)
	}
	defer log.Close()
	dir := u.set.Data
	if u.set.Config != "" {
		dir = u.set.Config
	}
	cmd := exec.Command(filepath.Join(u.set.Bin, "postgres"), append([]string{"-D", dir}, options...)...) //nolint:noctx // it outlives the order
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := startPlain(cmd); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	go func() { _ = cmd.Wait() }() // reaped while the agent lives; by init afterwards
	return nil
}

// startPlain starts a process without the rights that the agent has beyond its user's, such
// as that to the kernel's packet filter. Those belong to a thread, and this one ends here.
func startPlain(cmd *exec.Cmd) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		if err == nil || errors.Is(err, unix.EINVAL) { // a kernel that knows none
			err = cmd.Start()
		}
		done <- err
	}()
	return <-done
}

// up says that the server takes connections, by its own word.
func (u *Unit) up() bool {
	pid, state := u.pidFile()
	return pid != 0 && (state == "ready" || state == "standby")
}

// awaitReady waits until the server takes connections.
func (u *Unit) awaitReady(ctx context.Context) error {
	began := time.Now()
	for {
		if u.up() {
			return nil
		}
		if u.postmaster() == 0 && time.Since(began) > 3*time.Second {
			return fmt.Errorf("start: the server did not come up; its log is %s", u.set.Log)
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("start: the server is not ready yet: %w", err)
		}
	}
}

// awaitGone waits until the process pid and, with it, the server is gone.
func (u *Unit) awaitGone(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err == nil {
		defer unix.Close(fd)
	}
	for u.ours(pid) {
		if err == nil {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20)
			if ctx.Err() == nil {
				continue
			}
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// kill stops the server at once, whatever state it is in, and waits until no process of it is left.
func (u *Unit) kill(ctx context.Context, patience time.Duration) error {
	pid := u.postmaster()
	if pid == 0 {
		return nil
	}
	u.local.drop()
	brood := children(pid)
	if patience > 0 {
		_ = syscall.Kill(pid, syscall.SIGQUIT)
		soon, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if u.awaitGone(soon, pid) == nil {
			return nil
		}
	}
	brood = append(brood, children(pid)...)
	if u.ours(pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, c := range brood {
		if u.ours(c.pid) {
			_ = syscall.Kill(c.pid, syscall.SIGKILL)
		}
	}
	for _, p := range append(brood, process{pid: pid}) {
		if err := u.awaitGone(ctx, p.pid); err != nil {
			return fmt.Errorf("process %d of the server is still there after SIGKILL: %w", p.pid, err)
		}
	}
	return nil
}

// standbySignal says whether the data directory would start as a standby.
func (u *Unit) standbySignal() bool {
	_, err := os.Stat(u.standbyPath())
	return err == nil
}

func (u *Unit) standbyPath() string { return filepath.Join(u.set.Data, "standby.signal") }

// writeStandby makes the data directory start as a standby.
func (u *Unit) writeStandby() error {
	if u.standbySignal() {
		return nil
	}
	return agent.WriteDurably(u.standbyPath(), nil, 0o600)
}

// pause waits, but not past the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return agent.Wanted(ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// commandLine is how a process was called, or calls itself.
func commandLine(pid int) string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ReplaceAll(string(raw), "\x00", " "))
}
