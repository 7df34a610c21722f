package bench

import (
	"bufio"
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/lab"
)

// Machine is what the trials ran on.
type Machine struct {
	Cores    int    `json:"cores"`
	Model    string `json:"model"`
	MemoryMB int    `json:"memory_mb"`
	Kernel   string `json:"kernel"`
}

// String says it in half a line.
func (m Machine) String() string {
	return fmt.Sprintf("%d cores (%s), %d GB, Linux %s", m.Cores, m.Model, (m.MemoryMB+512)/1024, m.Kernel)
}

// thisMachine reads what /proc says.
func thisMachine() Machine {
	m := Machine{Cores: runtime.NumCPU()}
	each("/proc/cpuinfo", func(key, value string) {
		if key == "model name" {
			m.Model = value
		}
	})
	each("/proc/meminfo", func(key, value string) {
		if key == "MemTotal" {
			_, _ = fmt.Sscan(value, &m.MemoryMB) // stays 0 where it is no number
			m.MemoryMB /= 1024
		}
	})
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	return m
}

// each reads "key : value" lines; a file that is not there has none.
func each(path string, line func(key, value string)) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // only read
	for in := bufio.NewScanner(f); in.Scan(); {
		if key, value, ok := strings.Cut(in.Text(), ":"); ok {
			line(strings.TrimSpace(key), strings.TrimSpace(value))
		}
	}
}

// Rest is what haechi costs while nothing happens: the dearest of its processes.
type Rest struct {
	Seconds  float64 `json:"seconds"` // for how long it was looked at
	Tower    Cost    `json:"tower"`
	Agent    Cost    `json:"agent"`
	Observer Cost    `json:"observer"`
}

// Cost is what one process takes.
type Cost struct {
	MB      float64 `json:"mb"`      // resident
	Percent float64 `json:"percent"` // of one core
}

// rest looks at the lab's processes for a while.
func rest(ctx context.Context, l *lab.Lab, most time.Duration) (Rest, error) {
	before, err := l.Usage()
	if err != nil {
		return Rest{}, err
	}
	begun := time.Now()
	if err := wait(ctx, most); err != nil {
		return Rest{}, err
	}
	after, err := l.Usage()
	if err != nil {
		return Rest{}, err
	}
	took := time.Since(begun)
	out := Rest{Seconds: took.Seconds()}
	for _, u := range after {
		into := map[lab.Role]*Cost{lab.RoleTower: &out.Tower, lab.RoleAgent: &out.Agent, lab.RoleObserver: &out.Observer}[u.Role]
		i := slices.IndexFunc(before, func(b lab.Usage) bool { return b.PID == u.PID })
		if into == nil || i < 0 {
			continue
		}
		into.MB = max(into.MB, float64(u.Resident)/1e6)
		into.Percent = max(into.Percent, 100*(u.CPU-before[i].CPU).Seconds()/took.Seconds())
	}
	return out, nil
}

// sorted goes through a map in the order of its keys.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

// wait waits for a while, or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
