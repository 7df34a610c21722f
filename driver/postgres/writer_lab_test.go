//go:build lab

package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// writer inserts rows one after another on whatever member takes writes, and keeps which
// were acknowledged: committed without a warning.
type writer struct {
	c      *cluster
	first  int64
	mu     sync.Mutex
	acked  map[int64]ack
	stop   context.CancelFunc
	ended  sync.WaitGroup
	commit time.Duration // how long a commit may wait; 0 for ever
	host   string
	dial   pgconn.DialFunc // nil: from where the test is
}

type ack struct {
	at     time.Time
	member string
}

// write starts n writers; each stays on the members given, in turn.
func (c *cluster) write(n int, members ...string) *writer {
	return c.writeFrom(n, "127.0.0.1", nil, members...)
}

// writeFrom has the writers come from elsewhere.
func (c *cluster) writeFrom(n int, host string, dial pgconn.DialFunc, members ...string) *writer {
	ctx, cancel := context.WithCancel(context.Background())
	w := &writer{c: c, acked: map[int64]ack{}, stop: cancel, host: host, dial: dial}
	for i := range n {
		w.ended.Go(func() { w.loop(ctx, int64(i+1)<<32, members) })
	}
	c.t.Cleanup(w.end)
	return w
}

func (w *writer) end() { w.stop(); w.ended.Wait() }

func (w *writer) loop(ctx context.Context, id int64, members []string) {
	for turn := 0; ctx.Err() == nil; turn++ {
		m := w.c.members[members[turn%len(members)]]
		id = w.on(ctx, m, id)
		_ = pause(ctx, 10*time.Millisecond)
	}
}

// on writes to one member until it fails; an id is used until it is acknowledged.
func (w *writer) on(ctx context.Context, m *member, id int64) int64 {
	warned := false
	conf, err := pgconn.ParseConfig(fmt.Sprintf("host=%s port=%d user=talk password=talk dbname=postgres sslmode=disable connect_timeout=1 target_session_attrs=read-write", w.host, m.port))
	if err != nil {
		return id
	}
	if w.dial != nil {
		conf.DialFunc = w.dial
	}
	conf.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { warned = warned || n.Severity == "WARNING" }
	conn, err := pgconn.ConnectConfig(ctx, conf)
	if err != nil {
		return id
	}
	defer closeSoon(conn)
	for ctx.Err() == nil {
		warned = false
		c, cancel := ctx, context.CancelFunc(func() {})
		if w.commit > 0 {
			c, cancel = context.WithTimeout(ctx, w.commit)
		}
		_, err := conn.Exec(c, fmt.Sprintf("INSERT INTO w (id) VALUES (%d) ON CONFLICT (id) DO UPDATE SET at = now()", id)).ReadAll()
		cancel()
		if err != nil {
			return id
		}
		if warned {
			continue
		}
		w.mu.Lock()
		w.acked[id] = ack{time.Now(), m.name}
		w.mu.Unlock()
		id++
	}
	return id
}

// since counts acknowledgements by members after t, and tells the first.
func (w *writer) since(t time.Time, members ...string) (n int, first time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.acked {
		for _, m := range members {
			if a.member == m && a.at.After(t) {
				n++
				if first.IsZero() || a.at.Before(first) {
					first = a.at
				}
			}
		}
	}
	return n, first
}

// gap is the longest time between two acknowledgements.
func (w *writer) gap(from time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var at []time.Time
	for _, a := range w.acked {
		if a.at.After(from) {
			at = append(at, a.at)
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	var longest time.Duration
	for i := 1; i < len(at); i++ {
		longest = max(longest, at[i].Sub(at[i-1]))
	}
	return longest
}

// lost are the acknowledged ids that a member does not have.
func (w *writer) lost(m *member) []int64 {
	w.c.t.Helper()
	have := map[string]bool{}
	for _, r := range m.sql("SELECT id FROM public.w") {
		have[r[0]] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []int64
	for id := range w.acked {
		if !have[strconv.FormatInt(id, 10)] {
			out = append(out, id)
		}
	}
	return out
}
