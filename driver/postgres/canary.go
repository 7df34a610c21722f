package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/situation"
)

// A canary is one row that the primary's agent writes about once a second by a commit that waits
// for other members as any client's does. Towers read it on every member with the account with which they
// look: how far a member is behind, and what of the acknowledged is found on a new primary, is then
// seen as a client would, and not by what servers say of themselves.
const (
	canaryEvery = time.Second
	// Canary is the table of the canary, in the database postgres. It is haechi's own: what a former
	// primary alone holds of it is nobody's loss.
	Canary = OwnSchema + ".canary"
	// OwnSchema holds what haechi keeps in a store, in the database postgres.
	OwnSchema = "haechi"
)

// isOurs says whether the rows of a schema are haechi's own, and not people's.
func isOurs(database, schema string) bool { return database == "postgres" && schema == OwnSchema }

// canary is what is known of the row that this agent writes.
type canary struct {
	mu    sync.Mutex // guards what follows
	acked string     // the last that was acknowledged: its number and time
	found string     // the last of the epochs before, as it was found when this one began
	since time.Time  // when the one began that waits for other members now; zero: none does
	why   string     // why there is none
}

// tell adds to a look what is known.
func (c *canary) tell(f map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, value := range map[string]string{situation.FactCanaryAcked: c.acked, situation.FactCanaryFound: c.found, situation.FactCanaryMissing: c.why} {
		if value != "" {
			f[key] = value
		}
	}
	if !c.since.IsZero() {
		f[situation.FactCanaryWaits] = fmt.Sprint(time.Since(c.since).Milliseconds())
	}
}

func (c *canary) set(edit func(*canary)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	edit(c)
}

func (u *Unit) keepCanary(ctx context.Context, m *agent.Memory, may func() bool) {
	t := time.NewTicker(canaryEvery)
	defer t.Stop()
	var line *canaryLine
	for {
		select {
		case <-ctx.Done():
			line.close()
			return
		case <-t.C:
		}
		mem, err := recall(m)
		if err != nil || !may() || !sings(mem) || !u.up() {
			line.close()
			line = nil
			u.canary.set(func(c *canary) { c.acked, c.why, c.found = "", "", "" })
			continue
		}
		if line == nil || line.reign != mem.Reign {
			line.close()
			line, err = u.openCanary(ctx, mem.Reign)
		}
		if err == nil {
			err = u.writeCanary(ctx, line)
		}
		if err != nil && ctx.Err() == nil {
			u.canary.set(func(c *canary) { c.why = err.Error() })
			line.close()
			line = nil
		}
	}
}

// sings says that a member's canary is to be written: that of a primary whose promotion stands.
func sings(mem memory) bool {
	return mem.Role == asPrimary && mem.Reign != 0 && !mem.Sealed && !mem.Fenced && mem.Halted == nil
}

// canaryLine is the connection that writes. A commit on it waits as long as it takes.
type canaryLine struct {
	*pgconn.PgConn
	reign  uint64
	warned *bool
}

func (l *canaryLine) close() {
	if l != nil {
		closeSoon(l.PgConn)
	}
}

// canarySQL makes the table. Followers must not be waited for here: the agent does this also
// while none is there.
const canarySQL = `BEGIN; SET LOCAL synchronous_commit = local;
CREATE SCHEMA IF NOT EXISTS ` + OwnSchema + `;
CREATE TABLE IF NOT EXISTS ` + Canary + ` (store text PRIMARY KEY, seq bigint NOT NULL, at timestamptz NOT NULL, member text NOT NULL, epoch bigint NOT NULL) WITH (fillfactor = 10);
GRANT USAGE ON SCHEMA ` + OwnSchema + ` TO pg_monitor;
GRANT SELECT ON ` + Canary + ` TO pg_monitor;
COMMIT`

// openCanary connects, and makes the table where it is missing.
func (u *Unit) openCanary(ctx context.Context, reign uint64) (*canaryLine, error) {
	warned := new(bool)
	c, err := u.local.dialNoticed(ctx, "", func(n *pgconn.Notice) { *warned = *warned || n.Severity == "WARNING" })
	if err != nil {
		return nil, err
	}
	line := &canaryLine{c, reign, warned}
	there, err := ask(ctx, c, "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = "+quote(OwnSchema)+" AND c.relname = 'canary'")
	if err == nil && len(there) == 0 {
		_, err = ask(ctx, c, canarySQL)
	} else if err == nil {
		err = u.findCanary(ctx, c, reign)
	}
	if err == nil {
		// A limit would end the wait for other members with a warning, and the row would be here alone.
		_, err = ask(ctx, c, "SET statement_timeout = 0; SET synchronous_commit = on")
	}
	if err != nil {
		line.close()
		return nil, err
	}
	return line, nil
}

// findCanary notes which one an epoch before this has left here.
func (u *Unit) findCanary(ctx context.Context, c *pgconn.PgConn, reign uint64) error {
	r, err := ask(ctx, c, fmt.Sprintf("SELECT seq, (extract(epoch FROM at) * 1000)::bigint FROM %s WHERE store = %s AND epoch < %d", Canary, quote(u.set.Store), reign))
	if err == nil && len(r) == 1 {
		u.canary.set(func(c *canary) { c.found = strings.Join(r[0], " ") })
	}
	return err
}

// writeCanary writes the next one, and notes it once it is acknowledged. A warning is no acknowledgement.
func (u *Unit) writeCanary(ctx context.Context, l *canaryLine) error {
	*l.warned = false
	u.canary.set(func(c *canary) { c.since = time.Now() })
	defer u.canary.set(func(c *canary) { c.since = time.Time{} })
	r, err := ask(ctx, l.PgConn, fmt.Sprintf(`INSERT INTO %s AS c VALUES (%s, 1, clock_timestamp(), %s, %d)
  ON CONFLICT (store) DO UPDATE SET seq = c.seq + 1, at = excluded.at, member = excluded.member, epoch = excluded.epoch
  RETURNING seq, (extract(epoch FROM at) * 1000)::bigint`, Canary, quote(u.set.Store), quote(u.set.Member), l.reign))
	switch {
	case err != nil:
		return err
	case *l.warned:
		return fmt.Errorf("the wait for other members was given up: the canary stands on %s alone", u.set.Member)
	}
	u.canary.set(func(c *canary) { c.acked, c.why = strings.Join(r[0], " "), "" })
	return nil
}
