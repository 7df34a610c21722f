package postgres

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// While a server starts, its own pid file takes the place of one that a dead server left, which says that it is
// ready: nobody may take the one's state for the other's.
func TestAServerThatStartsIsNotReadyByTheFileOfADeadOne(t *testing.T) {
	u := &Unit{set: Settings{Data: t.TempDir()}}
	exe := filepath.Join(t.TempDir(), "postgres")
	sleep, err := os.ReadFile("/bin/sleep")
	if err == nil {
		err = os.WriteFile(exe, sleep, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "60")
	cmd.Dir = u.set.Data
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	put := func(pid int, state string) {
		next := filepath.Join(u.set.Data, "next")
		err := os.WriteFile(next, fmt.Appendf(nil, "%d\n%s\n1\n5432\n/tmp\nlocalhost\n1 2\n%-8s\n", pid, u.set.Data, state), 0o600)
		if err == nil {
			err = os.Rename(next, filepath.Join(u.set.Data, "postmaster.pid"))
		}
		if err != nil {
			t.Error(err)
		}
	}
	put(cmd.Process.Pid, "standby")
	if !u.up() {
		t.Fatal("a server that says that it is ready is not up")
	}
	const nobody = 1 << 30
	put(nobody, "ready")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				put(cmd.Process.Pid, "starting")
				put(nobody, "ready")
			}
		}
	}()
	for range 5000 {
		if u.up() {
			t.Error("up by the state in a dead server's file")
			break
		}
	}
	close(stop)
	<-stopped
}
