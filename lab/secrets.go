package lab

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/haechi/haechi/pki"
)

// Users of the operating system that the lab's servers run as.
const (
	towerUser    = "nobody"
	postgresUser = "postgres" // also the agent's: it acts on that user's files
	namedUser    = "bind"
)

// makeSecrets makes the CA, everybody's certificates, and the passwords and
// keys that servers share, each file for its reader alone.
func (l *Lab) makeSecrets(context.Context) error {
	if err := os.MkdirAll(l.path("secrets"), 0o755); err != nil {
		return err
	}
	if err := pki.NewCA(l.path("ca")); err != nil {
		return err
	}
	for _, s := range secrets() {
		if err := write(l.path("secrets", s.name), s.user, "", 0o600, s.text()); err != nil {
			return fmt.Errorf("secret %s: %w", s.name, err)
		}
	}
	return l.Certify(0)
}

// Certify gives every tower, agent, observer and person of the lab a new certificate
// in the place of the old one, valid for so long; see [pki.Issue].
func (l *Lab) Certify(validity time.Duration) error {
	for _, c := range l.certificates() {
		if err := os.MkdirAll(filepath.Dir(c.dir), 0o755); err != nil {
			return err
		}
		if _, err := pki.Issue(l.path("ca"), c.id, c.dir, c.ips, nil, validity); err != nil {
			return err
		}
		for _, f := range []string{c.dir, filepath.Join(c.dir, "ca.pem"), filepath.Join(c.dir, "cert.pem"), filepath.Join(c.dir, "key.pem")} {
			mode := os.FileMode(0o600)
			if f == c.dir {
				mode = 0o700
			}
			if err := own(f, c.user, "", mode); err != nil {
				return err
			}
		}
	}
	return nil
}

// secret is a file below secrets/ with the user who reads it.
type secret struct {
	name, user string
	text       func() string
}

func secrets() []secret {
	return []secret{
		{"replication-root", postgresUser, password}, // of it, agents derive a password for each epoch
		{"replication-first", postgresUser, password},
		{"monitor", towerUser, password},
		{"talk", towerUser, password},
		{"tsig", towerUser, key},
		{"rndc", "root", key}, // one for all sites: it works on loopback only
	}
}

func password() string { return hex.EncodeToString(random(24)) }

func key() string { return base64.StdEncoding.EncodeToString(random(32)) }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// secret reads a file below secrets/.
func (l *Lab) secret(name string) (string, error) {
	b, err := os.ReadFile(l.path("secrets", name))
	return strings.TrimSpace(string(b)), err
}

// certificate is one identity, where its files stand and whose they are.
type certificate struct {
	id   pki.Identity
	dir  string
	user string
	ips  []net.IP
}

func (l *Lab) certificates() []certificate {
	var out []certificate
	for _, p := range sites {
		ip := func(host int) []net.IP { return []net.IP{net.ParseIP(p.Addr(host)), net.IPv4(127, 0, 0, 1)} }
		out = append(out,
			certificate{pki.Identity{Kind: pki.Tower, Name: p.tower()}, l.at(p, "tower", "tls"), towerUser, ip(towerHost)},
			certificate{pki.Identity{Kind: pki.Agent, Name: p.host()}, l.at(p, "agent", "tls"), postgresUser, ip(databaseHost)})
	}
	for _, o := range observers {
		id := pki.Identity{Kind: pki.Observer, Name: o.Name}
		out = append(out, certificate{id, l.at(Users, o.Name, "tls"), towerUser, nil})
	}
	operator := pki.Identity{Kind: pki.Person, Name: "operator", Roles: []string{pki.Operator, pki.Viewer}}
	return append(out, certificate{operator, l.path("operator"), "root", nil})
}

// tlsFiles is the tls section of a configuration file.
func tlsFiles(dir string) map[string]string {
	f := pki.FilesIn(dir)
	return map[string]string{"ca": f.CA, "cert": f.Cert, "key": f.Key}
}
