package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/haechi/haechi/lab/page"
)

// Lies are planted in talk's database on one member: what it says is no more what the others say. The
// member is stopped cleanly for it, and its files are edited. Nothing that was planted may be written
// to afterwards: what replay then finds would stop the server.

// LieFlip turns a bit in a row. With sums its page has the right checksum, so that only a comparison
// can find it; without, nobody can read the page.
func (l *Lab) LieFlip(ctx context.Context, p Place, table, where string, sums bool) (Proof, error) {
	at, err := l.rowAt(ctx, table, where)
	if err != nil {
		return Proof{}, err
	}
	what := fmt.Sprintf("a bit of the row at %v of %s is turned", at, table)
	if !sums {
		what += ", and the page's checksum does not fit"
	}
	return l.lie(ctx, p, table, what, func(path string) error {
		return page.Edit(path, at.Block, sums, func(pg page.Page) error { return pg.Flip(at.Line) })
	}, func() error {
		return l.tells(ctx, p, !sums, fmt.Sprintf("SELECT t::text FROM %s t WHERE ctid = '%v'", table, at))
	})
}

// LieMissing takes a row away.
func (l *Lab) LieMissing(ctx context.Context, p Place, table, where string) (Proof, error) {
	at, err := l.rowAt(ctx, table, where)
	if err != nil {
		return Proof{}, err
	}
	return l.lie(ctx, p, table, fmt.Sprintf("the row at %v of %s is gone", at, table), func(path string) error {
		return page.Edit(path, at.Block, true, func(pg page.Page) error { return pg.Drop(at.Line) })
	}, func() error {
		return l.tells(ctx, p, false, fmt.Sprintf("SELECT count(*) FROM %s WHERE ctid = '%v'", table, at))
	})
}

// LieExtra puts a copy of a row there whose first column, a bigint, is key; no index leads to it.
func (l *Lab) LieExtra(ctx context.Context, p Place, table, where string, key int64) (Proof, error) {
	at, err := l.rowAt(ctx, table, where)
	if err != nil {
		return Proof{}, err
	}
	var extra page.TID
	return l.lie(ctx, p, table, fmt.Sprintf("%s has a row with the key %d", table, key), func(path string) error {
		return page.Edit(path, at.Block, true, func(pg page.Page) error {
			line, err := pg.Copy(at.Block, at.Line, func(data []byte) { binary.LittleEndian.PutUint64(data, uint64(key)) }) //nolint:gosec // the same bits
			extra = page.TID{Block: at.Block, Line: line}
			return err
		})
	}, func() error {
		return l.tells(ctx, p, false, fmt.Sprintf("SELECT count(*) FROM %s WHERE ctid = '%v'", table, extra))
	})
}

// LieIndex has a table's B-tree lead from one row's key to another row.
func (l *Lab) LieIndex(ctx context.Context, p Place, table, index, where, other string) (Proof, error) {
	from, err := l.rowAt(ctx, table, where)
	if err != nil {
		return Proof{}, err
	}
	to, err := l.rowAt(ctx, table, other)
	if err != nil {
		return Proof{}, err
	}
	return l.lie(ctx, p, index, fmt.Sprintf("%s leads from the key of %v to %v", index, from, to), func(path string) error {
		for block := uint32(1); ; block++ {
			found := false
			err := page.Edit(path, block, true, func(pg page.Page) error {
				if found = pg.Repoint(from, to); !found {
					return errElsewhere
				}
				return nil
			})
			if found || !errors.Is(err, errElsewhere) {
				return err
			}
		}
	}, func() error {
		return l.tells(ctx, p, false, fmt.Sprintf("SET enable_seqscan = off; SELECT ctid FROM %s WHERE %s", table, where))
	})
}

// errElsewhere: the entry is on another page.
var errElsewhere = errors.New("no such entry on this page")

// LieSequence sets a sequence back, or ahead.
func (l *Lab) LieSequence(ctx context.Context, p Place, sequence string, last int64) (Proof, error) {
	return l.lie(ctx, p, sequence, fmt.Sprintf("%s is at %d", sequence, last), func(path string) error {
		return page.Edit(path, 0, true, func(pg page.Page) error { return pg.SetSequence(last) })
	}, func() error {
		return l.tells(ctx, p, false, fmt.Sprintf("SELECT last_value FROM %s", sequence))
	})
}

