//go:build lab

package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Without the rights that it needs the lab says which, and leaves nothing behind.
func TestUpWithoutRightsSaysWhatToDo(t *testing.T) {
	program := filepath.Join(t.TempDir(), "haechi-lab") // where anybody may run it
	raw, err := os.ReadFile("../bin/haechi-lab")
	if err != nil {
		t.Fatalf("%v; make build first", err)
	}
	if err := os.WriteFile(program, raw, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(program); dir != "/"; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o005 != 0o005 {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name string
		as   []string
		want string
	}{
		{"an ordinary user", []string{"setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"}, "need root: run it as root, or through sudo"},
		{"root who may make no namespaces", []string{"setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"}, "the right to make namespaces; a container needs --privileged"},
	} {
		dir := "/var/tmp/haechi-lab-norights"
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		args := append(tt.as, program, "--name", "norights", "up", "--no-ports", "--dir", dir)
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: %v\n%s\ndoes not say %q", tt.name, err, out, tt.want)
		}
		left, err := filepath.Glob(netnsDir + "/norights-*")
		if err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v %v", tt.name, left, err)
		}
	}
}
