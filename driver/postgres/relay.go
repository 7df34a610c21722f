package postgres

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/haechi/haechi/agent"
)

// taken bounds and counts what is taken off a source.
type taken struct {
	limit *rate.Limiter
	bytes atomic.Int64
}

// burst is how much passes at once.
const burst = 256 << 10

// newTaken lets so many bytes pass in a second; 0: as many as come.
func newTaken(perSecond int64) *taken {
	if perSecond <= 0 {
		return &taken{limit: rate.NewLimiter(rate.Inf, burst)}
	}
	return &taken{limit: rate.NewLimiter(rate.Limit(perSecond), burst)}
}

// from is a connection to the source of which each byte read is counted and bounded: whoever sends too fast
// finds the window full.
func (t *taken) from(ctx context.Context, c net.Conn) net.Conn { return &bounded{c, ctx, t} }

type bounded struct {
	net.Conn
	ctx context.Context //nolint:containedctx // of the attempt that the connection belongs to
	t   *taken
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p[:min(len(p), burst)])
	b.t.bytes.Add(int64(n))
	if n > 0 {
		if werr := b.t.limit.WaitN(b.ctx, n); werr != nil {
			return n, fmt.Errorf("the attempt is over: %w", werr)
		}
	}
	return n, err
}

// deafAfter is how long a source may be silent, or not acknowledge, before its connection is given up.
const deafAfter = 10 * time.Second

// dialSource connects to a source. One whose machine burned is noticed soon.
func dialSource(ctx context.Context, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: deafAfter / 2, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: deafAfter / 5, Interval: deafAfter / 5, Count: 4},
		Control: agent.GiveUpAfter(deafAfter)}
	return d.DialContext(ctx, "tcp", address)
}

// relay lets a program on this host reach a source, within bounds. It listens on loopback only; who else
// finds it there gets no further than to the source's door.
type relay struct {
	listen net.Listener
	end    context.CancelFunc
	ended  sync.WaitGroup
}

// startRelay begins to pass on what comes to [relay.port]. Close ends it.
func startRelay(ctx context.Context, source string, t *taken) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	ctx, end := context.WithCancel(ctx)
	r := &relay{listen: l, end: end}
	r.ended.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.ended.Go(func() { pass(ctx, c, source, t) })
		}
	})
	return r, nil
}

func (r *relay) port() string {
	_, port, _ := net.SplitHostPort(r.listen.Addr().String())
	return port
}

func (r *relay) close() {
	r.end()
	_ = r.listen.Close()
	r.ended.Wait()
}

// pass carries one connection both ways until one side ends it, or ctx does.
func pass(ctx context.Context, near net.Conn, source string, t *taken) {
	defer near.Close()
	far, err := dialSource(ctx, source)
	if err != nil {
		return // the program sees a connection that ends, and says so
	}
	defer far.Close()
	defer context.AfterFunc(ctx, func() { _ = near.Close(); _ = far.Close() })()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
	both.Go(func() { _, _ = io.Copy(near, t.from(ctx, far)); _ = near.Close() })
	both.Wait()
}
