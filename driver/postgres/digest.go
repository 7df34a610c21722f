package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/verify"
)

// digest answers a question about what the member holds. It changes nothing, and runs on a connection
// that serves nothing else: what it fixes there must not reach others.
func (u *Unit) digest(ctx context.Context, o agent.Order) (map[string]string, error) {
	q := o.Question
	if q == nil {
		return nil, agent.Refuse(agent.BadOrder, "digest: the order does not say what is asked")
	}
	v, err := u.local.visit(ctx, q.Database)
	if pg, answered := errors.AsType[*pgconn.PgError](err); answered && (pg.Code == "3D000" || pg.Code == "55000") {
		return nil, agent.Refuse(agent.BadOrder, "digest: database %q: %s", q.Database, pg.Message) // not there, or closed
	}
	if err != nil {
		return nil, fmt.Errorf("digest: %w", err)
	}
	defer u.local.leave(v)
	c := v.PgConn
	var out any
	switch q.Want {
	case agent.WantDatabases:
		out, err = databases(ctx, c)
	case agent.WantTables:
		out, err = tables(ctx, c, q.After)
	case agent.WantSequences:
		out, err = sequences(ctx, c, q.After)
	case agent.WantSums, agent.WantRows:
		out, err = spans(ctx, c, *q)
	default:
		return nil, agent.Refuse(agent.BadOrder, "digest: %q cannot be asked", q.Want)
	}
	if err != nil {
		return nil, fmt.Errorf("digest: %s in database %q: %w", q.Want, q.Database, err)
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("digest: %w", err)
	}
	return map[string]string{agent.FactDigest: string(raw), "member": u.set.Member}, nil
}

// readerSettings make the text of a value depend on nothing but the value: members whose settings, or
// whose roles' settings, are not the same must say the same of the same row.
var readerSettings = map[string]string{
	"datestyle": "ISO, MDY", "intervalstyle": "postgres", "timezone": "UTC", "extra_float_digits": "1", "bytea_output": "hex",
	"xmlbinary": "base64", "lc_monetary": "C", "lc_messages": "C", "quote_all_identifiers": "off", "row_security": "off",
	// It reads, is short, takes one processor at most, and waits for nobody.
	"default_transaction_read_only": "on", "statement_timeout": "25000", "lock_timeout": "500",
	"max_parallel_workers_per_gather": "0",
}

// reader opens a connection for looks at data; the database is the agent's own where it is empty.
func (l *local) reader(ctx context.Context, database string) (*pgconn.PgConn, error) {
	c, err := l.into(ctx, database)
	if err != nil {
		return nil, err
	}
	var set []string
	for name, value := range readerSettings {
		set = append(set, "SET "+name+" = "+quote(value))
	}
	// Names and keys are for people, everywhere in the same letters; a database that does not know
	// which letters it holds cannot turn them into others.
	letters := "UTF8"
	if c.ParameterStatus("server_encoding") == "SQL_ASCII" {
		letters = "SQL_ASCII"
	}
	set = append(set, "SET client_encoding = "+quote(letters))
	if _, err := ask(ctx, c, strings.Join(set, "; ")); err != nil {
		closeSoon(c)
		return nil, err
	}
	return c, nil
}

// placeSQL is how far the log is written, or replayed on a follower.
const placeSQL = "(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END)"

