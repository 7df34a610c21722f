// Package tower is one haechi server: it looks, believes, decides with the others who
// drives, and carries runs. The package itself wires its rooms and decides nothing.
package tower

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/executor"
	"github.com/haechi/haechi/tower/peer"
	"github.com/haechi/haechi/tower/state"
)

// Node is one tower. Start brings it up, Stop takes it down again.
type Node struct {
	cfg    Config
	log    *slog.Logger
	orders func(*Node) map[string]driver.Driver
	now    func() time.Time

	ctx    context.Context // ends when the node stops
	cancel context.CancelFunc
	tasks  sync.WaitGroup // every goroutine that the node started, and every request that it serves
	undo   []stopper

	life     sync.Mutex // guards what follows, and tasks against additions after Stop
	stopping bool

	member    *etcd.Member // nil with an external cluster
	client    *clientv3.Client
	store     *state.Store
	book      *book
	exec      *executor.Executor
	sender    *peer.Sender
	receiver  *peer.Receiver
	agents    *agents
	eyes      *eyes
	isolation *isolation
	tail      *tail
	rate      *rate
	audits    *auditor
	ifs       *ifs
	others    lines
	asked     map[estate.HostID]bool // agents that had seen nothing beyond a first line's records; keepLine's own

	views     chan situation.View
	believed  atomic.Pointer[beliefs]
	seen      atomic.Pointer[estate.Estate] // that the eyes look by
	logins    atomic.Pointer[map[string]string]
	held      atomic.Pointer[string] // why a person stopped this tower, where the records may not know
	broken    chan error             // see Broken
	claiming  atomic.Bool
	leftAlone atomic.Value  // run.ID as text: the last run that is not this release's to carry
	answered  atomic.Bool   // an external cluster has a quorum
	opening   chan struct{} // holds one while a run is planned and opened; guards newest
	newest    run.ID        // the last run that this process opened

	mu        sync.Mutex // guards what follows
	mine      state.Drive
	deposedAt time.Time
	driveCtx  context.Context
	driveEnd  context.CancelCauseFunc
	carried   map[run.ID]bool
	answering map[string]bool
}

// stopper is one part of the story of starting, to be told backwards.
type stopper struct {
	name string
	stop func() error
}

// Start brings a tower up. It waits for no quorum: without one the tower looks, shows
// and starts nothing.
func Start(cfg Config, log *slog.Logger) (*Node, error) {
	return start(cfg, log, (*Node).drivers)
}

// start is Start with other drivers, for tests.
func start(cfg Config, log *slog.Logger, orders func(*Node) map[string]driver.Driver) (*Node, error) {
	n := &Node{cfg: cfg, log: log, orders: orders, now: time.Now, views: make(chan situation.View, 64), opening: make(chan struct{}, 1), broken: make(chan error, 1),
		asked: map[estate.HostID]bool{}, carried: map[run.ID]bool{}, answering: map[string]bool{}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.believed.Store(&beliefs{views: map[string]timedView{}})
	n.seen.Store(&estate.Estate{})
	n.audits, n.ifs = newAuditor(n), newIfs()
	n.logins.Store(&map[string]string{})
	for _, part := range []struct {
		name  string
		start func() (func() error, error)
	}{
		{"certificate", n.startCertificate},
		{"etcd", n.startEtcd},
		{"state", n.startState},
		{"agents", n.startAgents},
		{"executor", n.startExecutor},
		{"peers", n.startPeers},
		{"eyes", n.startEyes},
		{"listeners", n.startListeners},
		{"mind", n.startMind},
	} {
		stop, err := part.start()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start %s: %w", part.name, err), n.Stop())
		}
		n.undo = append(n.undo, stopper{part.name, stop})
	}
	log.Info("tower is up", "tower", cfg.Name, "site", cfg.Site, "peer", cfg.Listen.Peer, "page", cfg.Listen.Page)
	return n, nil
}

