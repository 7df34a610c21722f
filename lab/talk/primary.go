package talk

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"
)

// How the gateway keeps itself informed of which host is the primary.
const (
	askEvery   = 100 * time.Millisecond // while the primary answers
	askUrgent  = 40 * time.Millisecond  // while it does not
	askSeldom  = 250 * time.Millisecond // one that refuses: each time costs it a process that it needs to come up, or to end
	askTimeout = 300 * time.Millisecond // after which a host that owes an answer counts as silent
	askMost    = 2 * time.Second        // after which it is asked over a new connection: one more costs a busy host more than it has
	dialWithin = 250 * time.Millisecond // for one TCP handshake
	silentFor  = 200 * time.Millisecond // after which the others are asked urgently
	unackedFor = 500 * time.Millisecond // unacknowledged bytes for so long end a connection: the far host is gone
)

// sight is what one host said when it was last asked.
type sight struct {
	Host     string
	Writable bool
	Timeline uint32 // of a writable host
	Err      string // why there is no answer; empty when there is one
	At       time.Time
}

// belief is which host sends go to. An empty host means that none is known to
// take writes; the timeline then still is the newest that was ever seen.
type belief struct {
	Host     string
	Timeline uint32
}

// believe folds one sight into a belief. A writable host of a newer timeline
// always wins, one of an older timeline never does: it is a former primary that
// does not know it yet. Silence changes nothing, since a primary that cannot be
// heard for a moment may still acknowledge what was sent to it.
func believe(now belief, s sight) belief {
	switch {
	case s.Err != "":
		return now
	case s.Writable && s.Timeline > now.Timeline:
		return belief{s.Host, s.Timeline}
	case s.Writable && s.Timeline == now.Timeline && now.Host == "":
		return belief{s.Host, s.Timeline}
	case !s.Writable && s.Host == now.Host:
		return belief{"", now.Timeline}
	}
	return now
}

// askSQL answers the timeline in hexadecimal, or nothing where writes are
// refused. It works on primaries and standbys, and needs no rights.
const askSQL = `SELECT CASE WHEN pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' THEN ''
	ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END`

// watcher asks every host of the connection string whether it takes writes.
type watcher struct {
	hosts   []*pgconn.Config // one for each host:port
	changed func(belief)     // called from one goroutine at a time, in order

	mu     sync.Mutex
	now    belief
	sights map[string]sight
	beat   chan struct{} // closed when the primary next answers
}

// Run asks until ctx ends.
func (w *watcher) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, h := range w.hosts {
		all.Go(func() { w.ask(ctx, h) })
	}
	all.Wait()
}

// ask keeps one cheap connection to one host and asks over it.
func (w *watcher) ask(ctx context.Context, c *pgconn.Config) {
	var conn *pgconn.PgConn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	for ctx.Err() == nil {
		s := sight{Host: address(c.Host, c.Port)}
		late := sight{Host: s.Host, At: time.Now().Add(askTimeout), Err: "no answer yet"}
		tell := time.AfterFunc(askTimeout, func() { w.saw(late) })
		var err error
		s.Writable, s.Timeline, err = askOnce(ctx, &conn, c)
		tell.Stop()
		if s.At = time.Now(); err != nil {
			s.Err = err.Error()
		}
		w.saw(s)
		wait(ctx, w.pause(s))
	}
}

// askOnce asks over *conn, which it opens where it is nil and drops on failure.
func askOnce(ctx context.Context, conn **pgconn.PgConn, c *pgconn.Config) (writable bool, timeline uint32, err error) {
	ctx, cancel := context.WithTimeout(ctx, askMost)
	defer cancel()
	if *conn == nil {
		opened, err := pgconn.ConnectConfig(ctx, c)
		if err != nil {
			return false, 0, err
		}
		if _, err := opened.Prepare(ctx, "ask", askSQL, nil); err != nil {
			_ = opened.Close(ctx)
			return false, 0, err
		}
		*conn = opened
	}
	got := (*conn).ExecPrepared(ctx, "ask", nil, nil, nil).Read()
	if got.Err != nil {
		_ = (*conn).Close(ctx)
		*conn = nil
		return false, 0, got.Err
	}
	if len(got.Rows) != 1 {
		return false, 0, fmt.Errorf("talk: asked for the timeline, got %d rows", len(got.Rows))
	}
	word := string(got.Rows[0][0])
	if word == "" {
		return false, 0, nil
	}
	n, err := strconv.ParseUint(word, 16, 32)
	if err != nil {
		return false, 0, fmt.Errorf("talk: timeline %q: %w", word, err)
	}
	return true, uint32(n), nil
}

