// Package etcdtest starts real etcd members on loopback for tests.
package etcdtest

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
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

// handed are the addresses that this process has handed out.
var handed sync.Map

// FreeAddr returns a loopback address that nobody listens on, each only once. Its port lies below those that the
// kernel gives to outgoing connections, so whoever listens there finds it free again after a restart.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000))
		if _, twice := handed.LoadOrStore(addr, true); twice {
			continue
		}
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}
