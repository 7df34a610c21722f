package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/situation"
)

// Database looks at PostgreSQL members. login returns, for "store/member", a connection
// string without host and port, such as "user=haechi_monitor password=… dbname=postgres
// sslmode=disable". With it one connection is kept and asked whether the member is in recovery.
// Where it is empty each look connects and asks for TLS: that needs no account, but costs
// the server a process. Whatever the server answers shows life, also that it is only starting.
func Database(login func(component string) string) Looker {
	type key struct{ id, address, conninfo string }
	members := keyed(func(k key) (*member, error) { return &member{address: k.address, conninfo: k.conninfo}, nil })
	return LookFunc(func(ctx context.Context, t situation.Target) (map[string]string, error) {
		var facts map[string]string
		var err error
		if conninfo := login(t.Component); conninfo == "" {
			facts, err = knock(ctx, t.Address)
		} else {
			m, _ := members(key{t.ID, t.Address, conninfo})
			facts, err = m.askRole(ctx)
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
	return map[string]string{}, knockOn(ctx, c)
}

func knockOn(ctx context.Context, c net.Conn) error {
	if err := until(ctx, c); err != nil {
		return err
	}
	if _, err := c.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// member is what is known of one target from the looks before. Of each thing that costs the server a process
// at most one is under way, however many look: when a host is busy more of them would keep it busy.
type member struct {
	address, conninfo string

	mu       sync.Mutex // guards what follows
	question *inquiry   // over the one session, which is made first where there is none; nil: none is under way
	knocking *inquiry   // over a connection that stands; nil: nobody knocks

	// Belongs to the question that is under way.
	idle   *session
	plain  bool      // it was last signed in to without TLS, where the connection string allows it
	canary string    // as it was read last; empty: there is none that may be read
	due    time.Time // when it is read next
}

// Once a question was without any answer for quiet, looks knock beside it. A knock that does not arrive within quiet is
// given up; one that arrived waits for stuck, since it has taken a process of a server that is late, and another
// would make it later. Where one is answered, and the question then was not for longer than stuck, that hangs on a
// connection from before a cut, and is begun anew.
const (
	quiet = 300 * time.Millisecond
	stuck = time.Second
)

// inquiry is something under way with a member. Several looks may wait for it.
type inquiry struct {
	cancel context.CancelFunc
	done   chan struct{}
	facts  map[string]string // once done is closed
	err    error

	mu   sync.Mutex // guards what follows
	last time.Time  // anything was heard, or it began
	next chan struct{}
}

func newInquiry(cancel context.CancelFunc) *inquiry {
	return &inquiry{cancel: cancel, done: make(chan struct{}), last: time.Now(), next: make(chan struct{})}
}

// end is called once.
func (t *inquiry) end(facts map[string]string, err error) {
	t.facts, t.err = facts, err
	close(t.done)
}

// heard tells all who wait that the member has said something.
func (t *inquiry) heard() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = time.Now()
	close(t.next)
	t.next = make(chan struct{})
}

func (t *inquiry) silent() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Since(t.last)
}

// wait returns with the next that is heard, or the end.
func (t *inquiry) wait(ctx context.Context) (map[string]string, error) {
	t.mu.Lock()
	next := t.next
	t.mu.Unlock()
	select {
	case <-t.done:
		return t.facts, t.err
	case <-next:
		return map[string]string{}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
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

// askRole waits for what the member says first: to the question that is under way or, once that is quiet, to a
// knock. A question goes on when nobody waits any more, for those who look next: to end it ends its session, and
// a new one costs the server more than the answer.
func (m *member) askRole(ctx context.Context) (map[string]string, error) {
	m.mu.Lock()
	t := m.question
	if t == nil {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), loginTime)
		t = newInquiry(cancel)
		m.question = t
		go m.ask(within, t)
	}
	m.mu.Unlock()
	if left := quiet - t.silent(); left > 0 {
		patient, cancel := context.WithTimeout(ctx, left)
		defer cancel()
		facts, err := t.wait(patient)
		if err == nil || patient.Err() == nil || ctx.Err() != nil {
			return facts, err
		}
	}
	return first(ctx, t.wait, m.knock)
}

// first is the first answer of two, or, where there is none, why a connection was refused, if it was.
func first(ctx context.Context, ways ...func(context.Context) (map[string]string, error)) (map[string]string, error) {
	type answer struct {
		facts map[string]string
		err   error
	}
	answers := make(chan answer, len(ways))
	for _, way := range ways {
		go func() {
			facts, err := way(ctx)
			answers <- answer{facts, err}
		}()
	}
	var failed error
	for range ways {
		a := <-answers
		if a.err == nil {
			return a.facts, nil
		}
		if failed == nil || refused(a.err) {
			failed = a.err
		}
	}
	return nil, failed
}

// knock waits for an answer to the knock that is under way, or to its own. To connect costs the server nothing, so
// each look does; only then, when it takes a process, it stands back if another was faster.
func (m *member) knock(ctx context.Context) (map[string]string, error) {
	m.mu.Lock()
	t := m.knocking
	m.mu.Unlock()
	if t != nil {
		return t.wait(ctx)
	}
	c, err := (&net.Dialer{Control: agent.GiveUpAfter(quiet)}).DialContext(ctx, "tcp", m.address)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	if t = m.knocking; t == nil {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), stuck)
		t = newInquiry(cancel)
		m.knocking = t
		go m.knockOn(within, t, c)
	} else {
		defer c.Close()
	}
	m.mu.Unlock()
	return t.wait(ctx)
}

