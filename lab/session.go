package lab

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// sessions keeps one session to each member: tests ask fifty times a second who is primary, and a new session
// for each would take the processor from what they look at.
type sessions struct {
	mu sync.Mutex
	of map[Place]*session
}

type session struct {
	mu     sync.Mutex
	conn   *pgx.Conn // nil while there is none
	failed error     // of the last attempt to connect
	at     time.Time // when that was
}

// askMost is how long a member may take to answer a question, and askPause how long one is left alone that could
// not be connected to: a server that starts begins a process for each who asks.
const (
	askMost  = 5 * time.Second
	askPause = 100 * time.Millisecond
)

func (k *sessions) to(p Place) *session {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil {
		k.of = map[Place]*session{}
	}
	if k.of[p] == nil {
		k.of[p] = &session{}
	}
	return k.of[p]
}

// ask asks the member of a site, over a session that is kept.
func (l *Lab) ask(ctx context.Context, p Place, sql string) ([][]string, error) {
	k := l.sessions.to(p)
	k.mu.Lock()
	defer k.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, askMost)
	defer cancel()
	if k.conn != nil {
		if rows, err := k.query(ctx, p, sql); err == nil || ctx.Err() != nil {
			return rows, err
		} // the server may have begun anew since it was asked last, and this says nothing of the one that runs
	}
	if k.failed != nil && time.Since(k.at) < askPause {
		return nil, k.failed
	}
	k.conn, k.failed = l.connect(ctx, p, "postgres")
	if k.at = time.Now(); k.failed != nil {
		return nil, k.failed
	}
	return k.query(ctx, p, sql)
}

// query asks over the session, which ends with an error.
func (k *session) query(ctx context.Context, p Place, sql string) ([][]string, error) {
	rows, err := query(ctx, k.conn, p, sql)
	if err != nil {
		_ = k.conn.Close(ctx)
		k.conn = nil
	}
	return rows, err
}
