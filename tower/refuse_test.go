package tower

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/state/etcdtest"
)

// place makes certificates and the configuration of a tower that is alone.
type place struct {
	t  *testing.T
	ca string
}

func newPlace(t *testing.T) place {
	t.Helper()
	p := place{t, filepath.Join(t.TempDir(), "ca")}
	if err := pki.NewCA(p.ca); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p place) files(kind pki.Kind, name string) Files {
	p.t.Helper()
	f, err := pki.Issue(p.ca, pki.Identity{Kind: kind, Name: name}, p.t.TempDir(), []net.IP{net.IPv4(127, 0, 0, 1)}, nil, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	return Files(f)
}

// free is an address on which nobody listens at the moment.
func free(t *testing.T) string {
	t.Helper()
	return etcdtest.FreeAddr(t)
}

func taken(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func (p place) config() Config {
	peer := free(p.t)
	c := Config{
		Name: "tower-a", Site: "a", Data: p.t.TempDir(),
		Cluster: map[string]Seat{"tower-a": {Site: "a", Peer: peer, Etcd: free(p.t)}},
		Listen:  Listen{Peer: peer, Page: free(p.t)},
		TLS:     p.files(pki.Tower, "tower-a"),
		Etcd:    Etcd{Heartbeat: 10 * time.Millisecond, Election: 100 * time.Millisecond},
	}
	must(p.t, etcd.Prepare(c.etcd(nil).DataDir))
	return c
}

// A tower that cannot start says which line of its file is to blame and what to do,
// and leaves nothing behind that listens.
func TestStartRefuses(t *testing.T) {
	p := newPlace(t)
	busy := taken(t).Addr().String()
	tests := map[string]struct {
		spoil func(*Config)
		want  []string
	}{
		"PeerPortInUse": {func(c *Config) { c.Listen.Peer = busy }, []string{"listen.peer", "address already in use", "ss -ltnp"}},
		"PagePortInUse": {func(c *Config) { c.Listen.Page = busy }, []string{"listen.page", "address already in use", "ss -ltnp"}},
		"EtcdPortInUse": {func(c *Config) {
			s := c.Cluster["tower-a"]
			s.Etcd = busy
			c.Cluster["tower-a"] = s
		}, []string{"start etcd", busy, "address already in use"}},
		"AgentsCertificate":   {func(c *Config) { c.TLS = p.files(pki.Agent, "db-a") }, []string{"is the certificate of haechi://agent/db-a", "this is haechi://tower/tower-a", "haechi pki issue tower tower-a"}},
		"AnothersCertificate": {func(c *Config) { c.TLS = p.files(pki.Tower, "tower-b") }, []string{"is the certificate of haechi://tower/tower-b", "haechi pki issue tower tower-a"}},
		"NoCertificate":       {func(c *Config) { c.TLS.Cert = filepath.Join(c.Data, "none.pem") }, []string{"none.pem", "haechi pki issue tower tower-a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := p.config()
			open := c.Listen.Peer
			tt.spoil(&c)
			n, err := Start(c, slog.New(slog.DiscardHandler))
			if err == nil {
				_ = n.Stop()
				t.Fatal("it started")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not say %q", err, want)
				}
			}
			l, err := net.Listen("tcp", open)
			if err != nil {
				t.Fatalf("something still listens: %v", err)
			}
			_ = l.Close()
		})
	}
}

// Every field that cannot work is named at once, as the file spells it.
func TestReadConfigSaysEverything(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string
	}{
		"Empty":      {"name: ''\n", []string{"name: is required", "site: is required", "data: is required", "tls.cert: is required", `listen.peer: "" is not host:port`, "cluster: does not list this tower"}},
		"UnknownKey": {"nmae: tower-a\n", []string{"unknown field", "nmae"}},
		"WrongSite": {"name: tower-a\nsite: b\ndata: /d\nlisten: {peer: '127.0.0.1:1'}\ntls: {ca: a, cert: b, key: c}\ncluster: {tower-a: {site: a}}\n",
			[]string{`cluster: says that tower-a stands in "a", site says "b"`}},
		"HastyElection": {"name: tower-a\nsite: a\ndata: /d\nlisten: {peer: '127.0.0.1:1'}\ntls: {ca: a, cert: b, key: c}\ncluster: {tower-a: {site: a}}\netcd: {heartbeat: 100ms, election: 200ms}\n",
			[]string{"etcd.election: 200ms is shorter than five heartbeats"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tower.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := ReadConfig(path)
			if err == nil {
				t.Fatal("it was accepted")
			}
			for _, want := range append(tt.want, path) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not say %q", err, want)
				}
			}
		})
	}
}
