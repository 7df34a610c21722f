package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// AloneRow is a row that one member alone held.
type AloneRow struct {
	Table string // with its schema
	Key   string // the value of its primary key
}

// HeldAlone finds out, by other means than haechi's, what a member that burned holds and no other does:
// from a copy of its data directory, in which the log's transactions after the fork are counted by
// pg_waldump, and the rows that they left behind are read from a server on the copy that nobody else
// reaches. primary is the site whose member took over. Nothing may run on the member's own directory.
func (l *Lab) HeldAlone(ctx context.Context, burned, primary Place) ([]AloneRow, error) {
	fork, timeline, err := l.fork(primary)
	if err != nil {
		return nil, err
	}
	dir := l.path("ashes")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := own(dir, postgresUser, "", 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the lab's end removes it, too
	data := filepath.Join(dir, "data")
	if err := l.copyAside(ctx, burned, primary, data); err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(data, "postmaster.pid")); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	xids, err := l.committedAfter(data, fork, timeline)
	if err != nil || len(xids) == 0 {
		return nil, err
	}
	return l.rowsOf(ctx, dir, data, xids)
}

// fork is where a primary's timeline left the one before, by the file that it wrote then.
func (l *Lab) fork(primary Place) (lsn string, timeline int, err error) {
	files, err := filepath.Glob(filepath.Join(l.data(primary), "pg_wal", "*.history"))
	if err != nil || len(files) == 0 {
		return "", 0, fmt.Errorf("%s keeps no history of its timelines: %w", primary, err)
	}
	f, err := os.Open(slices.Max(files))
	if err != nil {
		return "", 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	for in := bufio.NewScanner(f); in.Scan(); {
		words := strings.Fields(in.Text())
		if len(words) < 2 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if timeline, err = strconv.Atoi(words[0]); err != nil {
			return "", 0, fmt.Errorf("%s: %w", f.Name(), err)
		}
		lsn = words[1]
	}
	if lsn == "" {
		return "", 0, fmt.Errorf("%s names no fork", f.Name())
	}
	return lsn, timeline, nil
}

var committed = regexp.MustCompile(`rmgr: Transaction .*tx: +(\d+),.* desc: COMMIT`)

// committedAfter are the transactions that a log holds the commit of, from a position on.
func (l *Lab) committedAfter(data, fork string, timeline int) ([]string, error) {
	// It ends with an error where the log ends, which is what is wanted.
	said, err := l.command(spawn{user: postgresUser, dir: data, args: []string{postgresBin + "/pg_waldump",
		"--path", filepath.Join(data, "pg_wal"), "--timeline", strconv.Itoa(timeline), "--start", fork, "--rmgr", "Transaction"}})
	if err != nil && !strings.Contains(said, "invalid record length") && !strings.Contains(said, "could not find a valid record") && !strings.Contains(said, "error in WAL record") {
		return nil, err
	}
	var xids []string
	for line := range strings.Lines(said) {
		if m := committed.FindStringSubmatch(line); m != nil && m[1] != "0" {
			xids = append(xids, m[1])
		}
	}
	return xids, nil
}

// rowsOf starts a server on a copy that listens to nobody, and reads the rows of talk's tables that some
// transactions left behind.
func (l *Lab) rowsOf(ctx context.Context, dir, data string, xids []string) (out []AloneRow, err error) {
	options := fmt.Sprintf("-c listen_addresses='' -c unix_socket_directories=%s -c port=5499 -c synchronous_standby_names='' -c archive_mode=off -c autovacuum=off", dir)
	pgctl := func(args ...string) error {
		_, err := l.command(spawn{user: postgresUser, dir: dir, args: append([]string{postgresBin + "/pg_ctl", "-D", data, "-w", "-t", "30"}, args...)})
		return err
	}
	if err := pgctl("-l", filepath.Join(dir, "log"), "-o", options, "start"); err != nil {
		return nil, fmt.Errorf("a server on what burned: %w", err)
	}
	defer func() {
		if stop := pgctl("-m", "immediate", "stop"); err == nil {
			err = stop
		}
	}()
	c, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=5499 user=talk dbname=talk connect_timeout=5", dir))
	if err != nil {
		return nil, err
	}
	c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("a server on what burned: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	tables, err := query(ctx, conn, "ashes", "SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'public' ORDER BY 1")
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		rows, err := query(ctx, conn, "ashes", fmt.Sprintf(`SELECT id FROM public.%s WHERE xmin::text = ANY ('{%s}') ORDER BY 1`, pgx.Identifier{t[0]}.Sanitize(), strings.Join(xids, ",")))
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			out = append(out, AloneRow{"public." + t[0], r[0]})
		}
	}
	return out, nil
}