func (m *member) knockOn(ctx context.Context, t *inquiry, c net.Conn) {
	defer t.cancel()
	defer c.Close()
	err := knockOn(ctx, c)
	m.mu.Lock()
	m.knocking = nil
	if q := m.question; err == nil && q != nil && q.silent() >= stuck {
		q.cancel()
	}
	m.mu.Unlock()
	t.end(map[string]string{}, err)
}

// ask asks over the idle session, or signs in for the next question where there is none or the other side has
// ended it.
func (m *member) ask(ctx context.Context, t *inquiry) {
	defer t.cancel()
	if s := m.idle; s != nil {
		m.idle = nil
		facts, err := s.role(ctx)
		if err == nil {
			m.answered(ctx, t, s, facts)
			return
		}
		go func() { _ = s.Close() }()
		if late(ctx, err) {
			m.over(t, nil, err)
			return
		}
	}
	s, err := m.signIn(ctx, t)
	if _, said := errors.AsType[*pgconn.PgError](err); said {
		err = nil
	}
	m.idle = s
	m.over(t, map[string]string{}, err)
}

// over ends a question, and lets the next begin.
func (m *member) over(t *inquiry, facts map[string]string, err error) {
	m.mu.Lock()
	m.question = nil
	m.mu.Unlock()
	t.end(facts, err)
}

// answered tells the role, and reads the canary after that where it is due. That is a question of its own: its table
// may be locked, and what was seen of the member counts without it.
func (m *member) answered(ctx context.Context, t *inquiry, s *session, role map[string]string) {
	facts := func() map[string]string {
		out := maps.Clone(role)
		if m.canary != "" {
			out[situation.FactCanary] = m.canary
		}
		return out
	}
	now := time.Now()
	if now.Before(m.due) {
		m.idle = s
		m.over(t, facts(), nil)
		return
	}
	next := newInquiry(t.cancel)
	m.mu.Lock()
	m.question = next
	m.mu.Unlock()
	t.end(facts(), nil)
	var err error
	m.canary, err = s.canary(ctx, m.canary != "")
	m.due = now.Add(canaryEvery)
	if m.canary == "" {
		m.due = now.Add(canarySeldom)
	}
	if _, said := errors.AsType[*pgconn.PgError](err); err == nil || said {
		m.idle = s
		m.over(next, facts(), nil)
		return
	}
	go func() { _ = s.Close() }()
	m.over(next, nil, err)
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

// How often a member's canary is read, and how often it is looked for where there is none. Where somebody holds
// a lock on its table that is given up after canaryLock.
const (
	canaryEvery  = time.Second
	canarySeldom = 10 * time.Second
	canaryLock   = "100" // ms
)

// The canary is looked for before it is read: a question about a table that is not there, or may not be
// read, would stand in the server's log as an error, again and again.
const (
	canaryThere = `SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = 'haechi' AND c.relname = 'canary' AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')`
	canaryNow = `SELECT seq, (extract(epoch FROM at) * 1000)::bigint FROM haechi.canary ORDER BY at DESC LIMIT 1`
)

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

// rows asks, within ctx's deadline, or until it is cancelled. Both end the connection's own; to have it watch the
// context would cost more than the question.
func (s session) rows(ctx context.Context, sql string) ([][]string, error) {
	if err := until(ctx, s.Conn()); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = s.Conn().SetDeadline(time.Unix(1, 0)) })()
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

// signIn connects. Whatever the server says meanwhile is heard.
func (m *member) signIn(ctx context.Context, t *inquiry) (*session, error) {
	host, port, err := net.SplitHostPort(m.address)
	if err != nil {
		return nil, err
	}
	conf, err := pgconn.ParseConfig(fmt.Sprintf("%s host=%s port=%s", m.conninfo, host, port))
	if err != nil {
		return nil, err
	}
	if m.plain && len(conf.Fallbacks) > 0 { // to be refused TLS first costs the server a process
		conf.TLSConfig, conf.Fallbacks = nil, nil
	}
	conf.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &listening{Conn: c, heard: t.heard}, nil
	}
	conf.ConnectTimeout = loginTime
	conf.RuntimeParams["application_name"] = "haechi probe"
	conf.RuntimeParams["lock_timeout"] = canaryLock
	c, err := pgconn.ConnectConfig(ctx, conf)
	m.plain = false
	if err != nil {
		return nil, err
	}
	_, tls := c.Conn().(*tls.Conn)
	m.plain = !tls
	return &session{c}, nil
}

// listening tells what it reads.
type listening struct {
	net.Conn
	heard func()
}

func (l *listening) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if n > 0 {
		l.heard()
	}
	return n, err
}
