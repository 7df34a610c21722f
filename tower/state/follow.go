package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// againAfter is how long the watch waits before it starts over.
const againAfter = 200 * time.Millisecond

// follow keeps the snapshot until ctx ends. Nothing in it needs the quorum: what
// this member knows is shown, however old.
func (s *Store) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.followOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("state: the watch starts over", "error", err)
		sleep(ctx, againAfter)
	}
}

// followOnce reads everything at one revision and then applies each change to it.
func (s *Store) followOnce(ctx context.Context) error {
	b, err := s.readAll(ctx)
	if err != nil {
		return err
	}
	s.publish(b.snapshot())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range s.client.Watch(ctx, root, clientv3.WithPrefix(), clientv3.WithRev(b.rev+1)) {
		if err := resp.Err(); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		for _, ev := range resp.Events {
			if err := b.apply(ev.Kv, ev.Type == mvccpb.DELETE); err != nil {
				return err
			}
			b.rev = ev.Kv.ModRevision
		}
		if len(resp.Events) > 0 {
			s.publish(b.snapshot())
		}
	}
	return errors.New("watch: ended")
}

// readAll fills a board with what this member has.
func (s *Store) readAll(ctx context.Context) (*board, error) {
	b := newBoard()
	small, err := s.list(ctx, keyNow, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	b.rev = small.Header.Revision
	s.cluster.Store(small.Header.GetClusterId())
	if err := b.applyAll(small.Kvs); err != nil {
		return nil, err
	}
	at := clientv3.WithRev(max(b.rev, 1))
	for _, id := range b.shown() {
		events, err := s.list(ctx, eventsKey(id), clientv3.WithPrefix(), at)
		if err != nil {
			return nil, err
		}
		if err := b.applyAll(events.Kvs); err != nil {
			return nil, err
		}
	}
	for _, key := range []string{estateKey(b.snap.Estate.Version), journalKey(b.head.Seq)} {
		one, err := s.list(ctx, key, at)
		if err != nil {
			return nil, err
		}
		if err := b.applyAll(one.Kvs); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// list reads from this member alone.
func (s *Store) list(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	resp, err := s.client.Get(ctx, key, append(opts, clientv3.WithSerializable())...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return resp, nil
}

// publish makes snap the newest and hands it to whoever watches; what they have
// not taken yet is replaced.
func (s *Store) publish(snap Snapshot) {
	first := s.latest.Load().Revision == 0
	snap.Cluster = s.Cluster()
	s.latest.Store(&snap)
	if first {
		close(s.ready)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.watchers {
		offer(c, snap)
	}
}

// offer puts snap into c, which holds one, in place of an older one.
func offer(c chan Snapshot, snap Snapshot) {
	select {
	case <-c:
	default:
	}
	c <- snap // only publish and Watch send, under the lock, so there is room
}

// Snapshot returns the newest snapshot at once, with or without a quorum. Its
// Revision is 0 until [Store.Ready].
func (s *Store) Snapshot() Snapshot { return *s.latest.Load() }

// Ready is closed when the first snapshot is there.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Watch returns a channel with the newest snapshot, the present one first. A
// slow reader misses those in between. The channel is closed when ctx or the Store ends.
func (s *Store) Watch(ctx context.Context) <-chan Snapshot {
	c := make(chan Snapshot, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.stopped:
		close(c)
		return c
	default:
	}
	s.watchers[c] = struct{}{}
	if now := s.Snapshot(); now.Revision > 0 {
		offer(c, now)
	}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, ok := s.watchers[c]; ok {
			delete(s.watchers, c)
			close(c)
		}
	})
	return c
}
