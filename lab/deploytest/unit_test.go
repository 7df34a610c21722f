package deploytest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unit is a systemd unit's settings, in order, each "Key=value".
type unit []string

// all is every value of key.
func (u unit) all(key string) (out []string) {
	for _, line := range u {
		if v, ok := strings.CutPrefix(line, key+"="); ok {
			out = append(out, v)
		}
	}
	return out
}

// one is the value of a key that stands in the unit once.
func (u unit) one(t *testing.T, key string) string {
	t.Helper()
	all := u.all(key)
	if len(all) != 1 {
		t.Fatalf("%s stands there %d times, want once", key, len(all))
	}
	return all[0]
}

func readUnit(t *testing.T, path string) unit {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var u unit
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != '[' {
			u = append(u, line)
		}
	}
	return u
}

// What systemd starts is what the page installs, with the file that it writes, as the user
// that it makes. That the programs know the flags, their own tests say.
func TestUnitsAreAsThePageSays(t *testing.T) {
	_, all := page(t)
	var text strings.Builder
	for _, b := range all {
		text.WriteString(b.text)
	}
	says := func(t *testing.T, what string) {
		t.Helper()
		if !strings.Contains(text.String(), what) {
			t.Errorf("docs/deploy.md: no command says %q", what)
		}
	}
	files, err := filepath.Glob("../../deploy/systemd/*.service")
	if err != nil || len(files) == 0 {
		t.Fatalf("no units: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			u := readUnit(t, file)
			name, user := strings.TrimSuffix(filepath.Base(file), ".service"), u.one(t, "User")
			call := strings.Fields(u.one(t, "ExecStart"))
			program := filepath.Base(call[0])
			if _, err := os.Stat("../../cmd/" + program); err != nil || filepath.Dir(call[0]) != "/usr/local/bin" {
				t.Errorf("%s is none of our programs, or not where the page puts them: %v", call[0], err)
			}
			at := slices.Index(call, "--config")
			if at < 0 || at+1 == len(call) {
				t.Fatalf("%q names no file with --config", call)
			}
			says(t, "bin/"+program)
			says(t, "deploy/systemd/"+filepath.Base(file))
			says(t, "cat >"+call[at+1]+" ")
			says(t, "systemctl enable --now "+name+"\n")
			says(t, fmt.Sprintf("runuser -u %s -- setsid --fork %s </dev/null", user, strings.Join(append([]string{program}, call[1:at]...), " ")))
			dirs := u.all("ReadWritePaths")
			for _, d := range u.all("StateDirectory") {
				dirs = append(dirs, "/var/lib/"+d)
			}
			for _, d := range dirs {
				says(t, fmt.Sprintf("install -d -m 700 -o %s %s\n", user, d))
			}
		})
	}
}
