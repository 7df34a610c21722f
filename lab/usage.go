package lab

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what one process of the lab takes.
type Usage struct {
	Place    Place
	Role     Role
	PID      int
	Resident int64         // bytes
	CPU      time.Duration // since it started
	Children time.Duration // the same of its children that have ended
}

// clockTick is the unit of CPU times in /proc, the same on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// Usage says what each process of the lab takes now.
func (l *Lab) Usage() ([]Usage, error) {
	var out []Usage
	for _, p := range places {
		all, err := l.residents(p)
		if err != nil {
			return nil, err
		}
		for _, q := range all {
			if u, ok := usage(q.pid); ok {
				u.Place, u.Role = p, q.role()
				out = append(out, u)
			}
		}
	}
	return out, nil
}

// usage reads one process; it is gone if not ok.
func usage(pid int) (Usage, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 22 {
		return Usage{}, false
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(fields[i], 10, 64) // the kernel writes numbers
		return n
	}
	return Usage{PID: pid, Resident: number(21) * int64(os.Getpagesize()), CPU: time.Duration(number(11)+number(12)) * clockTick,
		Children: time.Duration(number(13)+number(14)) * clockTick}, true
}
