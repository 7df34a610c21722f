package talk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/singleflight"
)

// Connections of one gateway to one host. Few do: a send takes some milliseconds,
// and after a failover every connection that has to be opened first competes with
// the first acknowledgement for the processor.
const (
	poolMost     = 6
	poolWarm     = 4               // kept open to every host, the standbys too, statements prepared
	poolTends    = time.Second     // how often what is missing is opened again
	writeMost    = 5 * time.Second // for one write; the client has long been told to come back
	commitWithin = time.Second     // of the gateway that answers before it commits
)

// errUnconfirmed says that the server wrote the message but did not wait for a
// synchronous member to hold it. It may be lost, or not; send it again.
var errUnconfirmed = errors.New("the database did not confirm that another site holds the message")

// errDiffers says that an id was used before for another message.
var errDiffers = errors.New("this id belongs to another message")

// store is talk's side of the database. It keeps a pool for each host, so that a
// standby that is promoted finds its connections open. A change of primary
// cancels what still waits for the old one, and the senders go on with the new.
type store struct {
	variant Variant
	log     *slog.Logger
	watch   *watcher
	pools   map[string]*pgxpool.Pool // by host:port
	begun   singleflight.Group       // writes under way

	mu      sync.Mutex
	now     *generation   // nil while no primary is known
	number  int           // of the newest generation
	changed chan struct{} // closed at the next change
}

// generation is the time during which one host is the primary, as believed here.
type generation struct {
	belief
	number int
	pool   *pgxpool.Pool
	ctx    context.Context // ends with it
	end    context.CancelFunc
}

// openStore reads the connection string and begins to connect.
func openStore(dsn string, v Variant, log *slog.Logger) (*store, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("talk: connection string: %w", err)
	}
	tune(config, v)
	s := &store{variant: v, log: log, changed: make(chan struct{}), pools: map[string]*pgxpool.Pool{}}
	s.watch = &watcher{hosts: each(&config.ConnConfig.Config), changed: s.move, sights: map[string]sight{}, beat: make(chan struct{})}
	for _, h := range s.watch.hosts {
		one := config.Copy()
		one.ConnConfig.Config = *h.Copy()
		at := address(h.Host, h.Port)
		one.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return s.watch.answered(at) }
		pool, err := pgxpool.NewWithConfig(context.Background(), one)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("talk: pool for %s: %w", h.Host, err)
		}
		s.pools[at] = pool
	}
	return s, nil
}

// tune sets what the connection string leaves open.
func tune(config *pgxpool.Config, v Variant) {
	config.MaxConns, config.MinConns, config.HealthCheckPeriod = poolMost, poolWarm, poolTends
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false } // a broken one is found by its use
	config.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Prepare(ctx, insertSQL, insertSQL)
		if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
			return nil // no table yet, or no right to it: sends will say so
		}
		return err
	}
	c := &config.ConnConfig.Config
	c.DialFunc = dialer(nil, dialWithin).DialContext
	c.ConnectTimeout = askMost
	c.OnNotice = func(conn *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" || n.Severity == "WARNING" {
			conn.CustomData()[warned] = n.Message
		}
	}
	if v == LocalCommit {
		c.RuntimeParams["synchronous_commit"] = "local"
	}
}

// warned is the key under which a connection remembers a server's warning.
const warned = "talk.warned"

// Run watches the hosts until ctx ends, then lets go of the database.
func (s *store) Run(ctx context.Context) {
	s.watch.Run(ctx)
	s.move(belief{})
	s.close()
}

func (s *store) close() {
	for _, p := range s.pools {
		p.Close()
	}
}

// move begins a new generation and ends the one before: whatever waits there is
// cancelled and tried again on the new primary.
func (s *store) move(to belief) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil {
		s.now.end()
		s.now.pool.Reset()
	}
	if s.now = nil; to.Host != "" {
		s.number++
		s.now = &generation{belief: to, number: s.number, pool: s.pools[to.Host]}
		s.now.ctx, s.now.end = context.WithCancel(context.Background())
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.log.Info("primary", "host", to.Host, "timeline", to.Timeline)
}

// primary waits until there is one.
func (s *store) primary(ctx context.Context) (*generation, error) {
	for {
		s.mu.Lock()
		g, changed := s.now, s.changed
		s.mu.Unlock()
		if g != nil {
			return g, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("no database takes writes: %w", ctx.Err())
		}
	}
}

