package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// DiskFull fills the disk of a tower's data to the last byte, until Heal.
func (l *Lab) DiskFull(_ context.Context, p Place, role Role) (Proof, error) {
	if err := site(p); err != nil {
		return Proof{}, err
	}
	if role != RoleTower {
		return Proof{}, fmt.Errorf("disk full: only a tower has a disk of its own, %s has none", role)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	dir := l.at(p, "tower", "data")
	fill := filepath.Join(dir, "fill")
	at := time.Now()
	if err := fillUp(fill); err != nil {
		return Proof{}, errors.Join(fmt.Errorf("disk full: %w", err), os.Remove(fill))
	}
	l.later(func(context.Context) error { return os.Remove(fill) })
	if err := os.WriteFile(filepath.Join(dir, "one-more"), make([]byte, 8192), 0o600); !errors.Is(err, unix.ENOSPC) {
		return Proof{}, fmt.Errorf("disk full: %s still takes a file (%v)", dir, err)
	}
	if err := os.Remove(filepath.Join(dir, "one-more")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return Proof{}, fmt.Errorf("disk full: %w", err)
	}
	return proof(at, "disk of %s in %s full: no space left for one more page", role, p), nil
}

// fillUp reserves all space there is, in smaller and smaller pieces, which is
// quick where writing it would take seconds.
func fillUp(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // what it holds does not matter
	var end int64
	for size := int64(256 << 20); size >= 1024; size /= 2 {
		for {
			err := unix.Fallocate(int(f.Fd()), 0, end, size)
			if errors.Is(err, unix.ENOSPC) {
				break
			}
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("reserve space: %w", err)
			}
			end += size
		}
	}
	return nil
}
