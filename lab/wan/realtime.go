package wan

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Realtime puts every thread of this process under SCHED_RR, so that a busy
// machine does not become a slow network; threads that start later inherit it.
// An error means that the router runs as any process does, and may be late.
func Realtime(priority uint32) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list threads: %w", err)
	}
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: priority}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := unix.SchedSetAttr(tid, attr, 0); err != nil && err != unix.ESRCH {
			return fmt.Errorf("real-time priority: %w (needs CAP_SYS_NICE, and a cpu cgroup with real-time budget; without it the network may be late on a busy machine)", err)
		}
	}
	return nil
}
