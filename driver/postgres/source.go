package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/agent"
)

// source is the primary that a member comes back to, as the member's agent reads it: in one session of the
// replication role. While the session lasts, a slot of its own keeps the log that the member will need. Both
// end together, whatever becomes of this agent.
type source struct {
	c       *pgconn.PgConn
	member  string
	version uint64 // as server_version_num
	system  string
	segment uint64 // bytes of a file of the log
	sums    bool   // it has data checksums
	history []era
}

// sourceDatabase is the database through which members come back.
const sourceDatabase = "postgres"

// openSource begins the session.
func openSource(ctx context.Context, up agent.Upstream, password, self string, t *taken) (*source, error) {
	conf, err := pgconn.ParseConfig(fmt.Sprintf("host='%s' port=%s user=%s dbname=%s sslmode=prefer connect_timeout=5 passfile=/dev/null",
		strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(up.Host), up.Port, ReplicationRole, sourceDatabase))
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	conf.Password = password
	conf.RuntimeParams["application_name"] = "haechi-rejoin-" + self
	conf.RuntimeParams["statement_timeout"] = "0"
	conf.RuntimeParams["idle_session_timeout"] = "0"
	conf.RuntimeParams["search_path"] = "pg_catalog"
	conf.DialFunc = func(dctx context.Context, _, addr string) (net.Conn, error) {
		c, err := dialSource(dctx, addr)
		if err != nil {
			return nil, err
		}
		return t.from(ctx, c), nil
	}
	c, err := pgconn.ConnectConfig(ctx, conf)
	if err != nil {
		return nil, sourceError(up.Member, err)
	}
	s := &source{c: c, member: up.Member}
	if err := s.begin(ctx, up); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// begin finds out what the source is, and has it keep its log from here on.
func (s *source) begin(ctx context.Context, up agent.Upstream) error {
	rows, err := s.rows(ctx, `SELECT pg_is_in_recovery()::text, current_setting('server_version_num'), (SELECT system_identifier::text FROM pg_control_system()),
		(SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'), current_setting('data_checksums')`)
	if err != nil {
		return err
	}
	r := rows[0]
	if r[0] != "false" {
		return again(fmt.Errorf("%s takes no writes: it is no primary, and nobody comes back to a follower", up.Member))
	}
	s.version, s.system, s.segment, s.sums = toNumber(r[1]), r[2], toNumber(r[3]), r[4] == "on"
	if s.segment == 0 {
		return fmt.Errorf("%s does not say how large a file of its log is", up.Member)
	}
	name := make([]byte, 6)
	if _, err := rand.Read(name); err != nil {
		return err
	}
	if _, err := s.rows(ctx, "SELECT pg_create_physical_replication_slot($1, true, true)", "haechi_rejoin_"+hex.EncodeToString(name)); err != nil {
		return err
	}
	rows, err = s.rows(ctx, "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int::text")
	if err != nil {
		return err
	}
	s.history, err = s.eras(ctx, toNumber(rows[0][0]))
	return err
}

// timeline is the one that the source writes.
func (s *source) timeline() uint64 { return s.history[len(s.history)-1].Timeline }

func (s *source) past() []era { return s.history }

func (s *source) checksums() bool { return s.sums }

// eras is the history of one of the source's timelines.
func (s *source) eras(ctx context.Context, timeline uint64) ([]era, error) {
	if timeline <= 1 {
		return parseEras("", timeline)
	}
	raw, err := s.bytes(ctx, "pg_wal/"+historyName(timeline), 0, 1<<20)
	if err != nil {
		return nil, err
	}
	if raw == nil {
		return nil, fmt.Errorf("the source has no history of its timeline %d", timeline)
	}
	return parseEras(string(raw), timeline)
}

// checkpoint makes sure that the source's control file tells its timeline: pg_rewind believes that.
func (s *source) checkpoint(ctx context.Context) error {
	rows, err := s.rows(ctx, "SELECT timeline_id::text FROM pg_control_checkpoint()")
	if err != nil || toNumber(rows[0][0]) == s.timeline() {
		return err
	}
	// The role may not say CHECKPOINT; the begin of a backup is one.
	if _, err := s.startBackup(ctx); err != nil {
		return err
	}
	_, err = s.stopBackup(ctx)
	return err
}

// startBackup marks the begin of a base backup, which forces a checkpoint.
func (s *source) startBackup(ctx context.Context) (LSN, error) {
	call := "pg_backup_start('haechi rejoin', true)"
	if s.version < 150000 {
		call = "pg_start_backup('haechi rejoin', true, false)"
	}
	rows, err := s.rows(ctx, "SELECT "+call+"::text")
	if err != nil {
		return 0, err
	}
	return ParseLSN(rows[0][0])
}

// mark is what a base backup is started with.
type mark struct{ label, spaces string }

// stopBackup ends it.
func (s *source) stopBackup(ctx context.Context) (mark, error) {
	call := "pg_backup_stop(false)"
	if s.version < 150000 {
		call = "pg_stop_backup(false, false)"
	}
	rows, err := s.rows(ctx, "SELECT labelfile, coalesce(spcmapfile, '') FROM "+call)
	if err != nil {
		return mark{}, err
	}
	return mark{rows[0][0], strings.TrimSpace(rows[0][1])}, nil
}

// bytes reads part of a file of the source's data directory; nil where there is no such file.
func (s *source) bytes(ctx context.Context, path string, at, n int64) ([]byte, error) {
	out, err := s.parts(ctx, "SELECT pg_read_binary_file($1, o, $3, true) FROM unnest($2::bigint[]) WITH ORDINALITY AS t (o, n) ORDER BY n", path, []int64{at}, n)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// hashes are the SHA-256 of parts of a file; nil for each where there is no such file.
func (s *source) hashes(ctx context.Context, path string, at []int64, n int64) ([][]byte, error) {
	return s.parts(ctx, "SELECT sha256(pg_read_binary_file($1, o, $3, true)) FROM unnest($2::bigint[]) WITH ORDINALITY AS t (o, n) ORDER BY n", path, at, n)
}

// contents are parts of a file.
func (s *source) contents(ctx context.Context, path string, at []int64, n int64) ([][]byte, error) {
	return s.parts(ctx, "SELECT pg_read_binary_file($1, o, $3, true) FROM unnest($2::bigint[]) WITH ORDINALITY AS t (o, n) ORDER BY n", path, at, n)
}

func (s *source) parts(ctx context.Context, sql, path string, at []int64, n int64) ([][]byte, error) {
	offsets := strings.ReplaceAll(strings.Trim(fmt.Sprint(at), "[]"), " ", ",")
	r := s.c.ExecParams(ctx, sql, [][]byte{[]byte(path), []byte("{" + offsets + "}"), []byte(fmt.Sprint(n))}, nil, nil, []int16{1}).Read()
	if r.Err != nil {
		return nil, sourceError(s.member, r.Err)
	}
	if len(r.Rows) != len(at) {
		return nil, fmt.Errorf("%s: %d parts, want %d", path, len(r.Rows), len(at))
	}
	out := make([][]byte, len(at))
	for i, row := range r.Rows {
		out[i] = slices.Clone(row[0])
		if out[i] == nil && row[0] != nil {
			out[i] = []byte{}
		}
	}
	return out, nil
}

// rows asks a question and returns text; NULL is empty.
func (s *source) rows(ctx context.Context, sql string, params ...string) ([][]string, error) {
	in := make([][]byte, len(params))
	for i, p := range params {
		in[i] = []byte(p)
	}
	r := s.c.ExecParams(ctx, sql, in, nil, nil, nil).Read()
	if r.Err != nil {
		return nil, sourceError(s.member, r.Err)
	}
	return texts(r), nil
}

// holds says how many bytes of log the source keeps for this session.
func (s *source) holds(ctx context.Context) (uint64, error) {
	rows, err := s.rows(ctx, "SELECT coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint::text FROM pg_replication_slots WHERE active_pid = pg_backend_pid()")
	if err != nil {
		return 0, err
	}
	if len(rows) == 0 || rows[0][0] == "" {
		return 0, errors.New("the source has given up the log that it kept for this member (max_slot_wal_keep_size); make that larger, or let it come back when less is written")
	}
	return toNumber(rows[0][0]), nil
}

func (s *source) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.c.Close(ctx)
}

// transient is an error that may be gone the next time, without anybody's doing.
type transient struct{ error }

func (t transient) Unwrap() error { return t.error }

// again marks an error as one that may be gone the next time.
func again(err error) error { return transient{err} }

// passing says whether an error may be gone the next time.
func passing(err error) bool { return errors.As(err, new(transient)) }

// sourceError puts into words why a source does not give what a member needs, and whether it may the next time.
func sourceError(member string, err error) error {
	pg, answered := errors.AsType[*pgconn.PgError](err)
	switch {
	case !answered:
		return again(fmt.Errorf("%s cannot be reached, or fell silent: %w", member, err))
	case pg.Code == "28000":
		return fmt.Errorf("%s does not let %s into the database %s: add to its pg_hba.conf a line \"host %s %s ADDRESS scram-sha-256\" and reload: %w", member, ReplicationRole, sourceDatabase, sourceDatabase, ReplicationRole, err)
	case pg.Code == "28P01":
		return again(fmt.Errorf("%s does not take the credential of its epoch; is the root secret the same on every host? %w", member, err))
	case pg.Code == "42501":
		return fmt.Errorf("%s lacks a right on %s that its agent grants when it is promoted or adopted; has somebody taken it away? %w", ReplicationRole, member, err)
	case pg.Code == "53400" || pg.Code == "53300":
		return again(fmt.Errorf("%s has no room for another slot or connection (max_replication_slots, max_connections): %w", member, err))
	case pg.Code == "57P01":
		return again(fmt.Errorf("%s ended the session: it went down, or max_slot_wal_keep_size there is less than what is written during a copy: %w", member, err))
	case strings.HasPrefix(pg.Code, "57P"), strings.HasPrefix(pg.Code, "08"):
		return again(fmt.Errorf("%s ended the session: %w", member, err))
	}
	return fmt.Errorf("%s: %w", member, err)
}
