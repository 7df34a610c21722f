package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Mark is the environment variable that every process of a lab carries; its
// value is the lab's directory.
const Mark = "HAECHI_LAB"

// Role is what a process of the lab is there for.
type Role string

// The roles.
const (
	RoleTower    Role = "tower"
	RoleAgent    Role = "agent"
	RolePostgres Role = "postgres"
	RoleNamed    Role = "named"
	RoleGateway  Role = "gateway"
	RoleObserver Role = "observer"
	roleInit     Role = "init" // collects what others leave behind
)

// Roles lists what stands in each site.
func Roles() []Role {
	return []Role{RoleTower, RoleAgent, RolePostgres, RoleNamed, RoleGateway}
}

// process is one process as /proc shows it.
type process struct {
	pid   int
	start uint64 // clock ticks since boot: with pid, a name that is never used again
	state byte   // R, S, D, T, Z, …
	args  []string
	exe   string
	cwd   string
	ns    uint64 // inode of its network namespace
	mark  string // value of Mark in its environment
}

// dead says that it runs no more, even if nobody has collected it.
func (p process) dead() bool { return p.state == 'Z' || p.state == 'X' }

// isInit says that it only collects what others leave behind.
func (p process) isInit() bool { return p.role() == roleInit }

// role tells what a process in a site is there for, by its program.
func (p process) role() Role {
	program := filepath.Base(strings.TrimSuffix(p.exe, " (deleted)"))
	switch {
	case program == "postgres":
		return RolePostgres
	case program == "named":
		return RoleNamed
	case program == "haechi-agent":
		return RoleAgent
	case program == "haechi" && slices.Contains(p.args, "tower"):
		return RoleTower
	case program == "haechi" && slices.Contains(p.args, "observer"):
		return RoleObserver
	case program == "haechi-lab" && len(p.args) > 1 && p.args[1] == "init":
		return roleInit
	case program == "haechi-lab" && slices.Contains(p.args, "gateway"):
		return RoleGateway
	}
	return ""
}

// processes reads all of /proc but ourselves and kernel threads.
func processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var out []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if p, ok := look(pid); ok && p.exe != "" {
			out = append(out, p)
		}
	}
	return out, nil
}

// look reads one process; it is gone if not ok.
func look(pid int) (process, bool) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return process{}, false
	}
	// The name in brackets may hold anything; fields count from the last bracket.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return process{}, false
	}
	p := process{pid: pid, state: fields[0][0]}
	p.start, _ = strconv.ParseUint(fields[19], 10, 64)
	p.exe, _ = os.Readlink(dir + "exe")
	p.cwd, _ = os.Readlink(dir + "cwd")
	if args, err := os.ReadFile(dir + "cmdline"); err == nil {
		p.args = strings.Split(strings.TrimRight(string(args), "\x00"), "\x00")
	}
	if env, err := os.ReadFile(dir + "environ"); err == nil {
		for _, v := range strings.Split(string(env), "\x00") {
			if rest, ok := strings.CutPrefix(v, Mark+"="); ok {
				p.mark = rest
			}
		}
	}
	if info, err := os.Stat(dir + "ns/net"); err == nil {
		p.ns = inode(info)
	}
	return p, true
}

// parent is the process that started pid; 0 if it is gone.
func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(fields[1])
	return ppid
}

func inode(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// nsInode is what /proc shows of processes in the namespace; 0 if there is none.
func nsInode(ns string) uint64 {
	info, err := os.Stat(filepath.Join(netnsDir, ns))
	if err != nil {
		return 0
	}
	return inode(info)
}

// residents are the living processes of the lab in one place.
func (l *Lab) residents(p Place) ([]process, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	ns := nsInode(l.NS(p))
	var out []process
	for _, q := range all {
		if ns != 0 && q.ns == ns && !q.dead() && l.ours(q) {
			out = append(out, q)
		}
	}
	return out, nil
}

// ours says whether the lab started the process, itself or through an agent.
// PostgreSQL writes over its environment and is known by its data directory.
func (l *Lab) ours(p process) bool {
	return p.mark == l.o.Dir || p.role() == RolePostgres && strings.HasPrefix(p.cwd, l.o.Dir+"/")
}

// of are the residents with a role.
func (l *Lab) of(p Place, role Role) ([]process, error) {
	all, err := l.residents(p)
	return slices.DeleteFunc(all, func(q process) bool { return q.role() != role }), err
}

// signal sends sig to all; those that are gone already do not matter.
func signal(all []process, sig unix.Signal) error {
	var errs []error
	for _, p := range all {
		if err := unix.Kill(p.pid, sig); err != nil && err != unix.ESRCH {
			errs = append(errs, fmt.Errorf("signal %v to %d (%s): %w", sig, p.pid, p.exe, err))
		}
	}
	return errors.Join(errs...)
}

// gone waits until none of the processes runs any more.
func gone(ctx context.Context, all []process) error {
	return until(ctx, 10*time.Second, func() error {
		for _, p := range all {
			now, ok := look(p.pid)
			if ok && now.start == p.start && !now.dead() {
				return fmt.Errorf("process %d (%s) still runs, state %c", p.pid, p.exe, now.state)
			}
		}
		return nil
	})
}

// until asks ok again and again, soon at first, until it has no objection. The
// error is its last one.
func until(ctx context.Context, most time.Duration, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", most, err)
		case <-time.After(wait):
		}
	}
}
