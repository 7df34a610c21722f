package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/web"
)

// agentHost is a host with an agent's file for one database and one name server, all as it should be.
func agentHost(t *testing.T, valid time.Duration) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(pki.NewCA(filepath.Join(dir, "ca")))
	_, err := pki.Issue(filepath.Join(dir, "ca"), pki.Identity{Kind: pki.Agent, Name: "db-a"}, filepath.Join(dir, "tls"), nil, nil, valid)
	check(err)
	for _, d := range []string{"state", "bin", "data", "socket"} {
		check(os.Mkdir(filepath.Join(dir, d), 0o700))
	}
	for _, program := range []string{"bin/postgres", "bin/pg_controldata", "bin/pg_waldump", "bin/pg_rewind", "bin/rndc"} {
		check(os.WriteFile(filepath.Join(dir, program), nil, 0o700))
	}
	check(os.WriteFile(filepath.Join(dir, "root"), []byte(strings.Repeat("ab", 32)), 0o600))
	file = filepath.Join(dir, "agent.yaml")
	text := `name: db-a
listen: 127.0.0.1:9444
tls: {ca: DIR/tls/ca.pem, cert: DIR/tls/cert.pem, key: DIR/tls/key.pem}
state: DIR/state/state.json
units:
  talk-db: {kind: postgres, store: talk-db, member: a, bin: DIR/bin, data: DIR/data, socket: DIR/socket, port: 5432, passfile: DIR/state/pass, secret_file: DIR/root, log: DIR/log}
  named: {kind: named, answers: DIR/answers.conf, key: haechi-key., rndc: [DIR/bin/rndc]}
`
	check(os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600))
	return dir, file
}

// unsafe are the findings that are bad, in words.
func unsafe(all []web.Finding) (out []string) {
	for _, f := range all {
		if f.Level == web.Bad {
			out = append(out, fmt.Sprintf("%s: %s; %s", f.Subject, f.Text, f.Do))
		}
	}
	return out
}

// What an agent would stumble over is told, and what to do about it.
func TestDoctorOfAHost(t *testing.T) {
	edit := func(old, with string) func(string, string) error {
		return func(_, file string) error {
			raw, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			return os.WriteFile(file, []byte(strings.Replace(string(raw), old, with, 1)), 0o600)
		}
	}
	gone := func(name string) func(string, string) error {
		return func(dir, _ string) error { return os.RemoveAll(filepath.Join(dir, name)) }
	}
	for want, spoil := range map[string]func(dir, file string) error{
		"":                                     func(string, string) error { return nil },
		`unit named: kind "bind" is not known`: edit("kind: named", "kind: bind"),
		"unit talk-db: stat DIR/bin/postgres":  gone("bin/postgres"),
		"DIR/bin/rndc is not a program":        func(dir, _ string) error { return os.Chmod(filepath.Join(dir, "bin/rndc"), 0o600) },
		"unit talk-db: stat DIR/data":          gone("data"),
		"unit talk-db: postgres: port: 0":      edit("port: 5432", "port: 0"),
		"root secret: stat DIR/root":           gone("root"),
		"DIR/state: stat DIR/state":            gone("state"),
		"others can read this key":             func(dir, _ string) error { return os.Chmod(filepath.Join(dir, "tls/key.pem"), 0o640) },
		"units.named.kind: is required":        edit("kind: named, ", ""),
	} {
		dir, file := agentHost(t, 0)
		if err := spoil(dir, file); err != nil {
			t.Fatal(err)
		}
		all, local := examineFile(file)
		got := strings.Join(unsafe(all), "\n")
		if w := strings.ReplaceAll(want, "DIR", dir); !local || !strings.Contains(got, w) || (w == "") != (got == "") {
			t.Errorf("want %q, have %q", w, got)
		}
	}
}

func TestDoctorOfAnExpiredCertificate(t *testing.T) {
	for name, c := range map[string]struct {
		valid time.Duration
		level web.Level
		says  string
	}{
		"ends soon": {pki.ExpiresSoon - time.Hour, web.Warn, "haechi://agent/db-a"},
		"fine":      {pki.ExpiresSoon + time.Hour, web.Fine, "haechi://agent/db-a"},
		"expired":   {-time.Minute, web.Bad, "has expired on"},
	} {
		dir, file := agentHost(t, c.valid)
		all, _ := examineFile(file)
		found := false
		for _, f := range all {
			if f.Subject == filepath.Join(dir, "tls/cert.pem") {
				found = f.Level == c.level && strings.Contains(f.Text, c.says) && (f.Level == web.Fine || f.Do == "haechi pki renew")
			}
		}
		if !found {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

// A key or a directory of another user's stops the program.
func TestDoctorOfOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only the superuser gives files away")
	}
	dir, file := agentHost(t, 0)
	for name, uid := range map[string]int{"state": 1001, "data": 1001, "tls/key.pem": 1002} {
		if err := os.Chown(filepath.Join(dir, name), uid, -1); err != nil {
			t.Fatal(err)
		}
	}
	all, _ := examineFile(file)
	if got := unsafe(all); len(got) != 1 || !strings.Contains(got[0], "tls/key.pem: belongs to 1002") || !strings.Contains(got[0], "chown 1001") {
		t.Errorf("%q", got)
	}
}
