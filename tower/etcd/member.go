package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

// stopLimit bounds how long a healthy member may take to stop.
const stopLimit = 10 * time.Second

// Member is a running member. It goes on without the quorum, answering
// serializable reads.
type Member struct {
	cfg    Config
	etcd   *embed.Etcd
	client *clientv3.Client
	gate   *gate
	close  context.CancelFunc // of the gate
	failed chan struct{}      // closed when etcd gave up

	mu  sync.Mutex // guards what follows
	why string     // why etcd gave up
}

// setWALSize changes etcd's one setting that is a variable of its package.
var setWALSize = sync.OnceFunc(func() { wal.SegmentSizeBytes = walSegmentBytes })

// Start starts the member and returns as soon as it runs, whether or not there is
// a quorum. A data directory from an earlier start is used as it is. ctx bounds the start only.
func Start(ctx context.Context, c Config) (*Member, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("etcd member %s: %w", c.Name, err)
	}
	setWALSize()
	m := &Member{cfg: c, failed: make(chan struct{})}
	e := c.embedded()
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger(c.Log, m.fail))
	if err := m.start(ctx, e); err != nil {
		return nil, fmt.Errorf("etcd member %s: %w", c.Name, explain(err, c))
	}
	m.client = v3client.New(m.etcd.Server)
	m.gate = &gate{KV: m.client.KV, failed: m.failed, leaderChanged: m.LeaderChanged}
	m.gate.stopping, m.close = context.WithCancel(context.Background())
	m.client.KV = m.gate
	return m, nil
}

// start runs embed.StartEtcd, which knows no context and may end its goroutine.
func (m *Member) start(ctx context.Context, e *embed.Config) error {
	type result struct {
		etcd *embed.Etcd
		err  error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: errors.New("etcd gave up while starting")}
		defer func() { done <- r }()
		r.etcd, r.err = embed.StartEtcd(e)
	}()
	select {
	case r := <-done:
		if r.err != nil && m.Failure() != "" {
			return fmt.Errorf("%w: %s", r.err, m.Failure())
		}
		m.etcd = r.etcd
		return r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				r.etcd.Close()
			}
		}()
		return fmt.Errorf("starting: %w", context.Cause(ctx))
	}
}

// explain says what to do about the failures that people meet.
func explain(err error, c Config) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another program listens there; is a tower running already? (ss -ltnp shows it)", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this host has no such address; check peer_listen %s", err, c.PeerListen)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: make room on the disk of %s", err, c.DataDir)
	case strings.Contains(err.Error(), "has already been bootstrapped"):
		return fmt.Errorf("%w: the other towers know this one, but %s is empty: its data was lost, and it has to be seated anew", err, c.DataDir)
	}
	return err
}

// fail notes why etcd gave up; the first reason counts.
func (m *Member) fail(why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.why != "" {
		return
	}
	m.why = why
	close(m.failed)
}

// Failed is closed when etcd gave up, for example because its disk is full.
// The member then does nothing more; only a restart of the process helps.
func (m *Member) Failed() <-chan struct{} { return m.failed }

// Failure returns why etcd gave up, or "".
func (m *Member) Failure() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.why
}

// Client returns a client that calls the member directly, without a socket.
// It is closed by [Member.Stop].
func (m *Member) Client() *clientv3.Client { return m.client }

// Stop ends the member, with what it has on disk. Calls of its client that are
// under way, or come later, fail.
func (m *Member) Stop() error {
	if why := m.Failure(); why != "" {
		return fmt.Errorf("etcd member %s: it had given up (%s), so it cannot be stopped in good order; end the process", m.cfg.Name, why)
	}
	m.close()
	done := make(chan error, 1)
	go func() {
		m.gate.wait()
		err := m.client.Close()
		m.etcd.Close()
		if errors.Is(err, context.Canceled) {
			err = nil // how a client of this kind ends
		}
		done <- err
	}()
	t := time.NewTimer(stopLimit)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return fmt.Errorf("etcd member %s: did not stop within %v; end the process", m.cfg.Name, stopLimit)
	}
}
