package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// gate keeps calls away from a member that stops. They are plain function calls
// into its database, and one that arrives after that was closed would crash the tower.
type gate struct {
	clientv3.KV
	stopping      context.Context
	failed        <-chan struct{} // closed when etcd gave up
	leaderChanged func() <-chan struct{}

	mu sync.RWMutex // held for reading by each call, for writing by close
}

// enter admits one call; leave has to follow. The call's context ends when the member stops.
func (g *gate) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	g.mu.RLock()
	if g.stopping.Err() != nil {
		g.mu.RUnlock()
		return nil, nil, rpctypes.ErrStopped
	}
	ctx, cancel := context.WithCancel(ctx)
	unhook := context.AfterFunc(g.stopping, cancel)
	return ctx, func() { unhook(); cancel(); g.mu.RUnlock() }, nil
}

// wait returns once no call is under way; g.stopping has ended before.
func (g *gate) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
}

// call makes one call, and waits no longer than ctx and the member last. A member that gave
// up keeps its database locked for ever, so a call into it may never return.
func call[T any](g *gate, ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	var none T
	ctx, leave, err := g.enter(ctx)
	if err != nil {
		return none, err
	}
	done := make(chan answer, 1)
	go func() {
		defer leave() // which ends ctx, too
		v, err := f(ctx)
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		return a.v, a.err
	case <-g.failed:
		return none, errGaveUp
	case <-ctx.Done():
	}
	select { // what was answered counts
	case a := <-done:
		return a.v, a.err
	default:
		return none, ctx.Err()
	}
}

// errGaveUp is the answer to every call once etcd gave up, and to those under way then;
// what becomes of their writes is unknown.
var errGaveUp = fmt.Errorf("etcd gave up: %w", rpctypes.ErrUnhealthy)

// write makes one write. What was handed to a leader that died is never answered,
// so it is given up as soon as another one leads, with an error that says that its outcome is unknown.
func write[T any](g *gate, ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	changed := g.leaderChanged()
	go func() {
		select {
		case <-changed:
			cancel(rpctypes.ErrLeaderChanged)
		case <-ctx.Done():
		}
	}()
	v, err := call(g, ctx, f)
	if err != nil && errors.Is(context.Cause(ctx), rpctypes.ErrLeaderChanged) {
		err = rpctypes.ErrLeaderChanged
	}
	return v, err
}

// Do is what every plain call comes down to.
func (g *gate) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	return write(g, ctx, func(ctx context.Context) (clientv3.OpResponse, error) { return g.KV.Do(ctx, op) })
}

// Put implements clientv3.KV.
func (g *gate) Put(ctx context.Context, key, val string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	return write(g, ctx, func(ctx context.Context) (*clientv3.PutResponse, error) { return g.KV.Put(ctx, key, val, opts...) })
}

// Get implements clientv3.KV.
func (g *gate) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return call(g, ctx, func(ctx context.Context) (*clientv3.GetResponse, error) { return g.KV.Get(ctx, key, opts...) })
}

// Delete implements clientv3.KV.
func (g *gate) Delete(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	return write(g, ctx, func(ctx context.Context) (*clientv3.DeleteResponse, error) { return g.KV.Delete(ctx, key, opts...) })
}

// Txn implements clientv3.KV.
func (g *gate) Txn(ctx context.Context) clientv3.Txn { return &gatedTxn{g: g, ctx: ctx} }

// gatedTxn collects a transaction and enters the gate when it is committed.
type gatedTxn struct {
	g    *gate
	ctx  context.Context
	cmps []clientv3.Cmp
	then []clientv3.Op
	or   []clientv3.Op
}

func (t *gatedTxn) If(c ...clientv3.Cmp) clientv3.Txn  { t.cmps = append(t.cmps, c...); return t }
func (t *gatedTxn) Then(o ...clientv3.Op) clientv3.Txn { t.then = append(t.then, o...); return t }
func (t *gatedTxn) Else(o ...clientv3.Op) clientv3.Txn { t.or = append(t.or, o...); return t }

func (t *gatedTxn) Commit() (*clientv3.TxnResponse, error) {
	return write(t.g, t.ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return t.g.KV.Txn(ctx).If(t.cmps...).Then(t.then...).Else(t.or...).Commit()
	})
}
