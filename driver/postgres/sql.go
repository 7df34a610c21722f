package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// local is how the agent speaks to its member: over the unix socket, as the
// operating system's user of the server, with every wait bounded.
type local struct {
	socket string
	port   int

	mu    sync.Mutex // guards what follows
	idle  []*pgconn.PgConn
	ident chan *pgconn.PgConn // a replication connection that is being opened; nil where it cannot be
	kept  map[string]*visitor // for looks at data, by database
}

// maxIdle connections are kept: one for looks, one for an act beside them, one for the proof of
// a seal's rule beside that. To open one costs the server more than a dozen questions.
const maxIdle = 3

// errNoSuperuser: the agent can neither see nor change what it has to.
var errNoSuperuser = errors.New("the role postgres, as which the agent connects, is no superuser and has to be one: ALTER ROLE postgres SUPERUSER, as another superuser or in single-user mode")

// dial opens a connection. With extra, for example replication=database.
func (l *local) dial(ctx context.Context, extra string) (*pgconn.PgConn, error) {
	return l.dialNoticed(ctx, extra, nil)
}

// dialNoticed does the same; notice is told what the server says beside its answers.
func (l *local) dialNoticed(ctx context.Context, extra string, notice func(*pgconn.Notice)) (*pgconn.PgConn, error) {
	conf, err := l.conf(extra)
	if err != nil {
		return nil, err
	}
	if notice != nil {
		conf.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notice(n) }
	}
	return dialSoon(ctx, conf)
}

// into opens a connection to another database than the usual one, which it is where none is named.
func (l *local) into(ctx context.Context, database string) (*pgconn.PgConn, error) {
	conf, err := l.conf("")
	if err != nil {
		return nil, err
	}
	conf.Database = cmp.Or(database, conf.Database)
	return dialSoon(ctx, conf)
}

// conf is how every local connection is made.
func (l *local) conf(extra string) (*pgconn.Config, error) {
	conf, err := pgconn.ParseConfig(fmt.Sprintf("host='%s' port=%d user=postgres database=postgres sslmode=disable passfile=/dev/null %s",
		strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(l.socket), l.port, extra))
	if err != nil {
		return nil, fmt.Errorf("local connection: %w", err)
	}
	conf.RuntimeParams["application_name"] = "haechi-agent"
	conf.RuntimeParams["statement_timeout"] = "2000"
	conf.RuntimeParams["lock_timeout"] = "1000"
	conf.RuntimeParams["log_statement"] = "none"
	conf.RuntimeParams["log_min_duration_statement"] = "-1"
	conf.RuntimeParams["jit"] = "off"
	conf.RuntimeParams["search_path"] = "pg_catalog"
	return conf, nil
}

// dialSoon connects at once or not at all: it is known soon then that a server hangs.
func dialSoon(ctx context.Context, conf *pgconn.Config) (*pgconn.PgConn, error) {
	return dialWithin(ctx, time.Second, conf)
}

// busy is how long a server may take for a session where nobody waits, and people would be asked if there were none.
const busy = 10 * time.Second

func dialWithin(ctx context.Context, most time.Duration, conf *pgconn.Config) (*pgconn.PgConn, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	c, err := pgconn.ConnectConfig(ctx, conf)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "42501" { // what is set above needs the right
		return nil, fmt.Errorf("local connection: %w (%w)", errNoSuperuser, err)
	}
	if err != nil {
		return nil, fmt.Errorf("local connection: %w", err)
	}
	return c, nil
}

// rows runs a statement and returns its rows as text; NULL is empty.
func (l *local) rows(ctx context.Context, sql string) ([][]string, error) {
	c, err := l.take(ctx)
	if err != nil {
		return nil, err
	}
	out, err := ask(ctx, c, sql)
	l.give(c)
	return out, err
}

// planned is rows for a long statement that is asked again and again: each connection keeps its plan
// under a name, since to parse and plan it costs the server more than to answer.
func (l *local) planned(ctx context.Context, name, sql string) ([][]string, error) {
	c, err := l.take(ctx)
	if err != nil {
		return nil, err
	}
	defer l.give(c)
	if c.CustomData()[name] == nil {
		if _, err := c.Prepare(ctx, name, sql, nil); err != nil {
			return nil, fmt.Errorf("local query: %w", err)
		}
		c.CustomData()[name] = true
	}
	r := c.ExecPrepared(ctx, name, nil, nil, nil).Read()
	if r.Err != nil {
		return nil, fmt.Errorf("local query: %w", r.Err)
	}
	return texts(r), nil
}

