package tower

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// handOver gives what was made beneath a tower's directory to whom that belongs: a person at the host may do as root what
// the tower then has to read and write as the user that it runs as. Nothing is done where the person is no root.
func handOver(data string, made ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	owner, err := ownerOf(data)
	if err == nil && owner.Uid == 0 { // root may have made it just now
		owner, err = ownerOf(filepath.Dir(data))
	}
	if err != nil || owner.Uid == 0 {
		return err
	}
	give := func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	}
	errs := []error{give(data, nil, nil)}
	for _, path := range made {
		errs = append(errs, filepath.WalkDir(path, give))
	}
	return errors.Join(errs...)
}

func ownerOf(path string) (syscall.Stat_t, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return st, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return st, nil
}
