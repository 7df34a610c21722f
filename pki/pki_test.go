package pki_test

import (
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/pki"
)

// world is a CA with a tower's and an agent's files.
type world struct {
	t    *testing.T
	ca   string
	root string
}

func newWorld(t *testing.T) world {
	t.Helper()
	root := t.TempDir()
	w := world{t: t, ca: filepath.Join(root, "ca"), root: root}
	must(t, pki.NewCA(w.ca))
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w world) issue(id pki.Identity, validity time.Duration) pki.Files {
	w.t.Helper()
	dir := filepath.Join(w.root, string(id.Kind)+"-"+id.Name)
	f, err := pki.Issue(w.ca, id, dir, []net.IP{net.IPv4(127, 0, 0, 1)}, nil, validity)
	must(w.t, err)
	return f
}

func (w world) tower() pki.Files { return w.issue(pki.Identity{Kind: pki.Tower, Name: "t1"}, 0) }
func (w world) agent() pki.Files { return w.issue(pki.Identity{Kind: pki.Agent, Name: "db-1"}, 0) }

// shake makes one connection and returns what each side says of it, with the
// client's identity as the server saw it.
func shake(t *testing.T, server, client *tls.Config) (id pki.Identity, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		tc := tls.Server(c, server)
		if err := tc.Handshake(); err != nil {
			done <- err
			return
		}
		cs := tc.ConnectionState()
		id, err = pki.PeerIdentity(&cs)
		io.WriteString(tc, "x")
		done <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	tc := tls.Client(c, client)
	if clientErr = tc.Handshake(); clientErr == nil {
		_, clientErr = tc.Read(make([]byte, 1))
	}
	if clientErr != nil {
		c.Close()
	}
	return id, <-done, clientErr
}

func serverTLS(t *testing.T, f pki.Files, allow func(pki.Identity) error) *tls.Config {
	t.Helper()
	c, err := pki.ServerTLS(f, allow)
	must(t, err)
	return c
}

func clientTLS(t *testing.T, f pki.Files, expect func(pki.Identity) error) *tls.Config {
	t.Helper()
	c, err := pki.ClientTLS(f, expect)
	must(t, err)
	return c
}

func TestBothSidesKnowEachOther(t *testing.T) {
	w := newWorld(t)
	who := pki.Identity{Kind: pki.Person, Name: "operator-1", Roles: []string{pki.Approver, pki.Operator}}
	id, se, ce := shake(t, serverTLS(t, w.tower(), pki.Only(pki.Person)), clientTLS(t, w.issue(who, 0), pki.Named(pki.Tower, "t1")))
	must(t, errors.Join(se, ce))
	if diff := cmp.Diff(who, id); diff != "" {
		t.Fatal(diff)
	}
	if !id.Has(pki.Approver) || id.Has(pki.Viewer) {
		t.Fatalf("roles = %v", id.Roles)
	}
}

func TestBadCertificatesAreRefusedByName(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	tower, agent := w.tower(), w.agent()
	tests := map[string]struct {
		server, client *tls.Config
		want           error
		says           string
		atClient       bool // which side refuses
	}{
		"NoCertificate": {
			server: serverTLS(t, tower, nil), client: &tls.Config{InsecureSkipVerify: true},
			says: "client didn't provide a certificate",
		},
		"OtherCA": {
			server: serverTLS(t, tower, nil), client: clientTLS(t, other.tower(), nil),
			want: pki.ErrOtherCA, says: "certificate of another CA", atClient: true,
		},
		"OtherCAAtServer": {
			server: serverTLS(t, tower, nil), client: func() *tls.Config {
				c := clientTLS(t, other.tower(), nil)
				c.VerifyConnection = nil
				return c
			}(),
			want: pki.ErrOtherCA, says: "CN=haechi CA",
		},
		"AgentAsTower": {
			server: serverTLS(t, tower, pki.Only(pki.Tower)), client: clientTLS(t, agent, nil),
			want: pki.ErrWrongKind, says: "an agent's certificate (haechi://agent/db-1) cannot be used as a tower's",
		},
		"AgentServesAsTower": {
			server: serverTLS(t, agent, nil), client: clientTLS(t, tower, pki.Only(pki.Tower)),
			want: pki.ErrWrongKind, says: "an agent's certificate", atClient: true,
		},
		"OtherAgent": {
			server: serverTLS(t, agent, nil), client: clientTLS(t, tower, pki.Named(pki.Agent, "db-2")),
			want: pki.ErrWrongName, says: "want haechi://agent/db-2, have haechi://agent/db-1", atClient: true,
		},
		"Expired": {
			server: serverTLS(t, tower, nil), client: clientTLS(t, w.issue(pki.Identity{Kind: pki.Agent, Name: "old"}, -time.Minute), nil),
			want: pki.ErrExpired, says: "expired on 20",
		},
		"ObserverServes": {
			server: serverTLS(t, w.issue(pki.Identity{Kind: pki.Observer, Name: "isp-a"}, 0), nil), client: clientTLS(t, tower, nil),
			want: pki.ErrWrongKind, says: "observer/isp-a", atClient: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, se, ce := shake(t, tt.server, tt.client)
			err := se
			if tt.atClient {
				err = ce
			}
			if err == nil || !strings.Contains(err.Error(), tt.says) || (tt.want != nil && !errors.Is(err, tt.want)) {
				t.Fatalf("server: %v\nclient: %v\nwant: %v, saying %q", se, ce, tt.want, tt.says)
			}
			if se == nil || ce == nil {
				t.Fatalf("one side went on: server %v, client %v", se, ce)
			}
		})
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	w := newWorld(t)
	c := clientTLS(t, w.agent(), nil)
	c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, se, _ := shake(t, serverTLS(t, w.tower(), nil), c); se == nil {
		t.Fatal("TLS 1.2 was accepted")
	}
}

