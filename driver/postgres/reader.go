package postgres

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver/postgres/salvage"
)

// reader reads what only this member holds, once.
type reader struct {
	u   *Unit
	o   agent.Order
	mem memory

	control map[string]string
	past    []turn
	fork    parting
	walked  *walked // nil: the log does not say
	teller
	end     LSN
	file    *os.File
	buffer  *bufio.Writer
	out     *salvage.Writer
	found   int // rows so far
	method  situation.SalvageMethod
	unknown []string
	partial bool
	say     func(string)
}

// mostNotes bounds what is said of a salvage: it stands in the towers' records.
const mostNotes = 100

// note remembers what could not be found out, in words; once.
func (r *reader) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	switch {
	case slices.Contains(r.unknown, text):
	case len(r.unknown) < mostNotes:
		r.unknown = append(r.unknown, text)
	case len(r.unknown) == mostNotes:
		r.unknown = append(r.unknown, "and more of the kind")
	}
}

// fewest keeps the tables with the most rows, so that a record stays small.
func fewest(tables map[string]int) map[string]int {
	if len(tables) <= mostNotes {
		return tables
	}
	names := slices.SortedFunc(maps.Keys(tables), func(a, b string) int { return cmp.Or(tables[b]-tables[a], cmp.Compare(a, b)) })
	out := map[string]int{}
	for i, n := range names {
		if i >= mostNotes {
			n = "others"
		}
		out[n] += tables[names[i]]
	}
	return out
}

// missed remembers what may hold rows and could not be read: people have to accept that.
func (r *reader) missed(format string, args ...any) {
	r.partial = true
	r.note(format, args...)
}

// read does it all. An error means that it may be tried again; that nobody can know is a result.
func (r *reader) read(ctx context.Context, say func(string)) (readResult, error) {
	r.say, r.method = say, situation.Nothing
	if err := r.u.removeUnended(); err != nil {
		return readResult{}, fmt.Errorf("%w: %w", errNotWritten, err)
	}
	if err := r.measure(ctx); err != nil {
		return r.unreadable(ctx, err)
	}
	if r.walked != nil && r.walked.nothing() {
		return r.done(ctx, nil)
	}
	say("waits for its server to recover, to be read")
	err := r.u.startApart(ctx, r.past[len(r.past)-1].timeline)
	if err == nil {
		err = r.databases(ctx)
	}
	say(fmt.Sprintf("ends its server; %d rows were found", r.found))
	// It ends whatever came of it: a member that is to be rewritten must not run.
	if e := r.u.endApart(context.WithoutCancel(ctx)); e != nil {
		r.discard()
		return readResult{}, errors.Join(err, e)
	}
	if err != nil {
		r.discard()
		return r.unreadable(ctx, err)
	}
	return r.done(ctx, r.out)
}

// measure finds out where the member left the primary, and what its log says of what it did then.
func (r *reader) measure(ctx context.Context) error {
	var err error
	if r.control, err = r.u.control(ctx); err != nil {
		return err
	}
	if r.past, err = r.u.past(r.control); err != nil {
		return err
	}
	if r.fork, err = findFork(r.o.Salvage.Turns, r.past); err != nil {
		return err
	}
	if r.cancel, err = findCancelled(r.u.set.Log, r.mem.Read.Waiting); err != nil {
		r.u.log.Info("salvage", "cancelled waits", err)
	}
	r.seen = r.mem.Read.Waiting
	if r.fork.at == 0 {
		r.note("it is on the primary's own timeline, so its log does not tell where it went another way: whatever differs is shown, and who changed it is not known")
		return nil
	}
	r.say("reads its log from " + r.fork.at.String())
	w, err := r.u.walk(ctx, r.past, r.fork)
	switch {
	case err == nil:
		r.walked, r.end, r.top = w, w.end, w.top
		r.unknown = append(r.unknown, w.notes()...)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		r.note("its log beyond %s cannot be read (%v), so its transactions are known only by what they left", r.fork.at, err)
	}
	return nil
}

// errNotWritten is a failure of the host that reads, not of what is read.
var errNotWritten = errors.New("what was read cannot be written down")

// worthRetrying says whether an error has nothing to do with what is read, so that it is to be tried again.
func worthRetrying(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, errNotWritten)
}

// unreadable is the result where the member cannot be read at all: people decide.
func (r *reader) unreadable(ctx context.Context, err error) (readResult, error) {
	if worthRetrying(ctx, err) {
		return readResult{}, err
	}
	past := r.past
	if len(past) == 0 {
		past = []turn{{}}
	}
	s := r.u.sketch(r.o, r.mem, past, r.fork)
	s.Method, s.At, s.System = situation.Unreadable, time.Now().UTC(), r.control["Database system identifier"]
	s.Unknown = append(r.unknown, "what only it holds: "+err.Error())
	return readResult{salvage: s, partial: true}, nil
}