// value runs a statement that returns one value.
func (l *local) value(ctx context.Context, sql string) (string, error) {
	r, err := l.rows(ctx, sql)
	if err != nil {
		return "", err
	}
	if len(r) != 1 || len(r[0]) != 1 {
		return "", fmt.Errorf("local query: %d rows, want one value", len(r))
	}
	return r[0][0], nil
}

// take returns an idle connection that still stands, or a new one.
func (l *local) take(ctx context.Context) (*pgconn.PgConn, error) {
	for {
		l.mu.Lock()
		n := len(l.idle)
		if n == 0 {
			l.mu.Unlock()
			return l.dial(ctx, "")
		}
		c := l.idle[n-1]
		l.idle = l.idle[:n-1]
		l.mu.Unlock()
		if !c.IsClosed() && c.CheckConn() == nil {
			return c, nil
		}
		closeSoon(c)
	}
}

// give puts a connection back, or ends it where it broke or enough are idle.
func (l *local) give(c *pgconn.PgConn) {
	if c.IsClosed() {
		return
	}
	l.mu.Lock()
	keep := len(l.idle) < maxIdle
	if keep {
		l.idle = append(l.idle, c)
	}
	l.mu.Unlock()
	if !keep {
		closeSoon(c)
	}
}

// drop ends all idle connections: the server goes down.
func (l *local) drop() {
	l.mu.Lock()
	idle := l.idle
	l.idle = nil
	l.mu.Unlock()
	for _, c := range idle {
		closeSoon(c)
	}
	l.dropKept()
}

// closeSoon ends a connection without waiting for a server that may hang.
func closeSoon(c *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = c.Close(ctx)
}

// ask runs a simple query on c and returns the rows of its last result.
func ask(ctx context.Context, c *pgconn.PgConn, sql string) ([][]string, error) {
	results, err := c.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("local query: %w", err)
	}
	if len(results) == 0 {
		return nil, nil
	}
	return texts(results[len(results)-1]), nil
}

func texts(r *pgconn.Result) [][]string {
	out := make([][]string, len(r.Rows))
	for i, row := range r.Rows {
		out[i] = make([]string, len(row))
		for j, v := range row {
			out[i][j] = string(v)
		}
	}
	return out
}

// long runs a statement that may take as long as ctx lets it, on a connection of its own.
func (l *local) long(ctx context.Context, sql string) error {
	c, err := l.dial(ctx, "")
	if err != nil {
		return err
	}
	defer closeSoon(c)
	if _, err := ask(ctx, c, "SET statement_timeout = 0"); err != nil {
		return err
	}
	_, err = ask(ctx, c, sql)
	return err
}

// identify asks by the replication protocol for the timeline and how far the member holds
// it, received or replayed: the one place where PostgreSQL 15 says both of a standby.
func (l *local) identify(ctx context.Context) (timeline uint64, at LSN, err error) {
	c := l.takeReady()
	if c == nil || c.CheckConn() != nil {
		if c, err = l.dial(ctx, "replication=database"); err != nil {
			return 0, 0, err
		}
	}
	defer closeSoon(c)
	r, err := ask(ctx, c, "IDENTIFY_SYSTEM")
	if err != nil {
		return 0, 0, err
	}
	if len(r) != 1 || len(r[0]) < 3 {
		return 0, 0, fmt.Errorf("IDENTIFY_SYSTEM: %d rows", len(r))
	}
	at, err = ParseLSN(r[0][2])
	return toNumber(r[0][1]), at, err
}

// makeReady begins to open the connection for the next identify beforehand: where a process is
// dear, to begin one takes longer than the question. The returned function closes it where it was not used.
func (l *local) makeReady(ctx context.Context) (forget func()) {
	opening := make(chan *pgconn.PgConn, 1)
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	l.ident = opening
	l.mu.Unlock()
	go func() {
		c, err := l.dial(ctx, "replication=database")
		if err != nil {
			c = nil
		}
		opening <- c
		close(opening)
	}()
	return func() {
		cancel()
		l.mu.Lock()
		if l.ident == opening {
			l.ident = nil
		}
		l.mu.Unlock()
		if c := <-opening; c != nil {
			closeSoon(c)
		}
	}
}

// takeReady is what [local.makeReady] opened, once it stands; nil where nothing was made ready.
func (l *local) takeReady() *pgconn.PgConn {
	l.mu.Lock()
	opening := l.ident
	l.ident = nil
	l.mu.Unlock()
	if opening == nil {
		return nil
	}
	return <-opening
}

// quote writes a literal for SQL (standard_conforming_strings is always on for us).
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