// spans looks at parts of tables.
func spans(ctx context.Context, c *pgconn.PgConn, q agent.Question) (verify.Answer, error) {
	began, ready := time.Now(), queued(backend(c))
	if q.Want == agent.WantRows && len(q.Spans) != 1 {
		return verify.Answer{}, errors.New("rows are asked of one span at a time")
	}
	before, err := ask(ctx, c, "SELECT "+placeSQL+", NOT pg_is_in_recovery()")
	if err != nil {
		return verify.Answer{}, err
	}
	a := verify.Answer{From: verify.LSN(toLSN(before[0][0])), Main: before[0][1] == "t"}
	known, err := describe(ctx, c, tablesIn(q.Spans)...)
	if err != nil {
		return a, err
	}
	done := false
	if q.Want == agent.WantSums && len(q.Spans) > 1 {
		if a.Part, done, err = sumsOf(ctx, c, q.Spans, known); err != nil {
			return a, err
		}
	}
	for _, s := range q.Spans {
		if done {
			break
		}
		d := known[s.Table]
		part, err := span(ctx, c, q.Want, s, d, &a)
		for try := 1; try < spanTries && inTheWay(err); try++ { // replay comes first: it was ended, and is begun again
			part, err = span(ctx, c, q.Want, s, d, &a)
		}
		if err != nil {
			return a, err
		}
		a.Part = append(a.Part, part)
	}
	a.Took = time.Since(began)
	a.Worked = max(a.Took-(queued(backend(c))-ready), time.Microsecond)
	return a, nil
}

// tablesIn are the tables of spans.
func tablesIn(spans []verify.Span) []uint32 {
	var out []uint32
	for _, s := range spans {
		if !slices.Contains(out, s.Table) {
			out = append(out, s.Table)
		}
	}
	return out
}

