package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haechi/haechi/pki"
)

// host is a directory with all that an agent needs, and its file.
type host struct {
	t   *testing.T
	dir string
}

func newHost(t *testing.T) host {
	t.Helper()
	h := host{t, t.TempDir()}
	if err := pki.NewCA(h.at("ca")); err != nil {
		t.Fatal(err)
	}
	h.issue(pki.Agent, "db-a")
	return h
}

func (h host) at(name string) string { return filepath.Join(h.dir, name) }

func (h host) issue(kind pki.Kind, name string) {
	h.t.Helper()
	if _, err := pki.Issue(h.at("ca"), pki.Identity{Kind: kind, Name: name}, h.at("tls"), nil, nil, 0); err != nil {
		h.t.Fatal(err)
	}
}

// file writes the agent's file; units is the text below units.
func (h host) file(listen, units string) string {
	h.t.Helper()
	text := fmt.Sprintf("name: db-a\nlisten: %s\ntls: {ca: %[2]s/tls/ca.pem, cert: %[2]s/tls/cert.pem, key: %[2]s/tls/key.pem}\nstate: %[2]s/state.json\nunits: {%s}\n", listen, h.dir, units)
	path := h.at("agent.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return path
}

const named = "named: {kind: named, answers: /var/lib/named/answers.conf, key: haechi-key., rndc: [/usr/sbin/rndc]}"

// An agent that cannot start says why and what to do, and has written no state.
func TestAgentRefusesToStart(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	member := func(h host, secret string) string {
		return fmt.Sprintf("talk-db: {kind: postgres, store: talk-db, member: a, bin: /bin, data: %[1]s/data, socket: /run, port: 5432, passfile: %[1]s/pass, secret_file: %s, log: %[1]s/log}", h.dir, secret)
	}
	tests := map[string]struct {
		listen  string
		spoil   func(h host) (units string)
		want    string
		started bool // so far that the state file was proven to be writable
	}{
		"PortInUse":          {busy.Addr().String(), func(host) string { return named }, "address already in use; is another agent running on this host?", true},
		"UnknownKind":        {"127.0.0.1:0", func(host) string { return "x: {kind: mysql}" }, `unit x: kind "mysql" is not known; postgres and named are`, false},
		"UnknownKey":         {"127.0.0.1:0", func(host) string { return "x: {kind: named, command: rm}" }, "command", false},
		"TowersCertificate":  {"127.0.0.1:0", func(h host) string { h.issue(pki.Tower, "tower-a"); return named }, "is the certificate of haechi://tower/tower-a, this is haechi://agent/db-a", false},
		"AnotherHosts":       {"127.0.0.1:0", func(h host) string { h.issue(pki.Agent, "db-b"); return named }, "haechi pki issue agent db-a", false},
		"SecretIsMissing":    {"127.0.0.1:0", func(h host) string { return member(h, h.at("root")) }, "root secret: stat", false},
		"SecretOthersRead":   {"127.0.0.1:0", func(h host) string { return member(h, h.secret("0123456789abcdef", 0o644)) }, "chmod 600 it", false},
		"SecretIsTooShort":   {"127.0.0.1:0", func(h host) string { return member(h, h.secret("short", 0o600)) }, "fewer than 16 bytes", false},
		"StateInTheDataDir":  {"127.0.0.1:0", func(h host) string { h.link("data", h.dir); return member(h, h.at("root")) }, "/state.json lies in the data directory", false},
		"SecretInTheDataDir": {"127.0.0.1:0", func(h host) string { return member(h, h.at("data/root")) }, "must stand outside the data directory", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			path := h.file(tt.listen, tt.spoil(h))
			err := run(t.Context(), []string{"--config", path}, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\ndoes not say %q", err, tt.want)
			}
			if _, err := os.Stat(h.at("state.json")); !tt.started && err == nil {
				t.Error("it wrote its state")
			}
		})
	}
}

// link makes name a symbolic link to a directory.
func (h host) link(name, to string) {
	h.t.Helper()
	if err := os.Symlink(to, h.at(name)); err != nil {
		h.t.Fatal(err)
	}
}

// What systemd starts is a call that the agent understands: it gets as far as to its file.
func TestTheUnitsCallIsUnderstood(t *testing.T) {
	raw, err := os.ReadFile("../../deploy/systemd/haechi-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	_, call, _ := strings.Cut(string(raw), "\nExecStart=/usr/local/bin/haechi-agent ")
	call, _, _ = strings.Cut(call, "\n")
	args := strings.Fields(strings.ReplaceAll(call, "/etc/haechi/", t.TempDir()+"/"))
	if err := run(t.Context(), args, io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("haechi-agent %s: %v", call, err)
	}
}

// secret writes a root secret and returns its path.
func (h host) secret(text string, mode os.FileMode) string {
	h.t.Helper()
	if err := os.WriteFile(h.at("root"), []byte(text), mode); err != nil {
		h.t.Fatal(err)
	}
	return h.at("root")
}

// --check reads everything and starts nothing.
func TestCheckStartsNothing(t *testing.T) {
	h := newHost(t)
	if err := run(t.Context(), []string{"--check", "--config", h.file("127.0.0.1:0", named)}, io.Discard); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(h.at("state.json")); err == nil {
		t.Error("it wrote its state")
	}
}
