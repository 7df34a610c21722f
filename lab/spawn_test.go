package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestIdleProcessesInheritTheSlackOfTheUnits(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	slack := func(d time.Duration) time.Duration {
		t.Helper()
		cmd := exec.Command("cat", "/proc/self/timerslack_ns")
		var out strings.Builder
		cmd.Stdout = &out
		start := cmd.Start
		if d > 0 {
			start = func() error { return withSlack(d, cmd.Start) }
		}
		if err := start(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		ns, err := strconv.Atoi(strings.TrimSpace(out.String()))
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(ns)
	}
	before := slack(0)
	if got := slack(idleSlack); got != idleSlack {
		t.Errorf("a process that is started idle has a slack of %v, not %v", got, idleSlack)
	}
	if got := slack(0); got != before {
		t.Errorf("the one after it has %v, not %v", got, before)
	}
	for _, unit := range []string{"haechi.service", "haechi-observer.service"} {
		raw, err := os.ReadFile(filepath.Join("../deploy/systemd", unit))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(raw), "\nTimerSlackNSec="+idleSlack.String()+"\n") {
			t.Errorf("%s does not have TimerSlackNSec=%v, as the lab has", unit, idleSlack)
		}
	}
}