// Stop brings the parts down in the reverse of the order they came up. It goes on past
// failures and reports them all. What it was carrying is in doubt for the next tower.
func (n *Node) Stop() error {
	n.life.Lock()
	n.stopping = true
	n.life.Unlock()
	n.cancel()
	n.tasks.Wait()
	var errs []error
	for _, s := range slices.Backward(n.undo) {
		if err := s.stop(); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", s.name, err))
		}
	}
	n.undo = nil
	return errors.Join(errs...)
}

// enter announces something that Stop waits for, which ends with tasks.Done. It is false
// once the node stops: what comes then is not begun.
func (n *Node) enter() bool {
	n.life.Lock()
	defer n.life.Unlock()
	if n.stopping {
		return false
	}
	n.tasks.Add(1)
	return true
}

// spawn runs f in a goroutine that Stop waits for. f's context ends with ctx and with the node.
func (n *Node) spawn(ctx context.Context, f func(context.Context)) {
	if !n.enter() {
		return
	}
	go func() {
		defer n.tasks.Done()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(n.ctx, func() { cancel(context.Canceled) })()
		f(ctx)
	}()
}

func nothing() error { return nil }

func (n *Node) startEtcd() (func() error, error) {
	if len(n.cfg.Etcd.Endpoints) > 0 {
		c, err := etcd.ExternalClient(n.cfg.Etcd.Endpoints, n.cfg.TLS.pki())
		if err != nil {
			return nil, err
		}
		n.client = c
		n.spawn(n.ctx, n.askExternal)
		return c.Close, nil
	}
	m, err := etcd.Start(n.ctx, n.cfg.etcd(n.log))
	if err != nil {
		return nil, err
	}
	n.member, n.client = m, m.Client()
	n.spawn(n.ctx, n.watchMember)
	return m.Stop, nil
}

func (n *Node) startState() (func() error, error) {
	opts := []state.Option{state.WithLog(n.log)}
	if _, err := os.Stat(n.cfg.turnFile()); err == nil {
		opts = append(opts, state.OfCopy())
	}
	n.store = state.Open(n.client, n.cfg.Name, opts...)
	n.tail, n.rate = newTail(n.store), newRate()
	n.spawn(n.ctx, n.tail.follow)
	return func() error { n.store.Close(); return nil }, nil
}

func (n *Node) startExecutor() (func() error, error) {
	n.book = &book{store: n.store, drive: n.driving, plans: map[run.ID]plan.Plan{}}
	var err error
	n.exec, err = executor.New(executor.Config{Tower: n.cfg.Name, Book: n.book, Drivers: n.orders(n), Now: n.now, Log: n.log})
	if err != nil {
		return nil, err
	}
	n.isolation, err = newIsolation(n)
	return nothing, err
}

func (n *Node) startPeers() (func() error, error) {
	var others []peer.Peer
	for name, seat := range n.cfg.Cluster {
		if name != n.cfg.Name {
			others = append(others, peer.Peer{Name: name, Address: seat.Peer})
		}
	}
	var err error
	n.sender, err = peer.NewSender(others, n.cfg.TLS.pki(), peerSilence, n.log)
	if err != nil {
		return nil, err
	}
	return func() error { n.sender.Close(); return nil }, nil
}

func (n *Node) startMind() (func() error, error) {
	n.askOthers()
	m := newMind(n)
	n.spawn(n.ctx, m.think)
	n.spawn(n.ctx, n.keepMandates)
	n.spawn(n.ctx, n.keepLine)
	n.spawn(n.ctx, n.audits.run)
	return nothing, nil
}

// beliefs are the newest. They are never nil.
func (n *Node) beliefs() *beliefs { return n.believed.Load() }

// hear hands a view to the mind. A mind that is behind misses the oldest: newer ones follow.
func (n *Node) hear(v situation.View) {
	n.others.heard(v)
	for {
		select {
		case n.views <- v:
			return
		default:
		}
		select {
		case <-n.views:
		default:
		}
	}
}
