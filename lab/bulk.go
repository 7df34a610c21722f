package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// What talk's database holds besides messages where [Options.Bulk] asks for it. Nobody writes to it.
const (
	BulkTable    = "bulk.rows"      // id from 1 to BulkRows, and a text; each page has room for another row
	BulkIndex    = "bulk.rows_pkey" // on its id
	BulkRack     = "bulk.rack"      // 500 rows without an index
	BulkSequence = "bulk.numbers"   // 1000 was handed out last
)

// BulkRows is how many rows of [BulkTable] there are for so many megabytes: six on a page.
func BulkRows(mb int) int64 { return int64(mb) * 128 * 6 }

// bulkRoom is what has to be free for so many megabytes on three members, with their logs.
func bulkRoom(mb int) uint64 { return uint64(mb)*10/3<<20 + 8<<30 } //nolint:gosec // it is not negative

// raiseBulk has the primary hold much before followers are made of it, and copies it to where they will
// be. Nothing of it passes through the log: a log of that size has to be written three times and sent
// twice, and to send it all is not what is tried here.
func (l *Lab) raiseBulk(ctx context.Context) error {
	var s unix.Statfs_t
	if err := unix.Statfs(l.o.Dir, &s); err != nil {
		return fmt.Errorf("free space in %s: %w", l.o.Dir, err)
	}
	if free, need := s.Bavail*uint64(s.Bsize), bulkRoom(l.o.Bulk); free < need { //nolint:gosec // a block has a size
		return fmt.Errorf("%s has %d MB free, and %d MB on three members need %d: ask for less, or make room", l.o.Dir, free>>20, l.o.Bulk, need>>20)
	}
	if err := l.stopPostgres(Pangyo); err != nil {
		return err
	}
	if err := l.startPostgres(ctx, Pangyo, "-c", "wal_level=minimal", "-c", "max_wal_senders=0", "-c", "fsync=off"); err != nil {
		return err
	}
	if err := l.fillBulk(ctx); err != nil {
		return fmt.Errorf("%d MB: %w", l.o.Bulk, err)
	}
	// Once as it is meant to be: a follower refuses what was written with less of a log.
	if err := errors.Join(l.stopPostgres(Pangyo), l.startPostgres(ctx, Pangyo), l.stopPostgres(Pangyo)); err != nil {
		return err
	}
	for _, p := range sites[1:] {
		l.say("bulk: copied to %s", p)
		if err := l.run(ctx, "cp", "-a", l.data(Pangyo), l.data(p)); err != nil {
			return err
		}
	}
	if err := l.run(ctx, "sync", "-f", l.data(Pangyo)); err != nil { // else it is written while something is measured
		return err
	}
	return l.startPostgres(ctx, Pangyo)
}

// fillBulk makes the tables, frozen as they are written, so that nothing has to write to them again.
func (l *Lab) fillBulk(ctx context.Context) error {
	conn, err := l.connect(ctx, Pangyo, "talk")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	do := func(sql string) func() error {
		return func() error {
			_, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
			return err
		}
	}
	for _, step := range []func() error{
		do(`BEGIN; SET LOCAL maintenance_work_mem = '1GB'; CREATE SCHEMA bulk; CREATE SEQUENCE bulk.numbers; SELECT setval('bulk.numbers', 1000);
			CREATE TABLE bulk.rack AS SELECT i::bigint AS id, md5(i::text) AS body FROM generate_series(1, 500) AS i;
			CREATE TABLE bulk.rows (id bigint NOT NULL, body text NOT NULL) WITH (fillfactor = 85, autovacuum_enabled = off)`),
		func() error {
			_, err := conn.PgConn().CopyFrom(ctx, &bulkReader{last: BulkRows(l.o.Bulk), say: l.say}, "COPY bulk.rows FROM STDIN (FREEZE)")
			return err
		},
		do("ALTER TABLE bulk.rows ADD PRIMARY KEY (id); COMMIT"),
		do("VACUUM (FREEZE, ANALYZE)"),
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// bulkReader writes rows as COPY reads them, each another one. With its header such a row takes a little
// less than a sixth of 85 % of a page.
type bulkReader struct {
	done, last int64
	say        func(string, ...any)
}

// bulkWords is how often a row says its word of sixteen letters.
const bulkWords = 69

// Read fills p with whole rows.
func (r *bulkReader) Read(p []byte) (int, error) {
	const most = 20 + 16*bulkWords + 2
	out := p[:0]
	for r.done < r.last && cap(out)-len(out) >= most {
		r.done++
		out = append(strconv.AppendInt(out, r.done, 10), '\t')
		word := fmt.Appendf(nil, "%016x", uint64(r.done)*0x9E3779B97F4A7C15) //nolint:gosec // any number will do
		for range bulkWords {
			out = append(out, word...)
		}
		out = append(out, '\n')
		if r.done%BulkRows(1<<10) == 0 {
			r.say("bulk: %d of %d GB", r.done/BulkRows(1<<10), (r.last+BulkRows(1<<10)-1)/BulkRows(1<<10))
		}
	}
	switch {
	case len(out) > 0:
		return len(out), nil
	case r.done < r.last:
		return 0, io.ErrShortBuffer
	}
	return 0, io.EOF
}

// copyAside makes a second directory of a member that is stopped, for a server that reads messages only.
// The files of [BulkTable] are linked, not copied: nothing reads or writes them there.
func (l *Lab) copyAside(ctx context.Context, p, primary Place, to string) error {
	if l.o.Bulk == 0 {
		return l.run(ctx, "cp", "-a", l.data(p), to)
	}
	rows, err := l.SQL(ctx, primary, "talk", fmt.Sprintf("SELECT pg_relation_filepath('%s') UNION ALL SELECT pg_relation_filepath('%s')", BulkTable, BulkIndex))
	if err != nil {
		return err
	}
	if err := l.run(ctx, "cp", "-al", l.data(p), to); err != nil {
		return err
	}
	return filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || isOf(path, to, rows) {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.Remove(path); err != nil { // the link, so that the other name keeps what it has
			return err
		}
		return write(path, postgresUser, "", 0o600, string(text))
	})
}

// isOf says whether a file below dir is one of the relations' whose first files are given.
func isOf(path, dir string, first [][]string) bool {
	for _, f := range first {
		rest, ok := strings.CutPrefix(path, filepath.Join(dir, f[0]))
		if ok && (rest == "" || rest[0] == '.' || rest[0] == '_') {
			return true
		}
	}
	return false
}

// Cool has the machine forget what it holds of a member's files in memory, as one that lost its power has.
func (l *Lab) Cool(p Place) error {
	return filepath.WalkDir(l.data(p), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // only looked at
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}
