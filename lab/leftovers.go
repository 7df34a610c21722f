package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// marker is the file that says that a directory is a lab's. Nothing is ever
// removed from a directory without it.
const marker = ".haechi-lab"

// kept is what Down leaves in the directory.
var kept = []string{marker, "log", "cache", "serve.log"}

// Owner is who holds the lab's names on this machine.
type Owner struct {
	PID int    `json:"pid"`
	Dir string `json:"dir"`
}

// lockFile is held by the process that has the lab up. The kernel lets go of it
// however that process ends, so a held lock means a living lab.
func (o Options) lockFile() string { return "/run/" + o.Name + "-lab.lock" }

// Held says who has a lab of this name up, if anybody has.
func Held(o Options) (Owner, bool) {
	o, err := o.withDefaults()
	if err != nil {
		return Owner{}, false
	}
	f, err := os.Open(o.lockFile())
	if err != nil {
		return Owner{}, false
	}
	defer f.Close() //nolint:errcheck // only read
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
		return Owner{}, false
	}
	var who Owner
	err = json.NewDecoder(f).Decode(&who)
	return who, err == nil
}

// Free returns nil if nobody has a lab of this name up, else an error that says who
// has and what to do.
func Free(o Options) error {
	who, held := Held(o)
	if !held {
		return nil
	}
	return who.holds(o)
}

func (who Owner) holds(o Options) error {
	return fmt.Errorf("lab: a lab named %s is up already, in %s (process %d): it was not touched; haechi lab down ends it, databases included", o.Name, who.Dir, who.PID)
}

// take claims the lab's names on this machine and its directory.
func (l *Lab) take() error {
	if os.Geteuid() != 0 {
		return errors.New("lab: network namespaces and real-time priority need root: run it as root, or through sudo")
	}
	f, err := os.OpenFile(l.o.lockFile(), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	// Whoever only asks who holds it does so for an instant.
	err = until(context.Background(), 300*time.Millisecond, func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		_ = f.Close()
		who, _ := Held(l.o)
		return who.holds(l.o)
	}
	var before Owner
	if json.NewDecoder(f).Decode(&before) == nil && before.Dir != "" && before.Dir != l.o.Dir {
		// Its owner is dead, or we had no lock: what it left is ours to remove.
		old := &Lab{o: l.o}
		old.o.Dir = before.Dir
		if err := old.sweep(context.Background()); err != nil {
			_ = f.Close()
			return fmt.Errorf("lab: remove what a lab left behind in %s: %w", before.Dir, err)
		}
	}
	line, err := json.Marshal(Owner{os.Getpid(), l.o.Dir})
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(line, 0)
	}
	if err == nil {
		err = l.mark()
	}
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("lab: %w", err)
	}
	l.lock = f
	return nil
}

// mark makes the directory ours, if it is empty or was ours before.
func (l *Lab) mark() error {
	if err := os.MkdirAll(l.o.Dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(l.o.Dir)
	if err != nil {
		return err
	}
	ours := slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == marker })
	if !ours && len(entries) > 0 && !slices.Equal(names(entries), []string{"serve.log"}) {
		return fmt.Errorf("%s is not empty and is not a lab's directory: choose another with --dir", l.o.Dir)
	}
	return os.WriteFile(l.path(marker), []byte("This directory belongs to haechi-lab, which removes what is in it.\n"), 0o644)
}

func names(entries []os.DirEntry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// release lets others have the lab's names.
func (l *Lab) release() error {
	if l.lock == nil {
		return nil
	}
	err := errors.Join(l.lock.Truncate(0), l.lock.Close())
	l.lock = nil
	return err
}

// sweep removes whatever a lab in this directory left: processes by their mark,
// namespaces by their names, mounts and files below the directory. It goes on
// past failures and reports them all.
func (l *Lab) sweep(ctx context.Context) error {
	if _, err := os.Stat(l.path(marker)); err != nil {
		return nil // never was a lab's, or is gone
	}
	errs := []error{l.sweepProcesses(ctx), l.sweepMounts(), l.removeNetwork(ctx)}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	entries, err := os.ReadDir(l.o.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(kept, e.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(l.o.Dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// sweepProcesses kills what carries our mark, and databases in our directory. A
// process that starts others while it dies is found in the next round.
func (l *Lab) sweepProcesses(ctx context.Context) error {
	spare := ancestors()
	return until(ctx, 10*time.Second, func() error {
		all, err := processes()
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(p process) bool {
			return p.dead() || slices.Contains(spare, p.pid) || !l.ours(p)
		})
		if len(all) == 0 {
			return nil
		}
		if err := signal(all, unix.SIGKILL); err != nil {
			return err
		}
		return fmt.Errorf("%d processes of the lab still run, the first is %d (%s)", len(all), all[0].pid, all[0].exe)
	})
}

// ancestors are the processes that started us: a shell that stands in the
// lab's directory is not a leftover.
func ancestors() []int {
	var out []int
	for pid := os.Getppid(); pid > 1; {
		out = append(out, pid)
		pid = parent(pid)
	}
	return out
}

// sweepMounts takes away every mount below the directory, the innermost first.
func (l *Lab) sweepMounts() error {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	var points []string
	for _, line := range strings.Split(string(info), "\n") {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], l.o.Dir+"/") {
			points = append(points, f[4])
		}
	}
	slices.Reverse(points)
	var errs []error
	for _, p := range points {
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}
