package postgres

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// visits is how long a connection for looks at data is used from when it was opened, and kept where nobody asks. Who
// drops its database has to wait for that long, which PostgreSQL does for five seconds; nobody comes in meanwhile.
const visits = 2 * time.Second

// visitor is a connection for looks at data, kept from one question to the next: to open one costs the server more
// than most questions.
type visitor struct {
	*pgconn.PgConn
	database string
	until    time.Time
	end      *time.Timer // while it is kept
}

// visit returns the connection to a database that is kept, or a new one.
func (l *local) visit(ctx context.Context, database string) (*visitor, error) {
	l.mu.Lock()
	v := l.kept[database]
	delete(l.kept, database)
	l.mu.Unlock()
	if v != nil && v.end.Stop() { // else its end has come, and somebody ends it just now
		if v.CheckConn() == nil {
			return v, nil
		}
		closeSoon(v.PgConn)
	}
	until := time.Now().Add(visits)
	c, err := l.reader(ctx, database)
	if err != nil {
		return nil, err
	}
	return &visitor{PgConn: c, database: database, until: until}, nil
}

// leave keeps a connection for the next question, one for a database, or ends it.
func (l *local) leave(v *visitor) {
	rest := time.Until(v.until)
	l.mu.Lock()
	keep := rest > 0 && l.kept[v.database] == nil && !v.IsClosed() && v.TxStatus() == 'I'
	if keep {
		if l.kept == nil {
			l.kept = map[string]*visitor{}
		}
		v.end = time.AfterFunc(rest, func() { l.dismiss(v) })
		l.kept[v.database] = v
	}
	l.mu.Unlock()
	if !keep {
		closeSoon(v.PgConn)
	}
}

// dismiss ends a connection whose time is over.
func (l *local) dismiss(v *visitor) {
	l.mu.Lock()
	if l.kept[v.database] == v {
		delete(l.kept, v.database)
	}
	l.mu.Unlock()
	closeSoon(v.PgConn)
}

// dropKept ends the connections for looks: the member is made something else.
func (l *local) dropKept() {
	l.mu.Lock()
	kept := l.kept
	l.kept = nil
	l.mu.Unlock()
	for _, v := range kept {
		if v.end.Stop() {
			closeSoon(v.PgConn)
		}
	}
}

// ownThread is the thread that asks, for [queued].
const ownThread = "thread-self"

// queued is for how long a process of this host was ready to work so far and no processor was free: on a busy host it
// is most of the time that passes, and costs nobody anything. Where the kernel does not say, it is 0.
func queued(process string) time.Duration {
	raw, err := os.ReadFile("/proc/" + process + "/schedstat")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(raw)) // on a processor, ready, how often
	if len(f) < 2 {
		return 0
	}
	n, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n)
}

// backend is the process of the server that serves a connection.
func backend(c *pgconn.PgConn) string { return strconv.FormatUint(uint64(c.PID()), 10) }