// saw folds s in and tells of a change.
func (w *watcher) saw(s sight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.At.Before(w.sights[s.Host].At) {
		return // that it was late, heard after its answer
	}
	w.sights[s.Host] = s
	if s.Writable {
		close(w.beat)
		w.beat = make(chan struct{})
	}
	if next := believe(w.now, s); next != w.now {
		w.now = next
		w.changed(next)
	}
}

// answered is nil where a host answered when it was last asked. To connect to one that is starting, or is too busy to
// answer, costs it a process each time, of which it has none to spare: the watcher alone knocks there.
func (w *watcher) answered(host string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, known := w.sights[host]
	switch {
	case !known:
		return fmt.Errorf("%s was not asked yet", host)
	case s.Err != "":
		return fmt.Errorf("%s does not answer: %s", host, s.Err)
	}
	return nil
}

// Alive returns when the primary of g has answered after since and not failed
// again, when g is over, or when ctx ends.
func (w *watcher) Alive(ctx context.Context, g *generation, since time.Time) {
	for {
		w.mu.Lock()
		p, beat := w.sights[g.Host], w.beat
		w.mu.Unlock()
		if p.Err == "" && p.At.After(since) {
			return
		}
		select {
		case <-beat:
		case <-g.ctx.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// pause says how long to leave the host of s alone: less while the primary
// itself is silent, since then the next answer ends an outage.
func (w *watcher) pause(s sight) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, known := w.sights[w.now.Host]
	switch {
	case s.Err != "":
		return askSeldom
	case !known || p.Err != "" || s.At.Sub(p.At) >= silentFor:
		return askUrgent
	}
	return askEvery
}

// Sights returns what each host last said, keyed by host:port.
func (w *watcher) Sights() (belief, map[string]sight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make(map[string]sight, len(w.sights))
	for k, v := range w.sights {
		out[k] = v
	}
	return w.now, out
}

// each splits a multi-host configuration into one configuration for each host,
// without the demand that the host take writes.
func each(c *pgconn.Config) []*pgconn.Config {
	var out []*pgconn.Config
	for _, f := range alternatives(c) {
		if n := len(out); n > 0 && out[n-1].Host == f.Host && out[n-1].Port == f.Port {
			out[n-1].Fallbacks = append(out[n-1].Fallbacks, f) // the same host without TLS
			continue
		}
		one := c.Copy()
		one.Host, one.Port, one.TLSConfig, one.Fallbacks = f.Host, f.Port, f.TLSConfig, nil
		one.ValidateConnect = nil
		out = append(out, one)
	}
	return out
}

// alternatives lists all that the configuration would try, in its order.
func alternatives(c *pgconn.Config) []*pgconn.FallbackConfig {
	first := &pgconn.FallbackConfig{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}
	return append([]*pgconn.FallbackConfig{first}, c.Fallbacks...)
}

// dialer makes connections that end soon after the far host is gone, however it
// went: a burnt host sends no FIN.
func dialer(local net.Addr, within time.Duration) *net.Dialer {
	return &net.Dialer{
		LocalAddr: local,
		Timeout:   within,
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: time.Second, Interval: time.Second, Count: 2,
		},
		Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			if e := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unackedFor.Milliseconds()))
			}); e != nil {
				return e
			}
			return err
		},
	}
}

func address(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// wait returns after d or when ctx ends, whichever is first.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
