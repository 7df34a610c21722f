package agent

import (
	"fmt"
	"os"
	"path/filepath"
)

// WriteDurably replaces the file at path in one step: a reader sees the old or the
// new content, and the new one is on disk, directory included, when it returns.
func WriteDurably(path string, data []byte, mode os.FileMode) error {
	return write(path, data, mode, true)
}

// Replace does the same, but does not wait for the disk: after a loss of power the
// file may be as it was, or empty, until [SyncFile] has returned.
func Replace(path string, data []byte, mode os.FileMode) error {
	return write(path, data, mode, false)
}

// SyncFile puts a file that was replaced, or removed, on disk.
func SyncFile(path string) error {
	f, err := os.Open(path)
	if err == nil {
		err = f.Sync()
		f.Close()
	}
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

func write(path string, data []byte, mode os.FileMode, durably bool) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := fill(f, data, mode, durably); err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	if !durably {
		return nil
	}
	return SyncDir(dir)
}

// RemoveDurably removes a file, which may be missing, and returns when that is on disk.
func RemoveDurably(path string) error {
	if err := Remove(path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Remove removes a file, which may be missing, and does not wait for the disk.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// SyncDir puts a directory's entries on disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// fill writes data to f and may put it on disk; f is closed in any case.
func fill(f *os.File, data []byte, mode os.FileMode, durably bool) error {
	defer f.Close()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if durably {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return f.Close()
}
