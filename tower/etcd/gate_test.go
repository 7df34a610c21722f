package etcd

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// stuckKV is a database whose lock nobody gives back any more.
type stuckKV struct {
	clientv3.KV
	freed chan struct{}
}

func (s stuckKV) Get(context.Context, string, ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	<-s.freed
	return nil, nil
}

func (s stuckKV) Put(context.Context, string, string, ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	<-s.freed
	return nil, nil
}

// A call into a database that is locked for ever ends with its context, and once etcd has given up.
func TestStuckDatabaseHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed, kv := make(chan struct{}), stuckKV{freed: make(chan struct{})}
		defer close(kv.freed)
		g := &gate{KV: kv, stopping: t.Context(), failed: failed, leaderChanged: func() <-chan struct{} { return nil }}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.Get(short, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a read whose context ended: %v", err)
		}
		if _, err := g.Put(short, "k", "v"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a write whose context ended: %v", err)
		}
		time.AfterFunc(time.Second, func() { close(failed) })
		if _, err := g.Put(t.Context(), "k", "v"); !errors.Is(err, rpctypes.ErrUnhealthy) {
			t.Errorf("a write that was under way when etcd gave up: %v", err)
		}
		if _, err := g.Get(t.Context(), "k"); !errors.Is(err, rpctypes.ErrUnhealthy) {
			t.Errorf("a read after etcd gave up: %v", err)
		}
	})
}