// sumsOf looks at many parts in one statement; false where something kept that from being done, so that they have to
// be looked at one by one: it is not known which of them it was about.
func sumsOf(ctx context.Context, c *pgconn.PgConn, spans []verify.Span, known map[uint32]described) ([]verify.Part, bool, error) {
	var selects []string
	out := make([]verify.Part, len(spans))
	for i, s := range spans {
		d := known[s.Table]
		if out[i] = (verify.Part{Gone: d.gone, Shape: d.shape}); !d.gone {
			selects = append(selects, fmt.Sprintf("SELECT %d, %s, count(*), coalesce(sum(%s), 0) FROM ONLY %s%s", i, blocksOf(s.Table), d.hash, d.name, where(s)))
		}
	}
	if len(selects) == 0 {
		return out, true, nil
	}
	got, err := ask(ctx, c, strings.Join(selects, " UNION ALL "))
	if _, answered := errors.AsType[*pgconn.PgError](err); answered {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for _, r := range got {
		p := &out[toNumber(r[0])]
		p.Blocks, p.Sum = uint32(toNumber(r[1])), r[3] //nolint:gosec // a table has at most 2^32 blocks
		if p.Count, err = strconv.ParseInt(r[2], 10, 64); err != nil {
			return nil, false, err
		}
	}
	return out, true, nil
}

// spanTries is how often a part is begun that was in the way of replay.
const spanTries = 4

// inTheWay says that a follower ended a look since replay needed what it held.
func inTheWay(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "40001"
}

// span looks at one part. What time does not mend is an answer; a table that was altered in the middle is
// one of another shape.
func span(ctx context.Context, c *pgconn.PgConn, want agent.Want, s verify.Span, d described, a *verify.Answer) (verify.Part, error) {
	if d.gone {
		return verify.Part{Gone: true}, nil
	}
	part := verify.Part{Shape: d.shape}
	var err error
	if part.Blocks, err = blocks(ctx, c, s.Table); err == nil {
		if want == agent.WantRows {
			part.Rows, err = rowsOf(ctx, c, s, d, a)
		} else {
			part.Count, part.Sum, err = sumOf(ctx, c, s, d)
		}
	}
	if err == nil {
		return part, nil
	}
	pg, answered := errors.AsType[*pgconn.PgError](err)
	if !answered {
		return part, err
	}
	_, _ = ask(ctx, c, "ROLLBACK")
	all, derr := describe(ctx, c, s.Table)
	if now := all[s.Table]; derr != nil || now.gone || now.shape != d.shape {
		return verify.Part{Gone: now.gone, Shape: now.shape}, derr
	}
	switch {
	case pg.Code == lockNotAvailable:
		return verify.Part{Shape: "locked"}, nil
	case lasting(pg.Code):
		part.Broken = pg.Message
		return part, nil
	}
	return part, err
}

// lockNotAvailable: somebody has the table for itself, as one does who alters it.
const lockNotAvailable = "55P03"

// lasting says that an error comes from what is stored, and would come again: data or an index that is
// corrupt, a file that cannot be read, a value that is none, a row that is larger than the
// server can handle.
func lasting(code string) bool {
	switch code[:2] {
	case "XX", "58", "22", "54":
		return true
	}
	return false
}

// where is a part's condition. Places are read in the order of the file; no index has a say.
func where(s verify.Span) string {
	out := fmt.Sprintf(" WHERE ctid >= '(%d,0)'", s.From)
	if s.To != 0 {
		out += fmt.Sprintf(" AND ctid < '(%d,0)'", s.To)
	}
	return out
}

func sumOf(ctx context.Context, c *pgconn.PgConn, s verify.Span, d described) (int64, string, error) {
	r, err := ask(ctx, c, "SELECT count(*), coalesce(sum("+d.hash+"), 0) FROM ONLY "+d.name+where(s))
	if err != nil {
		return 0, "", err
	}
	n, err := strconv.ParseInt(r[0][0], 10, 64)
	return n, r[0][1], err
}

// rowsOf reads one part row by row, in one snapshot whose place in the log is known.
func rowsOf(ctx context.Context, c *pgconn.PgConn, s verify.Span, d described, a *verify.Answer) ([]verify.Row, error) {
	snap, err := ask(ctx, c, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_snapshot_xmin(s), pg_snapshot_xmax(s), "+
		placeSQL+" FROM pg_current_snapshot() AS s")
	if err != nil {
		return nil, err
	}
	a.Snap = verify.Snapshot{Xmin: toNumber(snap[0][0]), Xmax: toNumber(snap[0][1])}
	a.To = verify.LSN(toLSN(snap[0][2]))
	key := "''"
	if d.key != "" {
		key = "left((" + d.key + ")::text, 200)"
	}
	got, err := ask(ctx, c, "SELECT ctid, xmin, xmax, "+d.hash+", "+key+" FROM ONLY "+d.name+where(s))
	if err != nil {
		return nil, err
	}
	if _, err := ask(ctx, c, "COMMIT"); err != nil {
		return nil, err
	}
	var out []verify.Row
	for _, r := range got {
		out = append(out, verify.Row{At: r[0], Xmin: uint32(toNumber(r[1])), Xmax: uint32(toNumber(r[2])), Hash: r[3], Key: strings.ToValidUTF8(r[4], "?")}) //nolint:gosec // these have 32 bits
	}
	return out, nil
}

// sequences lists a database's sequences in the order of their IDs.
func sequences(ctx context.Context, c *pgconn.PgConn, after uint32) (verify.SequencesAnswer, error) {
	const most = 1000
	before, err := ask(ctx, c, "SELECT "+placeSQL)
	if err != nil {
		return verify.SequencesAnswer{}, err
	}
	got, err := ask(ctx, c, fmt.Sprintf(`SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), coalesce(pg_sequence_last_value(c.oid), s.seqstart - s.seqincrement),
  s.seqincrement, s.seqcache, s.seqcycle FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid
  WHERE c.relkind = 'S' AND c.relpersistence = 'p' AND c.oid > %d ORDER BY c.oid LIMIT %d`, after, most))
	if err != nil {
		return verify.SequencesAnswer{}, err
	}
	end, err := ask(ctx, c, "SELECT "+placeSQL)
	if err != nil {
		return verify.SequencesAnswer{}, err
	}
	out := verify.SequencesAnswer{From: verify.LSN(toLSN(before[0][0])), To: verify.LSN(toLSN(end[0][0]))}
	for _, r := range got {
		s := verify.Sequence{ID: uint32(toNumber(r[0])), Name: strings.ToValidUTF8(r[1], "?"), Cycle: r[5] == "t"} //nolint:gosec // an oid has 32 bits
		for i, to := range map[int]*int64{2: &s.Last, 3: &s.Step, 4: &s.Cache} {
			if *to, err = strconv.ParseInt(r[i], 10, 64); err != nil {
				return out, fmt.Errorf("sequence %s: %w", s.Name, err)
			}
		}
		out.Sequences = append(out.Sequences, s)
	}
	return out, nil
}
