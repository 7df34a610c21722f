package postgres

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/haechi/haechi/agent"
)

// A member's own files are those in its data directory that are not the cluster's: its configuration, its
// certificates. A rewind replaces them by the source's, so they are kept beside the passfile before, and
// given back after.

// clusters are the names at the top of a data directory that belong to the cluster itself.
var clusters = regexp.MustCompile(`^(base|global|pg_[a-z_]+|PG_VERSION)$`)

// fleeting are files there that tell of one run of the server, or of a backup.
var fleeting = []string{"postmaster.pid", "postmaster.opts", "current_logfiles", "standby.signal", "recovery.signal", "backup_label", "backup_label.old",
	"tablespace_map", "tablespace_map.old", "backup_manifest", "log"}

// ownLimit is how large a file is kept.
const ownLimit = 1 << 20

// isOwn says whether a name at the top of a data directory is the member's own.
func isOwn(name string) bool {
	return !clusters.MatchString(name) && !slices.Contains(fleeting, name) && !strings.HasSuffix(name, ".tmp") && !strings.HasPrefix(name, ".")
}

func (u *Unit) ownDir() string { return u.set.Passfile + ".own" }

// keepOwnOnce keeps the member's own files before anything is rewritten; afterwards what lies there may be
// the source's.
func (j *backJob) keepOwnOnce() error {
	if j.mem.Rebuild.broken() {
		return nil
	}
	return j.u.keepOwn()
}

// keepOwn copies the member's own files out of the data directory, durably.
func (u *Unit) keepOwn() error {
	if err := u.dropOwn(); err != nil {
		return err
	}
	half := u.ownDir() + ".new"
	if err := os.RemoveAll(half); err != nil {
		return fmt.Errorf("keep own files: %w", err)
	}
	if err := os.MkdirAll(half, 0o700); err != nil {
		return fmt.Errorf("keep own files: %w", err)
	}
	entries, err := os.ReadDir(u.set.Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep own files: %w", err)
	}
	for _, e := range entries {
		if isOwn(e.Name()) {
			if err := copyTree(filepath.Join(u.set.Data, e.Name()), filepath.Join(half, e.Name())); err != nil {
				return fmt.Errorf("keep own files: %w", err)
			}
		}
	}
	if err := syncTree(half); err != nil {
		return fmt.Errorf("keep own files: %w", err)
	}
	if err := os.Rename(half, u.ownDir()); err != nil {
		return fmt.Errorf("keep own files: %w", err)
	}
	return agent.SyncDir(filepath.Dir(u.ownDir()))
}

// giveBackOwn puts the member's own files back where they were. strangers says that others may have come there
// meanwhile, which then go.
func (u *Unit) giveBackOwn(strangers bool) error {
	entries, err := os.ReadDir(u.ownDir())
	if err != nil {
		return fmt.Errorf("give back own files: %w", err)
	}
	if strangers {
		there, err := os.ReadDir(u.set.Data)
		if err != nil {
			return fmt.Errorf("give back own files: %w", err)
		}
		for _, e := range there {
			if isOwn(e.Name()) {
				if err := os.RemoveAll(filepath.Join(u.set.Data, e.Name())); err != nil {
					return fmt.Errorf("give back own files: %w", err)
				}
			}
		}
	}
	for _, e := range entries {
		to := filepath.Join(u.set.Data, e.Name())
		if err := os.RemoveAll(to); err != nil {
			return fmt.Errorf("give back own files: %w", err)
		}
		if err := copyTree(filepath.Join(u.ownDir(), e.Name()), to); err != nil {
			return fmt.Errorf("give back own files: %w", err)
		}
	}
	return syncTree(u.set.Data)
}

// dropOwn removes what was kept, once it lies in the data directory again.
func (u *Unit) dropOwn() error {
	if err := os.RemoveAll(u.ownDir()); err != nil {
		return fmt.Errorf("remove kept files: %w", err)
	}
	return nil
}

// bare says whether the member has no configuration of its own: its data directory would hold it, and does not.
func (u *Unit) bare() bool {
	if u.set.Config != "" {
		return false
	}
	for _, dir := range []string{u.ownDir(), u.set.Data} {
		if _, err := os.Stat(filepath.Join(dir, "postgresql.conf")); err == nil {
			return false
		}
	}
	return true
}

// ownIdentity has a member whose configuration is its source's listen where it should, under its own name.
func (u *Unit) ownIdentity() error {
	if _, err := setConf(u.set.Data, map[string]string{"port": fmt.Sprint(u.set.Port), "unix_socket_directories": u.set.Socket, "cluster_name": u.set.Member}); err != nil {
		return err
	}
	return agent.SyncFile(filepath.Join(u.set.Data, autoConf))
}

// copyTree copies a file, a link, or a directory with all in it. Large files are left: no configuration is.
func copyTree(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case info.IsDir():
		if err := os.MkdirAll(to, info.Mode().Perm()); err != nil {
			return err
		}
		entries, err := os.ReadDir(from)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := copyTree(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
				return err
			}
		}
		return nil
	case !info.Mode().IsRegular() || info.Size() > ownLimit:
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// syncTree puts all of a directory's file system on disk.
func syncTree(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
