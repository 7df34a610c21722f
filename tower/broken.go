package tower

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/haechi/haechi/tower/etcd"
)

// ErrBroken means that a tower can go on only as a new process.
var ErrBroken = errors.New("the tower has to be started anew")

// When a tower whose etcd member has given up is started anew.
const (
	roomEvery = time.Second
	restFor   = 5 * time.Second // at least, whatever the reason, so that it does not spin
)

// Broken tells once, with [ErrBroken], that the tower's etcd member has given up and that
// a new process would now be better off: there is room on the disk again, or its data was set aside. Until then the
// tower goes on looking and showing; it starts nothing. The member cannot be started
// again in this process, since what is left of the old one holds its files.
func (n *Node) Broken() <-chan error { return n.broken }

// watchMember waits for the member to give up, and then for room.
func (n *Node) watchMember(ctx context.Context) {
	select {
	case <-n.member.Failed():
	case <-ctx.Done():
		return
	}
	why := n.member.Failure()
	switch {
	case n.member.Removed():
		n.leaveCluster(ctx)
		return
	case n.member.OldCopy(): // a new process would find the same data: a person has to move it away
		f := judgeMember(n.cfg, n.member.Status(), gaveUp{why: why, oldCopy: true})
		n.log.Error("etcd has given up; this tower looks and shows, and starts nothing", "why", why, "do", f.Do)
		return
	}
	n.log.Error("etcd has given up; this tower looks and shows, and starts nothing", "why", why, "data", n.cfg.Data)
	if awaitRoom(ctx, func() uint64 { return n.member.Status().FreeBytes }, restFor, roomEvery) {
		n.broken <- fmt.Errorf("%w: its etcd member had given up (%s), and there is room now", ErrBroken, why)
	}
}

// leaveCluster sets the data of a member aside that the others have taken out: it counts nowhere any more.
// The tower then waits as a new process until it is seated anew.
func (n *Node) leaveCluster(ctx context.Context) {
	c := n.cfg.etcd(nil)
	pause(ctx, restFor)
	to, err := etcd.SetAside(c.DataDir, "removed", n.now())
	if err != nil {
		n.log.Error("the others have taken this tower out, and its data cannot be set aside", "error", err, "do", "stop it, move "+c.DataDir+" away, start it")
		return
	}
	n.log.Warn("the others have taken this tower out of the cluster; its data is kept", "at", to)
	n.broken <- fmt.Errorf("%w: the others have taken it out of the cluster, and it waits to be seated anew", ErrBroken)
}

// awaitRoom waits for rest, and then until there is room for etcd to run. False means that ctx ended.
func awaitRoom(ctx context.Context, free func() uint64, rest, every time.Duration) bool {
	pause(ctx, rest)
	for free() < etcd.LeastFree && ctx.Err() == nil {
		pause(ctx, every)
	}
	return ctx.Err() == nil
}

// Run runs a tower until ctx ends, and stops it in good order. A tower that is [Node.Broken]
// becomes a new process of the same program with the same arguments: whoever supervises it
// sees no end. Where even that fails the error is [ErrBroken], and the process has to end.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	n, err := seatAndStart(ctx, cfg, log, Start)
	switch {
	case ctx.Err() != nil && n == nil:
		return nil
	case err != nil:
		return err
	}
	select {
	case <-ctx.Done():
		return n.Stop()
	case why := <-n.Broken():
		log.Warn("starting anew", "why", why)
		return fmt.Errorf("%w: %w", why, syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	}
}

// seatAndStart waits until the tower has a seat, and starts it. A seat that is taken back in between is
// waited for again.
func seatAndStart(ctx context.Context, cfg Config, log *slog.Logger, start func(Config, *slog.Logger) (*Node, error)) (*Node, error) {
	for {
		if err := await(ctx, cfg, log); err != nil {
			return nil, err
		}
		n, err := start(cfg, log)
		if !errors.Is(err, etcd.ErrNoSeat) {
			return n, err
		}
		if pause(ctx, askEvery); ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}