// lie stops the member in a site, has a relation's file edited, starts it again, and makes sure that
// it lies.
func (l *Lab) lie(ctx context.Context, p Place, relation, what string, edit func(path string) error, lies func() error) (Proof, error) {
	if err := site(p); err != nil {
		return Proof{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.settle(ctx, p); err != nil {
		return Proof{}, fmt.Errorf("lie in %s: %w", p, err)
	}
	rows, err := l.SQL(ctx, p, "talk", fmt.Sprintf("SELECT pg_relation_filepath('%s')", relation))
	if err != nil || len(rows) != 1 || rows[0][0] == "" {
		return Proof{}, fmt.Errorf("lie in %s: file of %s: %v %w", p, relation, rows, err)
	}
	at := time.Now()
	if err := l.stopPostgres(p); err != nil {
		return Proof{}, fmt.Errorf("lie in %s: %w", p, err)
	}
	err = edit(filepath.Join(l.data(p), rows[0][0]))
	if err := errors.Join(err, l.startPostgres(ctx, p), lies()); err != nil {
		return Proof{}, fmt.Errorf("lie in %s: %w", p, err)
	}
	return proof(at, "%s: %s", p, what), nil
}

// settle has the member replay all, and write all to its disk: else the log would bring the truth back.
func (l *Lab) settle(ctx context.Context, p Place) error {
	primaries := l.Primaries(ctx)
	if len(primaries) != 1 || primaries[0] == p {
		return fmt.Errorf("it needs one primary, elsewhere; primaries are %v", primaries)
	}
	if _, err := l.SQL(ctx, primaries[0], "talk", "VACUUM (FREEZE)"); err != nil {
		return err
	}
	if _, err := l.SQL(ctx, primaries[0], "postgres", "CHECKPOINT"); err != nil {
		return err
	}
	rows, err := l.SQL(ctx, primaries[0], "postgres", "SELECT pg_current_wal_insert_lsn()")
	if err != nil {
		return err
	}
	err = until(ctx, 10*time.Second, func() error {
		done, err := l.SQL(ctx, p, "postgres", fmt.Sprintf("SELECT pg_last_wal_replay_lsn() >= '%s'::pg_lsn", rows[0][0]))
		if err == nil && done[0][0] != "t" {
			err = fmt.Errorf("it has not replayed %s", rows[0][0])
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = l.SQL(ctx, p, "postgres", "CHECKPOINT")
	return err
}

// rowAt is where one row of talk's database is, as the primary has it.
func (l *Lab) rowAt(ctx context.Context, table, where string) (page.TID, error) {
	primaries := l.Primaries(ctx)
	if len(primaries) != 1 {
		return page.TID{}, fmt.Errorf("a row of %s: primaries are %v", table, primaries)
	}
	rows, err := l.SQL(ctx, primaries[0], "talk", fmt.Sprintf("SELECT ctid FROM %s WHERE %s", table, where))
	if err != nil {
		return page.TID{}, err
	}
	if len(rows) != 1 {
		return page.TID{}, fmt.Errorf("%d rows of %s are those where %s, want one", len(rows), table, where)
	}
	return page.ParseTID(rows[0][0])
}

// tells makes sure that a member answers otherwise than the primary, or, where fails, cannot answer.
func (l *Lab) tells(ctx context.Context, p Place, fails bool, sql string) error {
	primaries := l.Primaries(ctx)
	if len(primaries) != 1 {
		return fmt.Errorf("primaries are %v", primaries)
	}
	truth, err := l.SQL(ctx, primaries[0], "talk", sql)
	if err != nil {
		return err
	}
	said, err := l.SQL(ctx, p, "talk", sql)
	switch {
	case fails && err == nil:
		return fmt.Errorf("%s reads %v, though it should not be able to: %s", p, said, sql)
	case fails:
		return nil
	case err != nil:
		return err
	case fmt.Sprint(truth) == fmt.Sprint(said):
		return fmt.Errorf("%s tells the truth: %s gives %v", p, sql, said)
	}
	return nil
}