func TestRenewalIsTakenUpWithoutRestart(t *testing.T) {
	w := newWorld(t)
	old := w.issue(pki.Identity{Kind: pki.Agent, Name: "db-1"}, -time.Minute)
	server, client := serverTLS(t, w.tower(), nil), clientTLS(t, old, nil)
	if _, se, _ := shake(t, server, client); !errors.Is(se, pki.ErrExpired) {
		t.Fatalf("before: %v", se)
	}
	key, err := os.ReadFile(old.Key)
	must(t, err)
	must(t, pki.Renew(w.ca, old, 0))
	id, se, ce := shake(t, server, client)
	must(t, errors.Join(se, ce))
	if id.Name != "db-1" || id.Kind != pki.Agent {
		t.Fatalf("identity changed to %v", id)
	}
	after, err := os.ReadFile(old.Key)
	must(t, err)
	if diff := cmp.Diff(key, after); diff != "" {
		t.Fatal("renewal touched the key, so a crash could leave a pair that does not fit")
	}
	end, err := pki.Expiry(old)
	must(t, err)
	if left := time.Until(end); left < 89*24*time.Hour || left > 91*24*time.Hour {
		t.Fatalf("lasts %v", left)
	}
}

func TestBrokenFilesLeaveTheOldInUse(t *testing.T) {
	w := newWorld(t)
	f := w.tower()
	server, client := serverTLS(t, f, nil), clientTLS(t, w.agent(), nil)
	must(t, os.WriteFile(f.Cert, []byte("half"), 0o600))
	_, se, ce := shake(t, server, client)
	must(t, errors.Join(se, ce))
}

func TestNewCAIsBelievedOnceItIsInTheFile(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	f := w.tower()
	server := serverTLS(t, f, nil)
	stranger := clientTLS(t, other.agent(), nil)
	stranger.VerifyConnection = nil
	if _, se, _ := shake(t, server, stranger); !errors.Is(se, pki.ErrOtherCA) {
		t.Fatalf("before: %v", se)
	}
	mine, err := os.ReadFile(f.CA)
	must(t, err)
	theirs, err := os.ReadFile(filepath.Join(other.ca, "ca.pem"))
	must(t, err)
	must(t, os.WriteFile(f.CA, append(mine, theirs...), 0o600))
	_, se, ce := shake(t, server, stranger)
	must(t, errors.Join(se, ce))
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	w := newWorld(t)
	f := w.tower()
	must(t, pki.Renew(w.ca, f, 0))
	for _, name := range []string{f.CA, f.Cert, f.Key, filepath.Join(w.ca, "ca-key.pem"), filepath.Join(w.ca, "ca.pem")} {
		info, err := os.Stat(name)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v", name, info.Mode())
		}
	}
	for _, dir := range []string{w.ca, filepath.Dir(f.Key)} {
		info, err := os.Stat(dir)
		must(t, err)
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s is %v", dir, info.Mode())
		}
		left, err := filepath.Glob(filepath.Join(dir, ".new-*"))
		must(t, err)
		if len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestNewCANeverOverwrites(t *testing.T) {
	w := newWorld(t)
	if err := pki.NewCA(w.ca); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("err = %v", err)
	}
}

func TestIssueRefusesWhatItCannotName(t *testing.T) {
	w := newWorld(t)
	for name, id := range map[string]pki.Identity{
		"NoName":         {Kind: pki.Tower},
		"Slash":          {Kind: pki.Agent, Name: "../x"},
		"Kind":           {Kind: "king", Name: "x"},
		"RoleOfAnAgent":  {Kind: pki.Agent, Name: "x", Roles: []string{pki.Operator}},
		"RoleNotOnList":  {Kind: pki.Person, Name: "x", Roles: []string{"root"}},
		"NewlineInName":  {Kind: pki.Agent, Name: "x\ny"},
		"QuestionInName": {Kind: pki.Agent, Name: "x?y"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(w.root, "out")
			if _, err := pki.Issue(w.ca, id, dir, nil, nil, 0); err == nil {
				t.Fatal("was issued")
			}
			if _, err := os.Stat(dir); err == nil {
				t.Fatal("left a directory behind")
			}
		})
	}
}
