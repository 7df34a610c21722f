package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	diskEvery = 100 * time.Millisecond
	diskSlow  = 200 * time.Millisecond // a disk that takes so long for one page explains a pause by itself
)

// watchDisk writes one page to the disk that all members of the lab share, again and again, until
// stopped. It says how long the slowest took: a machine that stood still must not be taken
// for a system that did.
func watchDisk(ctx context.Context, dir string) (stop func() (time.Duration, error), err error) {
	file, err := os.Create(filepath.Join(dir, "pulse"))
	if err != nil {
		return nil, fmt.Errorf("watch the disk: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	type end struct {
		worst time.Duration
		err   error
	}
	done := make(chan end, 1)
	go func() {
		var e end
		page := make([]byte, 4096)
		for e.err == nil && pause(ctx, diskEvery) == nil {
			begun := time.Now()
			_, e.err = file.WriteAt(page, 0)
			e.err = errors.Join(e.err, syscall.Fdatasync(int(file.Fd())))
			e.worst = max(e.worst, time.Since(begun))
		}
		e.err = errors.Join(e.err, file.Close())
		done <- e
	}()
	return func() (time.Duration, error) {
		cancel()
		e := <-done
		return e.worst, e.err
	}, nil
}
