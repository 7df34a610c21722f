//go:build lab

package etcd_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/state/etcdtest"
)

// TestFullDisk fills a member's disk. The process goes on, and says what is wrong.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=80m"))
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	c := etcdtest.Config(t)
	c.DataDir, c.Log = filepath.Join(dir, "etcd"), nil
	must(t, etcd.Prepare(c.DataDir))
	p := spawn(t, c)
	p.ask("put")
	fill(t, filepath.Join(dir, "ballast"))
	// What etcd writes by itself may have met the full disk already.
	if says := p.ask("health"); !strings.Contains(says, "0 MB left") && !strings.Contains(says, "etcd gave up") {
		t.Fatalf("health with a full disk: %q", says)
	}
	// What etcd has allocated already lasts for a while, and then not.
	failed := false
	for range 100000 {
		if failed = p.ask("try") != "<nil>"; failed {
			break
		}
	}
	if !failed {
		t.Fatal("it goes on writing on a full disk")
	}
	for range 3 {
		p.ask("try")
	}
	if says := p.ask("health"); !strings.Contains(says, "etcd gave up") || !strings.Contains(says, "no space left") {
		t.Fatalf("health after etcd gave up: %q", says)
	}
	if p.ask("who") != "" {
		t.Fatal("it says that it still leads")
	}

	must(t, os.Remove(filepath.Join(dir, "ballast")))
	p.kill()
	spawn(t, c).ask("put") // with room again, a restart is all that is needed
}

// fill writes until nothing fits any more.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	for _, size := range []int{1 << 20, 4096, 1} {
		b := make([]byte, size)
		for {
			if _, err := f.Write(b); errors.Is(err, syscall.ENOSPC) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}