// create begins the file, under a name that nobody sees before it is whole.
func (r *reader) create() error {
	if err := os.MkdirAll(r.u.Files(), 0o700); err != nil {
		return fmt.Errorf("%w: %w", errNotWritten, err)
	}
	if err := r.u.removeUnconfirmed(r.o.Salvage.ID); err != nil {
		return fmt.Errorf("%w: %w", errNotWritten, err)
	}
	var err error
	if r.file, err = os.CreateTemp(r.u.Files(), r.u.unended()+"*"); err != nil {
		return fmt.Errorf("%w: %w", errNotWritten, err)
	}
	r.buffer = bufio.NewWriterSize(r.file, 1<<20)
	r.out, err = salvage.NewWriter(r.buffer, salvage.Header{ID: r.o.Salvage.ID, Store: r.u.set.Store, Member: r.u.set.Member,
		System: r.control["Database system identifier"], Reign: r.mem.Reign, Timeline: r.past[len(r.past)-1].timeline, Fork: r.fork.at.String(), End: r.end.String(),
		Oldest: r.fork.oldest, Next: r.fork.next, At: time.Now().UTC()})
	return err
}

// discard takes what was begun away.
func (r *reader) discard() {
	if r.file != nil {
		r.file.Close()
		os.Remove(r.file.Name())
		r.file = nil
	}
}

// done ends the file, if there are rows for one, and says what was found.
func (r *reader) done(ctx context.Context, out *salvage.Writer) (readResult, error) {
	defer r.discard()
	s := r.u.sketch(r.o, r.mem, r.past, r.fork)
	s.Method, s.At, s.System, s.End, s.Rows = r.method, time.Now().UTC(), r.control["Database system identifier"], r.end.String(), r.found
	s.Partial, s.Unknown = r.partial, r.unknown
	if r.found == 0 && !r.partial && r.method == situation.Decoded {
		s.Method = situation.Nothing // every change was looked at, and none is of a row
	}
	if r.found > 0 {
		foot, err := out.Close(r.unknown)
		if err != nil {
			return readResult{}, err
		}
		s.State, s.Tables, s.Told = situation.SalvageOpen, fewest(foot.Tables), foot.Told
		if s.Bytes, err = r.publish(s.ID); err != nil {
			return readResult{}, fmt.Errorf("salvage: %w", err)
		}
		s.SHA256 = hex.EncodeToString(out.Sum())
	}
	c, err := r.u.control(ctx)
	if err != nil {
		return readResult{}, err
	}
	return readResult{salvage: s, stand: toLSN(c[controlAt]), partial: r.partial}, nil
}

// publish puts the file on disk and shows it under its name.
func (r *reader) publish(id string) (int64, error) {
	if err := r.buffer.Flush(); err != nil {
		return 0, err
	}
	info, err := r.file.Stat()
	if err != nil {
		return 0, err
	}
	if err := errors.Join(r.file.Sync(), r.file.Close()); err != nil {
		return 0, err
	}
	if err := os.Rename(r.file.Name(), filepath.Join(r.u.Files(), salvageFile(id))); err != nil {
		return 0, err
	}
	return info.Size(), agent.SyncDir(r.u.Files())
}

// add writes one row.
func (r *reader) add(row salvage.Row) error {
	if err := r.out.Add(row); err != nil {
		return fmt.Errorf("%w: %w", errNotWritten, err)
	}
	if r.found++; r.found%1000 == 0 {
		r.say(fmt.Sprintf("reads %s: %d rows so far", row.Database, r.found))
	}
	return nil
}

