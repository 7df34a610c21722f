package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodConfig = `
name: db-pangyo
listen: 10.77.1.21:9444
tls: {ca: /etc/haechi/ca.pem, cert: /etc/haechi/cert.pem, key: /etc/haechi/key.pem}
state: /var/lib/haechi/agent.json
hold_file: /etc/haechi/hold
units:
  talk-db:
    kind: postgres
    store: talk-db
    port: 5432
`

func write1(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	check(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestConfigIsReadAndUnitsAreLeftToTheirDrivers(t *testing.T) {
	c, err := LoadConfig(write1(t, goodConfig))
	check(t, err)
	var s struct {
		Kind, Store string
		Port        int
	}
	check(t, c.Units["talk-db"].Into(&s))
	if c.Name != "db-pangyo" || s.Kind != "postgres" || s.Store != "talk-db" || s.Port != 5432 {
		t.Errorf("%+v %+v", c, s)
	}
	var fewer struct{ Kind, Store string }
	if err := c.Units["talk-db"].Into(&fewer); err == nil {
		t.Error("an unknown key of a unit was taken")
	}
}

func TestConfigSaysEverythingThatIsWrong(t *testing.T) {
	_, err := LoadConfig(write1(t, "listen: nowhere\nstate: relative.json\nhold_file: hold\n"))
	for _, want := range []string{"name:", "listen:", "tls.ca:", "tls.key:", "state:", `hold_file: "hold" must be an absolute path`, "units:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	for name, text := range map[string]string{
		"unknown key": goodConfig + "paths: [/]\n",
		"not YAML":    "name: [",
		"too large":   "name: " + strings.Repeat("x", 2<<20),
	} {
		if _, err := LoadConfig(write1(t, text)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