// Send stores m and returns it as stored, after a commit that waited. While ctx
// lasts it tries again, at once on a new primary, since the id makes that safe.
// While the primary is silent it waits for its next sign of life instead of
// adding to the crowd that knocks: a failover needs the processor for itself.
func (s *store) Send(ctx context.Context, m Message) (Message, error) {
	var since time.Time
	for tries := 1; ; tries++ {
		g, err := s.primary(ctx)
		if err != nil {
			return Message{}, err
		}
		s.watch.Alive(ctx, g, since)
		got, err := s.try(ctx, g, m)
		if err == nil || errors.Is(err, errUnconfirmed) || errors.Is(err, errDiffers) || final(err) {
			return got, err
		}
		if tries > 1 || ends(err) { // the first failure may be one stale connection's
			since = time.Now()
		}
		if ctx.Err() != nil {
			return Message{}, err
		}
	}
}

// try sends m once, and waits for it within ctx. Once begun it goes on: to end it early would cost a
// connection, which is dear while everybody is late, and the client comes back with the same id and
// joins it. A change of primary ends it, and so the pool, which waits for its connections, can close.
func (s *store) try(ctx context.Context, g *generation, m Message) (Message, error) {
	same := strings.Join([]string{m.ID, strconv.Itoa(g.number), m.Room, m.Author, m.Body}, "\x00")
	done := s.begun.DoChan(same, func() (any, error) { return s.begin(ctx, g, m) })
	select {
	case r := <-done:
		return r.Val.(Message), r.Err
	case <-ctx.Done():
		return Message{}, ctx.Err()
	}
}

// begin writes m. Ctx bounds how long it waits for a connection.
func (s *store) begin(ctx context.Context, g *generation, m Message) (Message, error) {
	acquire, cancel := context.WithCancel(g.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	conn, err := g.pool.Acquire(acquire)
	if err != nil {
		return Message{}, fmt.Errorf("connect to %s: %w", g.Host, err)
	}
	within, cancel := context.WithTimeout(g.ctx, writeMost)
	defer cancel()
	if s.variant == AckBeforeCommit {
		return sendThenCommit(within, conn, m)
	}
	defer conn.Release()
	delete(conn.Conn().PgConn().CustomData(), warned) // of the connection's opening, for one
	got, err := write(within, conn.Conn(), m, s.variant)
	if heard, ok := conn.Conn().PgConn().CustomData()[warned]; ok && s.variant != WarningIgnored {
		_ = conn.Conn().Close(within)
		return Message{}, fmt.Errorf("%w: %v", errUnconfirmed, heard)
	}
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && !final(err) {
		_ = conn.Conn().Close(within) // it stops, or is no primary any more
	}
	return got, err
}

// ends says that the server, or what it was to do, is being ended by somebody.
func ends(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code[:2] == "57"
}

// final says that the server refused for a reason that another try now would
// meet again, such as a missing table or right.
func final(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code[:2] {
	case "08", "25", "40", "53", "55", "57": // connection, read-only, rollback, no room, not ready, stopping
		return false
	}
	return true
}

// insertSQL writes also when the id is there already: only a commit that has
// written something waits for the synchronous members.
const insertSQL = `INSERT INTO messages AS m (id, room, author, body) VALUES ($1, $2, $3, $4)
	ON CONFLICT (id) DO UPDATE SET attempt = m.attempt + 1
	RETURNING room, author, body, seq, at, attempt`

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// write stores m and reads the answer up to the end of the implicit
// transaction; an error of the commit is an error here.
func write(ctx context.Context, q querier, m Message, v Variant) (Message, error) {
	got := Message{ID: m.ID}
	into := []any{&got.Room, &got.Author, &got.Body, &got.Seq, &got.At, &got.Attempt}
	sql := insertSQL
	if v == DoNothingRetry {
		sql = strings.Replace(sql, "DO UPDATE SET attempt = m.attempt + 1", "DO NOTHING", 1)
	}
	err := q.QueryRow(ctx, sql, m.ID, m.Room, m.Author, m.Body).Scan(into...)
	if v == DoNothingRetry && errors.Is(err, pgx.ErrNoRows) {
		err = q.QueryRow(ctx, `SELECT room, author, body, seq, at, attempt FROM messages WHERE id = $1`, m.ID).Scan(into...)
	}
	if err != nil {
		return Message{}, fmt.Errorf("store %s: %w", m.ID, err)
	}
	if got.Room != m.Room || got.Author != m.Author || got.Body != m.Body {
		return Message{}, fmt.Errorf("%w: id %s", errDiffers, m.ID)
	}
	return got, nil
}

// sendThenCommit is the gateway that answers too early.
func sendThenCommit(ctx context.Context, conn *pgxpool.Conn, m Message) (Message, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		conn.Release()
		return Message{}, fmt.Errorf("begin: %w", err)
	}
	got, err := write(ctx, tx, m, AckBeforeCommit)
	go func() {
		defer conn.Release()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitWithin)
		defer cancel()
		if err != nil {
			_ = tx.Rollback(ctx)
			return
		}
		_ = tx.Commit(ctx)
	}()
	return got, err
}
