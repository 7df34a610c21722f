package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/core/situation"
)

// Database looks at PostgreSQL members. login returns, for "store/member", a connection
// string without host and port, such as "user=haechi_monitor password=… dbname=postgres
// sslmode=disable". With it one connection is kept and asked whether the member is in recovery.
// Where it is empty each look connects and asks for TLS: that needs no account, but costs
// the server a process. Whatever the server answers shows life, also that it is only starting.
func Database(login func(component string) string) Looker {
	members := keyed(func(situation.Target) (*member, error) { return &member{}, nil })
	return LookFunc(func(ctx context.Context, t situation.Target) (map[string]string, error) {
		var facts map[string]string
		var err error
		if conninfo := login(t.Component); conninfo == "" {
			facts, err = knock(ctx, t.Address)
		} else {
			m, _ := members(t)
			facts, err = m.askRole(ctx, t.Address, conninfo)
		}
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", t.ID, err)
		}
		return facts, nil
	})
}

// knock connects and asks whether the server speaks TLS. It answers with one byte.
func knock(ctx context.Context, address string) (map[string]string, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := until(ctx, c); err != nil {
		return nil, err
	}
	if _, err := c.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return nil, err
	}
	return map[string]string{}, nil
}

// member is what is known of one target from the looks before.
type member struct {
	spare[session]
	plain atomic.Bool // it was last signed in to without TLS, where the connection string allows it

	mu     sync.Mutex // guards what follows
	canary string     // as it was read last; empty: there is none that may be read
	due    time.Time  // when it is read next
}

// session is a connection that was signed in.
type session struct{ *pgconn.PgConn }

// Close also closes a connection on which nobody answers any more.
func (s session) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.PgConn.Close(ctx)
}

// loginTime is how long a connection may take to be ready. It is longer than a look: behind a
// slow link signing in takes several round trips, of which the first shows life.
const loginTime = 5 * time.Second

const inRecovery = "SELECT pg_is_in_recovery()"

// askRole uses the idle session. Where there is none it opens one for the next look, and is
// content with the first that the server says.
func (m *member) askRole(ctx context.Context, address, conninfo string) (map[string]string, error) {
	if s, ok := m.take(); ok {
		facts, err := s.role(ctx)
		m.back(s, err == nil && m.addCanary(ctx, s, facts))
		if err == nil || late(ctx, err) {
			return facts, err
		}
	}
	return m.signIn(ctx, address, conninfo)
}

func (s session) role(ctx context.Context) (map[string]string, error) {
	rows, err := s.rows(ctx, inRecovery)
	if err != nil {
		return nil, err
	}
	role := situation.RolePrimary
	if len(rows) == 1 && len(rows[0]) == 1 && rows[0][0] == "t" {
		role = "follower"
	}
	return map[string]string{situation.FactRole: role}, nil
}

// How often a member's canary is read, and how often it is looked for where there is none, and how long
// that may take: what was seen of the member counts without it.
const (
	canaryEvery  = time.Second
	canarySeldom = 10 * time.Second
	canaryTime   = 100 * time.Millisecond
)

// The canary is looked for before it is read: a question about a table that is not there, or may not be
// read, would stand in the server's log as an error, again and again.
const (
	canaryThere = `SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = 'haechi' AND c.relname = 'canary' AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')`
	canaryNow = `SELECT seq, (extract(epoch FROM at) * 1000)::bigint FROM haechi.canary ORDER BY at DESC LIMIT 1`
)

// addCanary adds the canary that the member holds, a second old at most, and says whether the session
// is still good.
func (m *member) addCanary(ctx context.Context, s session, facts map[string]string) (good bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	good = true
	if now := time.Now(); !now.Before(m.due) {
		ctx, cancel := context.WithTimeout(ctx, canaryTime)
		defer cancel()
		var err error
		m.canary, err = s.canary(ctx, m.canary != "")
		m.due = now.Add(canaryEvery)
		if m.canary == "" {
			m.due = now.Add(canarySeldom)
		}
		_, answered := errors.AsType[*pgconn.PgError](err)
		good = err == nil || answered
	}
	if m.canary != "" {
		facts[situation.FactCanary] = m.canary
	}
	return good
}

// canary reads it where it is there; empty: it is not.
func (s session) canary(ctx context.Context, there bool) (string, error) {
	if !there {
		rows, err := s.rows(ctx, canaryThere)
		if err != nil || len(rows) == 0 {
			return "", err
		}
	}
	rows, err := s.rows(ctx, canaryNow)
	if err != nil || len(rows) != 1 || len(rows[0]) != 2 {
		return "", err
	}
	return rows[0][0] + " " + rows[0][1], nil
}

// rows asks, within ctx's deadline. That ends it; watching the context as well would cost more than
// the question.
func (s session) rows(ctx context.Context, sql string) ([][]string, error) {
	if err := until(ctx, s.Conn()); err != nil {
		return nil, err
	}
	results, err := s.Exec(context.WithoutCancel(ctx), sql).ReadAll()
	if err != nil || len(results) != 1 {
		return nil, err
	}
	var out [][]string
	for _, row := range results[0].Rows {
		var texts []string
		for _, v := range row {
			texts = append(texts, string(v))
		}
		out = append(out, texts)
	}
	return out, nil
}

// signIn connects, and returns as soon as the server has said anything. The
// connection goes on to become ready.
func (m *member) signIn(ctx context.Context, address, conninfo string) (map[string]string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	conf, err := pgconn.ParseConfig(fmt.Sprintf("%s host=%s port=%s", conninfo, host, port))
	if err != nil {
		return nil, err
	}
	if m.plain.Load() && len(conf.Fallbacks) > 0 { // to be refused TLS first costs the server a process
		conf.TLSConfig, conf.Fallbacks = nil, nil
	}
	spoke := make(chan struct{})
	once := sync.OnceFunc(func() { close(spoke) }) // a server without TLS is dialled a second time
	conf.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &listening{Conn: c, spoke: once}, nil
	}
	conf.ConnectTimeout = loginTime
	conf.RuntimeParams["application_name"] = "haechi probe"
	return m.connect(ctx, conf, spoke)
}

func (m *member) connect(ctx context.Context, conf *pgconn.Config, spoke <-chan struct{}) (map[string]string, error) {
	failed := make(chan error, 1)
	dial, cancel := context.WithTimeout(context.WithoutCancel(ctx), loginTime)
	go func() {
		defer cancel()
		c, err := pgconn.ConnectConfig(dial, conf)
		plain := false
		if err == nil {
			_, tls := c.Conn().(*tls.Conn)
			plain = !tls
			m.back(session{c}, true)
		}
		m.plain.Store(plain)
		failed <- err
	}()
	select {
	case <-spoke:
		return map[string]string{}, nil
	case err := <-failed:
		if _, ok := errors.AsType[*pgconn.PgError](err); ok || err == nil {
			return map[string]string{}, nil
		}
		return nil, err
	case <-ctx.Done():
		cancel() // nothing was heard; a connection that begins later has better chances
		return nil, context.Cause(ctx)
	}
}

// listening tells when the first byte has come.
type listening struct {
	net.Conn
	spoke func()
}

func (l *listening) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if n > 0 {
		l.spoke()
	}
	return n, err
}
