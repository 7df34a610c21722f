//go:build lab

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/pki"
)

// An agent is a guest on its host: 30 MB at most while three towers look at it ten times a second.
func TestTheAgentIsSmall(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "haechi-agent")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ca := filepath.Join(dir, "ca")
	must(t, pki.NewCA(ca))
	server, err := pki.Issue(ca, pki.Identity{Kind: pki.Agent, Name: "db-1"}, filepath.Join(dir, "agent"), nil, nil, time.Hour)
	must(t, err)
	tower, err := pki.Issue(ca, pki.Identity{Kind: pki.Tower, Name: "tower-1"}, filepath.Join(dir, "tower"), nil, nil, time.Hour)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("0123456789abcdef"), 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	l.Close()
	conf := filepath.Join(dir, "agent.yaml")
	must(t, os.WriteFile(conf, fmt.Appendf(nil, `
name: db-1
listen: %s
tls: {ca: %s, cert: %s, key: %s}
state: %s/state/agent.json
hold_file: %s/hold
units:
  talk-db: {kind: postgres, store: talk-db, member: a, bin: /usr/lib/postgresql/15/bin, data: %[6]s/data, socket: %[6]s, port: 5432, passfile: %[6]s/passfile, secret_file: %[6]s/secret, log: %[6]s/log}
`, addr, server.CA, server.Cert, server.Key, dir, dir), 0o600))

	var log bytes.Buffer
	cmd := exec.Command(bin, "--config", conf)
	cmd.Stderr = &log
	must(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	var clients []*agent.Client
	for range 3 {
		c, err := agent.NewClient("db-1", addr, tower)
		must(t, err)
		clients = append(clients, c)
	}
	for i := range 600 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := clients[i%3].Call(ctx, agent.Order{Version: 1, Verb: agent.Status, Unit: "talk-db"})
		cancel()
		if err != nil && i > 300 {
			t.Fatalf("%v\n%s", err, log.String())
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	must(t, err)
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			t.Logf("FIGURE agent: resident %s", strings.TrimSpace(v))
			var kb int
			fmt.Sscan(v, &kb)
			if kb > 30<<10 {
				t.Errorf("%d kB", kb)
			}
		}
		if strings.HasPrefix(line, "RssAnon") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
