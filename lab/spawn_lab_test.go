//go:build lab

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

func TestTowersGoBeforeOthersAsTheirUnitSays(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	priority := func(with func(start func() error) error) string {
		t.Helper()
		cmd := exec.Command("nice") // alone it says its own
		var out strings.Builder
		cmd.Stdout = &out
		if err := with(cmd.Start); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out.String())
	}
	plain := func(start func() error) error { return start() }
	before := priority(plain)
	if got := priority(func(start func() error) error { return withNice(towerNice, start) }); got != fmt.Sprint(towerNice) {
		t.Errorf("a tower would be started at %s, not %d", got, towerNice)
	}
	if got := priority(plain); got != before {
		t.Errorf("the process after it is started at %s, not %s", got, before)
	}
	raw, err := os.ReadFile("../deploy/systemd/haechi.service")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("\nNice=%d\n", towerNice); !strings.Contains(string(raw), want) {
		t.Errorf("haechi.service does not have %q, as the lab has", want)
	}
}