// databases reads them one after the other.
func (r *reader) databases(ctx context.Context) error {
	c, err := r.u.dialApart(ctx, "postgres")
	if err != nil {
		return err
	}
	defer closeSoon(c)
	if err := r.look(ctx, c); err != nil {
		return err
	}
	if err := r.create(); err != nil {
		return err
	}
	type one struct{ name, slot, confirmed string }
	var all []one
	err = eachRow(ctx, c, `SELECT d.datname, coalesce(s.slot_name, ''), coalesce(s.confirmed_flush_lsn::text, '') FROM pg_database d
		LEFT JOIN pg_replication_slots s ON s.slot_name = '`+slotPrefix+`' || d.oid AND s.plugin = '`+slotPlugin+`' AND coalesce(s.wal_status, '') <> 'lost'
		WHERE d.datallowconn AND NOT d.datistemplate ORDER BY d.datname`, func(v [][]byte) error {
		all = append(all, one{string(v[0]), string(v[1]), string(v[2])})
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range all {
		r.say(fmt.Sprintf("reads %s: %d rows so far", d.name, r.found))
		switch err := r.database(ctx, d.name, d.slot, toLSN(d.confirmed)); {
		case err == nil:
		case worthRetrying(ctx, err):
			return fmt.Errorf("database %s: %w", d.name, err)
		default:
			r.missed("%s could not be read: %v", d.name, err)
		}
	}
	return nil
}

// look asks what holds for the server as a whole: how far it went, and who opts out of waiting.
func (r *reader) look(ctx context.Context, c *pgconn.PgConn) error {
	return eachRow(ctx, c, `SELECT 'end', CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text
		UNION ALL SELECT 'loose', concat_ws(' in ', 'role ' || r.rolname, 'database ' || d.datname)
			FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS x
			WHERE split_part(x, '=', 1) = 'synchronous_commit' AND split_part(x, '=', 2) NOT IN ('on', 'remote_apply')
		UNION ALL SELECT 'loose', 'all sessions (synchronous_commit = ' || current_setting('synchronous_commit') || ')'
			WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')`, func(v [][]byte) error {
		switch {
		case string(v[0]) == "loose":
			r.loose = append(r.loose, string(v[1]))
		case r.end == 0:
			r.end = toLSN(string(v[1]))
		}
		return nil
	})
}

// database reads one from its slot, or, where that does not reach back to the fork, by comparison.
func (r *reader) database(ctx context.Context, name, slotName string, confirmed LSN) error {
	c, err := r.u.dialApart(ctx, name)
	if err != nil {
		return err
	}
	defer closeSoon(c)
	tables, err := tablesOf(ctx, c)
	if err != nil {
		return err
	}
	why := ""
	switch {
	case r.fork.at == 0:
		why = "it is not known where it went another way"
	case slotName == "":
		why = "it has no slot"
	case confirmed > r.fork.at:
		why = fmt.Sprintf("its slot begins at %s, after the fork", confirmed)
	default:
		r.method = situation.Decoded
		return r.decode(ctx, c, name, slotName, tables)
	}
	if r.method != situation.Decoded {
		r.method = situation.Compared
	}
	r.note("%s was read by comparison, since %s: of each row only its last state is known, and not when it was written", name, why)
	return r.compare(ctx, c, name, tables)
}

// decode reads a slot: the changes of the transactions that ended beyond the fork, in the order in
// which they did. The slot stays where it is, so that it can be read again.
func (r *reader) decode(ctx context.Context, c *pgconn.PgConn, db, slotName string, tables []table) error {
	peek := fmt.Sprintf("SELECT xid, data FROM pg_logical_slot_peek_changes(%s, NULL, NULL, 'include-timestamp', 'on', 'skip-empty-xacts', 'on')", quote(slotName))
	ends := map[uint32]time.Time{}
	var xids []string
	err := eachRow(ctx, c, fmt.Sprintf("%s WHERE data LIKE 'COMMIT %%' AND lsn > %s", peek, quote(r.fork.at.String())), func(v [][]byte) error {
		l, err := salvage.ParseLine(string(v[1]))
		if err != nil {
			return err
		}
		ends[l.Commit.XID] = l.Commit.At
		xids = append(xids, string(v[0]))
		return nil
	})
	if err != nil || len(xids) == 0 {
		return r.unread(ctx, db, err)
	}
	byName := map[salvage.Relation]table{}
	for _, t := range tables {
		byName[salvage.Relation{Schema: t.Schema, Table: t.Name}] = t
	}
	err = eachRow(ctx, c, fmt.Sprintf("%s WHERE xid = ANY ('{%s}'::xid[]) AND data LIKE 'table %%'", peek, strings.Join(xids, ",")), func(v [][]byte) error {
		xid := uint32(toNumber(string(v[0])))
		l, err := salvage.ParseLine(string(v[1]))
		if err != nil {
			return err
		}
		return r.change(db, xid, ends[xid], *l.Change, byName)
	})
	return r.unread(ctx, db, err)
}

// unread turns a failure to read one database into something that people are told.
func (r *reader) unread(ctx context.Context, db string, err error) error {
	if err == nil || worthRetrying(ctx, err) {
		return err
	}
	r.missed("%s: its changes could be read only in part: %v", db, err)
	return nil
}

// change makes rows of what test_decoding says.
func (r *reader) change(db string, xid uint32, at time.Time, c salvage.Change, tables map[salvage.Relation]table) error {
	told, why := r.of(xid)
	for _, rel := range c.Tables {
		if isOurs(db, rel.Schema) {
			continue
		}
		row := salvage.Row{Database: db, Schema: rel.Schema, Table: rel.Table, Op: c.Op, XID: xid, At: at, Told: told, Why: why, Old: c.Old, New: c.New}
		t, known := tables[rel]
		if c.Op != salvage.Truncate {
			row.Key, row.Note = t.Key, ""
			if row.Whole = t.Identity == "f" && c.Old != nil; row.Whole {
				row.Old = t.filled(c.Old)
			}
			switch {
			case !known:
				row.Note = "the table was gone at the end"
			case c.Bare:
				row.Note = "the log holds no values of it, since the table has no replica identity"
			case c.Op != salvage.Insert && !row.Whole:
				row.Note = "of what was there before the log holds only the key"
			}
			if _, ok := row.After(); !ok {
				row.Key = nil
			}
		}
		if c.Op != salvage.Delete && c.Op != salvage.Truncate && len(row.New) == 0 {
			r.missed("%s: a row of %s.%s of which the log holds no values", db, rel.Schema, rel.Table)
			continue
		}
		if err := r.add(row); err != nil {
			return err
		}
	}
	return nil
}
