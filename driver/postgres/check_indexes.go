package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/core/verify"
)

const (
	// indexTries is how often an index is begun that somebody was in the way of.
	indexTries = 3
	// arrives is how long a follower waits for the extension, which the primary's agent makes.
	arrives = 10 * time.Second
	// yields is how often it is made sure that replay does not wait for the check.
	yields = 300 * time.Millisecond
)

// readIndexes has PostgreSQL's amcheck compare each B-tree with its order and with its table, from a place on.
func (u *Unit) readIndexes(ctx context.Context, j *checkJob, from cursor, primary bool) error {
	j.edit(func(s *verify.Check) { s.Phase, s.Done, s.All = verify.PhaseIndexes, 0, 0 })
	dbs, err := u.local.rows(ctx, "SELECT oid, datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY oid")
	if err != nil {
		return err
	}
	for _, db := range dbs {
		if toNumber(db[0]) < toNumber(from.at) {
			continue
		}
		after := uint64(0)
		if db[0] == from.at {
			after = from.n
		}
		if err := u.readDatabase(ctx, j, db[0], db[1], after, primary); err != nil {
			return fmt.Errorf("database %q: %w", db[1], err)
		}
	}
	return nil
}

// readDatabase reads the indexes of one database after one of them.
func (u *Unit) readDatabase(ctx context.Context, j *checkJob, id, name string, after uint64, primary bool) error {
	c, err := u.local.reader(ctx, name)
	if err != nil {
		return err
	}
	defer func() { closeSoon(c) }()
	schema, err := u.amcheck(ctx, c, name, primary)
	if err != nil || schema == "" {
		if err == nil {
			j.leave("indexes of "+name+" on "+u.set.Member, "the extension amcheck is not there: it comes with PostgreSQL's contrib package, and the primary's agent makes it")
		}
		return err
	}
	all, err := ask(ctx, c, `SELECT i.oid, quote_ident(n.nspname) || '.' || quote_ident(i.relname), a.amname, pg_relation_size(i.oid) + pg_relation_size(x.indrelid)
  FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace JOIN pg_am a ON a.oid = i.relam
  WHERE i.relkind = 'i' AND i.relpersistence = 'p' AND x.indisvalid AND x.indisready AND (NOT i.relisshared OR current_database() = 'postgres')
  ORDER BY i.oid`)
	if err != nil {
		return err
	}
	for _, r := range all {
		size, _ := strconv.ParseInt(r[3], 10, 64) // of one that was dropped: none
		j.edit(func(s *verify.Check) { s.All += size })
	}
	for _, r := range all {
		size, _ := strconv.ParseInt(r[3], 10, 64)
		if toNumber(r[0]) > after {
			if c, err = u.readIndex(ctx, j, c, name, schema, index{r[0], r[1], r[2], size}); err != nil {
				return err
			}
		}
		j.edit(func(s *verify.Check) {
			s.Done += size
			s.Cursor = cursor{verify.PhaseIndexes, id, toNumber(r[0])}.String()
		})
	}
	return nil
}

func (j *checkJob) leave(name, why string) {
	j.edit(func(s *verify.Check) { s.LeftOut = append(s.LeftOut, verify.Omission{Name: name, Why: why}) })
}

type index struct {
	id, name, method string
	bytes            int64 // with its table
}

// amcheck is the schema in which the extension is; the primary's agent makes it where it is missing.
func (u *Unit) amcheck(ctx context.Context, c *pgconn.PgConn, name string, primary bool) (string, error) {
	const find = "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'"
	for end := time.Now().Add(arrives); ; {
		got, err := ask(ctx, c, find)
		if err != nil || len(got) == 1 {
			return first(got), err
		}
		have, err := ask(ctx, c, "SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'")
		if err != nil || len(have) == 0 || time.Now().After(end) {
			return "", err
		}
		if primary {
			// Local: it is for this check, and must not wait where writes do.
			_, err := ask(ctx, c, "BEGIN READ WRITE; SET LOCAL synchronous_commit = local; CREATE SCHEMA IF NOT EXISTS "+OwnSchema+
				"; CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA "+OwnSchema+"; COMMIT")
			if err != nil {
				return "", fmt.Errorf("extension amcheck in %q: %w", name, err)
			}
		} else if err := pause(ctx, yields); err != nil {
			return "", err
		}
	}
}

func first(rows [][]string) string {
	if len(rows) == 0 {
		return ""
	}
	return rows[0][0]
}

// readIndex checks one index, again where something was in the way. It returns the connection, which may
// be a new one.
func (u *Unit) readIndex(ctx context.Context, j *checkJob, c *pgconn.PgConn, db, schema string, i index) (*pgconn.PgConn, error) {
	if i.method != "btree" {
		j.leave(db+": "+i.name+" on "+u.set.Member, "amcheck knows no index of kind "+i.method)
		return c, nil
	}
	var err error
	for range indexTries {
		began, ready, worker := time.Now(), queued(backend(c)), backend(c)
		err = u.amcheckOne(ctx, c, schema, i)
		if rerr := j.rest(ctx, time.Since(began), max(queued(worker)-ready, 0), i.bytes); rerr != nil {
			return c, rerr
		}
		pg, answered := errors.AsType[*pgconn.PgError](err)
		switch {
		case err == nil:
			j.edit(func(s *verify.Check) { s.Indexes++ })
			return c, nil
		case answered && pg.Code == "42704", answered && pg.Code == "42P01":
			return c, nil // dropped meanwhile
		case answered && (strings.HasPrefix(pg.Message, "invalid page") || pg.Code[:2] == "58"):
			// The page itself is named elsewhere; what the index says of it nobody can know.
			j.leave(db+": "+i.name+" on "+u.set.Member, "a page of it, or of its table, cannot be read: "+pg.Message)
			return c, nil
		case answered && lasting(pg.Code):
			j.found(verify.Finding{Kind: verify.Index, Member: u.set.Member, Table: db + ": " + i.name, Why: pg.Message + "; the table's rows may be whole"})
			return c, nil
		}
		if c.IsClosed() {
			if c, err = u.local.reader(ctx, db); err != nil {
				return c, err
			}
		}
	}
	j.leave(db+": "+i.name+" on "+u.set.Member, fmt.Sprintf("begun %d times, and each time something was in the way: %v", indexTries, err))
	return c, nil
}

// amcheckOne looks at an index as long as it takes, and makes room where replay waits for it: a
// follower that falls behind would cost more than what is looked at again later.
func (u *Unit) amcheckOne(ctx context.Context, c *pgconn.PgConn, schema string, i index) error {
	if _, err := ask(ctx, c, "SET statement_timeout = 0"); err != nil {
		return err
	}
	watched, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pause(watched, yields) == nil {
			n, err := u.local.value(watched, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'startup' AND (wait_event LIKE 'RecoveryConflict%' OR wait_event_type = 'Lock')")
			if err == nil && n != "0" {
				_ = c.CancelRequest(watched)
			}
		}
	}()
	_, err := ask(ctx, c, "SELECT "+schema+".bt_index_check("+i.id+", true)")
	stop()
	<-done
	return err
}
