package etcd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
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

	mu      sync.Mutex // guards what follows
	why     string     // why etcd gave up
	removed bool       // the others took it out
	oldCopy bool       // its data is older than what it had agreed to
}

// setWALSize changes etcd's one setting that is a variable of its package.
var setWALSize = sync.OnceFunc(func() { wal.SegmentSizeBytes = walSegmentBytes })

// Start starts the member and returns as soon as it runs, whether or not there is
// a quorum. A data directory from an earlier start is used as it is. Without one the member starts only
// where it was invited, or is prepared for a first start; else the error is [ErrNoSeat]. ctx bounds the
// start only.
func Start(ctx context.Context, c Config) (*Member, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c.Log = c.log()
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("etcd member %s: %w", c.Name, err)
	}
	setWALSize()
	m := &Member{cfg: c, failed: make(chan struct{})}
	e := c.embedded()
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger(c.Log, m.fail))
	if err := c.sit(ctx, e); err != nil {
		return nil, fmt.Errorf("etcd member %s: %w", c.Name, err)
	}
	if err := m.start(ctx, e); err != nil {
		return nil, fmt.Errorf("etcd member %s: %w", c.Name, explain(err, c))
	}
	if err := Unprepare(c.DataDir); err != nil && !os.IsNotExist(err) {
		c.Log.Warn("the mark of a first start stays; remove it", "error", err)
	}
	m.client = v3client.New(m.etcd.Server)
	m.gate = &gate{KV: m.client.KV, failed: m.failed, leaderChanged: m.LeaderChanged}
	m.gate.stopping, m.close = context.WithCancel(context.Background())
	m.client.KV = m.gate
	go m.watch()
	return m, nil
}

// sit says in e how a member without data comes into its cluster.
func (c Config) sit(ctx context.Context, e *embed.Config) error {
	if HasData(c.DataDir) {
		return nil
	}
	if Prepared(c.DataDir) {
		if !slices.Contains(slices.Collect(maps.Keys(c.first())), c.Name) {
			return fmt.Errorf("%w: it is none of those that vote at first (%s)", ErrNoSeat, strings.Join(c.Voters, ", "))
		}
		return nil
	}
	found := Ask(ctx, c)
	if found.Members == nil {
		return fmt.Errorf("%w: %s", ErrNoSeat, found.Why)
	}
	e.ClusterState, e.InitialCluster = embed.ClusterStateFlagExisting, c.urls(found.Members)
	return nil
}

// watch notes that the server ended by itself: the others have removed the member, which is the only
// reason for which it does so.
func (m *Member) watch() {
	select {
	case <-m.etcd.Server.StoppingNotify():
	case <-m.gate.stopping.Done():
		return
	}
	if m.gate.stopping.Err() != nil {
		return
	}
	m.close()
	m.mu.Lock()
	m.removed = m.why == "" // else it gave up, and that ended the server
	m.mu.Unlock()
	m.fail("the others have taken this tower out of the cluster")
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
		return fmt.Errorf("%w: the other towers know this one, so %s was not to be prepared for a first start: remove %s from it, and it waits until it is seated anew", err, c.DataDir, firstStart)
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
	if strings.Contains(why, "tocommit") && strings.Contains(why, "out of range") {
		m.oldCopy = true
		why = fmt.Sprintf("its data is older than what it had agreed to, so it was restored from a copy, or its disk lost writes (%s)", why)
	}
	m.why = why
	close(m.failed)
}

// Removed says that the member ended since the others have taken it out. Its data counts nowhere any more;
// see [SetAside].
func (m *Member) Removed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.removed
}

// OldCopy says that the member gave up since its data is older than what it had agreed to. It would do so again with
// the same data, however often it is started.
func (m *Member) OldCopy() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.oldCopy
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
	if why := m.Failure(); why != "" && !m.Removed() {
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
