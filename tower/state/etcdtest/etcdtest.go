// Package etcdtest starts real etcd members on loopback for tests.
package etcdtest

import (
	"log/slog"
	"net"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/haechi/haechi/tower/etcd"
)

// Config returns the configuration of the only member of a cluster, with its
// data in a temporary directory that is prepared for a first start.
func Config(t testing.TB) etcd.Config {
	t.Helper()
	addr, dir := FreeAddr(t), t.TempDir()
	if err := etcd.Prepare(dir); err != nil {
		t.Fatal(err)
	}
	return etcd.Config{
		Name: "tower-test", DataDir: dir, PeerListen: addr,
		InitialCluster: map[string]string{"tower-test": addr},
		Heartbeat:      10 * time.Millisecond, Election: 100 * time.Millisecond,
		Log: slog.New(slog.DiscardHandler),
	}
}

// Start runs a member until the test ends.
func Start(t testing.TB, c etcd.Config) *etcd.Member {
	t.Helper()
	m, err := etcd.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// Client returns the client of a cluster of one, which lasts until the test ends.
func Client(t testing.TB) *clientv3.Client {
	t.Helper()
	return Start(t, Config(t)).Client()
}

// FreeAddr returns a loopback address that nobody listens on.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
