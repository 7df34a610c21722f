package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
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
	sessions := keyed(func(string) (*sessions, error) { return &sessions{}, nil })
	return LookFunc(func(ctx context.Context, t situation.Target) (map[string]string, error) {
		var facts map[string]string
		var err error
		if conninfo := login(t.Component); conninfo == "" {
			facts, err = knock(ctx, t.Address)
		} else {
			s, _ := sessions(t.ID)
			facts, err = s.ask(ctx, t.Address, conninfo)
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
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return nil, cmpCause(ctx, err)
	}
	return map[string]string{}, nil
}

// cmpCause prefers the reason why a look was ended to what the connection says of it.
func cmpCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// sessions keeps at most one idle connection to a member.
type sessions struct {
	mu   sync.Mutex // guards idle
	idle *pgconn.PgConn
}

// loginTime is how long a connection may take to be ready. It is longer than a look: behind a
// slow link signing in takes several round trips, of which the first shows life.
const loginTime = 5 * time.Second

const query = "SELECT pg_is_in_recovery()"

func (s *sessions) take() *pgconn.PgConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.idle
	s.idle = nil
	return c
}

func (s *sessions) put(c *pgconn.PgConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle != nil {
		go hangUp(c)
		return
	}
	s.idle = c
}

// hangUp closes a connection, also one that nobody answers on any more.
func hangUp(c *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx)
}

// ask uses the idle connection, or makes a new one. One that fails is given up.
func (s *sessions) ask(ctx context.Context, address, conninfo string) (map[string]string, error) {
	if c := s.take(); c != nil {
		facts, err := s.use(ctx, c)
		if err == nil || ctx.Err() != nil {
			return facts, err
		}
		// The server ended it meanwhile; that says nothing of now.
	}
	return s.open(ctx, address, conninfo)
}

func (s *sessions) use(ctx context.Context, c *pgconn.PgConn) (map[string]string, error) {
	results, err := c.Exec(ctx, query).ReadAll()
	if err != nil {
		go hangUp(c)
		return nil, cmpCause(ctx, err)
	}
	s.put(c)
	role := situation.RolePrimary
	if len(results) == 1 && len(results[0].Rows) == 1 && string(results[0].Rows[0][0]) == "t" {
		role = "follower"
	}
	return map[string]string{situation.FactRole: role}, nil
}

// open connects, and returns as soon as the server has said anything. The
// connection goes on to become ready, for the next look.
func (s *sessions) open(ctx context.Context, address, conninfo string) (map[string]string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	conf, err := pgconn.ParseConfig(fmt.Sprintf("%s host=%s port=%s", conninfo, host, port))
	if err != nil {
		return nil, err
	}
	spoke := make(chan struct{})
	conf.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &listening{Conn: c, spoke: sync.OnceFunc(func() { close(spoke) })}, nil
	}
	conf.ConnectTimeout = loginTime
	conf.RuntimeParams["application_name"] = "haechi probe"
	return s.connect(ctx, conf, spoke)
}

func (s *sessions) connect(ctx context.Context, conf *pgconn.Config, spoke <-chan struct{}) (map[string]string, error) {
	failed := make(chan error, 1)
	dial, cancel := context.WithTimeout(context.WithoutCancel(ctx), loginTime)
	go func() {
		defer cancel()
		c, err := pgconn.ConnectConfig(dial, conf)
		if err == nil {
			s.put(c)
		}
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
