package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/state/etcdtest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within is a context that bounds a wait on the real world.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// put writes once, through elections that end meanwhile.
func put(t testing.TB, m *etcd.Member) {
	t.Helper()
	for {
		_, err := m.Client().Put(within(t, 20*time.Second), "k", "v")
		if !errors.Is(err, rpctypes.ErrLeaderChanged) {
			must(t, err)
			return
		}
	}
}

// cluster returns the configurations of n members with certificates.
func cluster(t testing.TB, n int) []etcd.Config {
	t.Helper()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	must(t, pki.NewCA(ca))
	all := map[string]string{}
	var out []etcd.Config
	for i := range n {
		name := fmt.Sprintf("tower-%d", i+1)
		all[name] = etcdtest.FreeAddr(t)
		f, err := pki.Issue(ca, pki.Identity{Kind: pki.Tower, Name: name}, filepath.Join(dir, name), []net.IP{net.IPv4(127, 0, 0, 1)}, nil, 0)
		must(t, err)
		out = append(out, etcd.Config{
			Name: name, DataDir: filepath.Join(dir, name, "etcd"), PeerListen: all[name], InitialCluster: all,
			Heartbeat: etcd.Fast.Heartbeat, Election: etcd.Fast.Election, TLS: f,
		})
		must(t, etcd.Prepare(out[i].DataDir))
	}
	return out
}

func TestRestartKeepsData(t *testing.T) {
	c := etcdtest.Config(t)
	m, err := etcd.Start(t.Context(), c)
	must(t, err)
	put(t, m)
	must(t, m.Stop())

	m = etcdtest.Start(t, c)
	got, err := m.Client().Get(within(t, 10*time.Second), "k", clientv3.WithSerializable())
	must(t, err)
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		t.Fatalf("after the restart: %v", got.Kvs)
	}
	if h := m.Health(t.Context()); !h.OK() {
		t.Fatalf("health = %+v", h)
	}
	if s := m.Status(); s.Leader != c.Name || !s.HasLeader || s.FreeBytes == 0 {
		t.Fatalf("status = %+v", s)
	}
}

func TestCallsAfterStopFail(t *testing.T) {
	m, err := etcd.Start(t.Context(), etcdtest.Config(t))
	must(t, err)
	must(t, m.Stop())
	c := m.Client()
	if _, err := c.Get(t.Context(), "k", clientv3.WithSerializable()); !errors.Is(err, rpctypes.ErrStopped) {
		t.Fatalf("get: %v", err)
	}
	if _, err := c.Txn(t.Context()).Then(clientv3.OpGet("k")).Commit(); !errors.Is(err, rpctypes.ErrStopped) {
		t.Fatalf("txn: %v", err)
	}
}

func TestOneOfThreeRunsWithoutQuorum(t *testing.T) {
	m := etcdtest.Start(t, cluster(t, 3)[0])
	if m.HasLeader() {
		t.Fatal("one of three leads")
	}
	h := m.Health(within(t, 300*time.Millisecond))
	if h.Quorum || !strings.Contains(strings.Join(h.Problems, " "), "no quorum") {
		t.Fatalf("health = %+v", h)
	}
	if _, err := m.Client().Get(within(t, 5*time.Second), "k", clientv3.WithSerializable()); err != nil {
		t.Fatalf("a read that needs no quorum: %v", err)
	}
}

func TestThreeAgreeOverMutualTLS(t *testing.T) {
	all := cluster(t, 3)
	a, b := etcdtest.Start(t, all[0]), etcdtest.Start(t, all[1])
	put(t, a)
	if h := b.Health(t.Context()); !h.OK() { // a read that the quorum confirms, so b has caught up
		t.Fatalf("health = %+v", h)
	}
	got, err := b.Client().Get(within(t, 20*time.Second), "k", clientv3.WithSerializable())
	must(t, err)
	if len(got.Kvs) != 1 {
		t.Fatal("the second member does not have it")
	}
	if s := b.Status(); len(s.Seats) != 3 {
		t.Fatalf("members = %v", s.Seats)
	}
}

// An agent of the same CA that has a tower's address is still no tower.
func TestAnAgentsCertificateCannotJoin(t *testing.T) {
	all := cluster(t, 3)
	stranger := all[1]
	ca := filepath.Join(filepath.Dir(filepath.Dir(stranger.TLS.CA)), "ca")
	f, err := pki.Issue(ca, pki.Identity{Kind: pki.Agent, Name: "db-1"}, t.TempDir(), []net.IP{net.IPv4(127, 0, 0, 1)}, nil, 0)
	must(t, err)
	stranger.TLS = f
	a, b := etcdtest.Start(t, all[0]), etcdtest.Start(t, stranger)
	if _, err := a.Client().Put(within(t, 2*time.Second), "k", "v"); err == nil {
		t.Fatal("two members agreed, one with an agent's certificate")
	}
	if a.HasLeader() || b.HasLeader() {
		t.Fatal("a leader was elected")
	}
}

func TestWrongConfigurationSaysWhatToDo(t *testing.T) {
	good := etcdtest.Config(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	tests := map[string]struct {
		spoil func(*etcd.Config)
		says  []string
	}{
		"PortInUse":  {func(c *etcd.Config) { c.PeerListen = taken.Addr().String() }, []string{"address already in use", "is a tower running already?"}},
		"NoSuchPort": {func(c *etcd.Config) { c.PeerListen = "127.0.0.1:1x" }, []string{"1x"}},
		"NotListed":  {func(c *etcd.Config) { c.Name = "tower-x" }, []string{`does not hold this tower, "tower-x"`, "tower-test"}},
		"NoTLS":      {func(c *etcd.Config) { c.PeerListen = "10.1.0.11:2380" }, []string{"peer_listen", "not loopback", "haechi pki issue"}},
		"Everything": {func(c *etcd.Config) { *c = etcd.Config{} }, []string{"name: is required", "data_dir: is required", "heartbeat", "peer_listen"}},
		"Elections":  {func(c *etcd.Config) { c.Election = c.Heartbeat }, []string{"five heartbeats"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := good
			c.DataDir = t.TempDir()
			must(t, etcd.Prepare(c.DataDir))
			tt.spoil(&c)
			m, err := etcd.Start(t.Context(), c)
			if err == nil {
				m.Stop()
				t.Fatal("started")
			}
			for _, want := range tt.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not say %q", err, want)
				}
			}
		})
	}
}
