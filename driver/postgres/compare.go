package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/driver/postgres/salvage"
)

// compareBatch is how many rows are looked up on the primary together.
const compareBatch = 500

// compare finds what a member alone holds without a slot: rows that transactions wrote which had
// not ended at the fork, where the primary has not the same; and rows that the primary has had since
// before the fork, and the member has not.
func (r *reader) compare(ctx context.Context, c *pgconn.PgConn, db string, tables []table) error {
	primary, err := r.u.dialPrimary(ctx, r.o.Upstream, db)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		primary = nil
		r.note("%s was not compared with the primary (%v), so all that was written beyond the fork is shown, also what the primary has, and nothing is known of deleted rows; "+
			"let %s connect to each database (pg_hba.conf: host all %s …), and have it read (GRANT pg_read_all_data)", db, err, ReplicationRole, ReplicationRole)
	} else {
		defer closeSoon(primary)
	}
	narrow := r.narrows(tables)
	for _, t := range tables {
		did := r.did(t)
		if narrow && !did.wrote || isOurs(db, t.Schema) {
			continue
		}
		err := r.written(ctx, c, primary, db, t)
		if err == nil && (!narrow || did.removed) {
			err = r.removed(ctx, c, primary, db, t)
		}
		switch {
		case err != nil && worthRetrying(ctx, err):
			return err
		case err != nil:
			r.missed("%s.%s.%s could not be read to its end: %v", db, t.Schema, t.Name, err)
		}
	}
	return nil
}

// narrows says whether the log tells which tables were touched: each file that it names is one of a
// table that is there. A table that was rewritten since has another file.
func (r *reader) narrows(tables []table) bool {
	if r.walked == nil {
		return false
	}
	known := map[string]bool{}
	for _, t := range tables {
		for _, f := range t.Files {
			known[f] = true
		}
	}
	if len(tables) == 0 || len(tables[0].Files) == 0 {
		return false
	}
	database, _, _ := strings.Cut(strings.SplitN(tables[0].Files[0], "/", 2)[1], "/")
	for file := range r.walked.touched {
		parts := strings.Split(file, "/")
		if len(parts) == 3 && parts[1] == database && toNumber(parts[2]) >= firstOfPeople && !known[file] {
			return false
		}
	}
	return true
}

// firstOfPeople is the first number that PostgreSQL gives to what people make.
const firstOfPeople = 16384

// did is what the log says that was done to a table.
func (r *reader) did(t table) (did touch) {
	if r.walked == nil {
		return touch{true, true}
	}
	for _, f := range t.Files {
		w := r.walked.touched[f]
		did.wrote, did.removed = did.wrote || w.wrote, did.removed || w.removed
	}
	return did
}

// recent is SQL for the rows that may have been written beyond the fork.
func (r *reader) recent() string {
	if r.walked != nil {
		xids := make([]string, 0, len(r.walked.top))
		for xid := range r.walked.top {
			xids = append(xids, number(uint64(xid)))
		}
		slices.Sort(xids)
		return "xmin = ANY ('{" + strings.Join(xids, ",") + "}'::xid[])"
	}
	if r.fork.oldest == 0 {
		r.note("nobody knows which transactions had ended at the fork, so whole tables were compared: where a row differs, either side may have changed it")
		return "true"
	}
	return "NOT " + older(r.fork.oldest)
}

// written adds the rows that transactions beyond the fork left, where the primary has not the same.
func (r *reader) written(ctx context.Context, c, primary *pgconn.PgConn, db string, t table) error {
	if len(t.Key) == 0 {
		r.note("%s.%s.%s has no key: what was written beyond the fork is shown without comparison, and deleted rows are not found", db, t.Schema, t.Name)
	}
	var batch []salvage.Row
	flush := func() error {
		defer func() { batch = batch[:0] }()
		return r.differ(ctx, primary, db, t, batch)
	}
	err := eachRow(ctx, c, fmt.Sprintf("SELECT xmin::text, %s FROM ONLY %s WHERE %s", list(t.names()), t.sql(), r.recent()), func(v [][]byte) error {
		xid := uint32(toNumber(string(v[0])))
		told, why := r.of(xid)
		batch = append(batch, salvage.Row{Database: db, Schema: t.Schema, Table: t.Name, Op: salvage.Insert, Key: t.Key, XID: xid, Told: told, Why: why, New: t.values(v[1:])})
		if len(batch) < compareBatch {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// differ adds those rows that the primary has not, or has otherwise.
func (r *reader) differ(ctx context.Context, primary *pgconn.PgConn, db string, t table, rows []salvage.Row) error {
	var there found
	if primary != nil && len(t.Key) > 0 && len(rows) > 0 {
		keys := make([][]salvage.Value, len(rows))
		for i, row := range rows {
			keys[i] = t.keyOf(row.New)
		}
		var err error
		if there, err = t.under(ctx, primary, keys, r.fork.next, ""); err != nil {
			r.note("%s.%s.%s was not compared with the primary: %v", db, t.Schema, t.Name, err)
			there = nil
		}
	}
	for _, row := range rows {
		row, differs := differing(row, there)
		if !differs {
			continue
		}
		if err := r.add(row); err != nil {
			return err
		}
	}
	return nil
}

// differing says what a row that was written beyond the fork is, beside what the primary has.
func differing(row salvage.Row, there found) (salvage.Row, bool) {
	if there == nil {
		row.Note = "it was not compared with the primary; it may have been there before the change"
		return row, true
	}
	key, _ := row.After()
	now := there[keyText(key)]
	switch {
	case !now.There():
		row.Note = "the primary has no such row: it was made here, or removed there since"
	case (salvage.Place{Row: row, Before: now, After: now}).Stands():
		return row, false
	case now.Untouched:
		row.Op, row.Old, row.Whole = salvage.Update, now.Values, true
		row.Note = "the old values are the primary's, where nobody changed the row since the fork"
	default:
		row.Op, row.Note = salvage.Update, "somebody changed the row on the primary, too, so what it was before is not known"
	}
	return row, true
}

// walkBatch is how many keys are compared together.
const walkBatch = 5000

// removed adds the rows that the primary has had since before the fork and the member has not. Both
// are walked in the order of the key: the member says where a batch ends, the primary what it has in it.
func (r *reader) removed(ctx context.Context, c, primary *pgconn.PgConn, db string, t table) error {
	if primary == nil || len(t.Key) == 0 {
		return nil
	}
	if r.fork.next == 0 {
		r.note("nobody knows which rows the primary had at the fork, so deleted ones cannot be told from those that were made there since")
		return nil
	}
	var last []salvage.Value
	have := map[string]bool{}
	compareTo := func(end []salvage.Value) error {
		defer clear(have)
		from := last
		last = end
		return r.gone(ctx, primary, db, t, from, end, have)
	}
	keyed := table{Schema: t.Schema, Name: t.Name, Key: t.Key}
	for _, k := range t.Key {
		keyed.Columns = append(keyed.Columns, tableColumn{Name: k})
	}
	err := eachRow(ctx, c, fmt.Sprintf("SELECT %s FROM ONLY %s ORDER BY %s", list(t.Key), t.sql(), list(t.Key)), func(v [][]byte) error {
		key := keyed.values(v)
		have[keyText(key)] = true
		if len(have) < walkBatch {
			return nil
		}
		return compareTo(key)
	})
	if err != nil {
		return err
	}
	r.note("rows that were deleted beyond the fork and changed on the primary since are not found by comparison")
	return compareTo(nil)
}

// gone adds what the primary has between two keys and the member has not.
func (r *reader) gone(ctx context.Context, primary *pgconn.PgConn, db string, t table, from, to []salvage.Value, have map[string]bool) error {
	where := []string{older(r.fork.next)}
	if from != nil {
		where = append(where, fmt.Sprintf("(%s) > %s", list(t.Key), tuple(from)))
	}
	if to != nil {
		where = append(where, fmt.Sprintf("(%s) <= %s", list(t.Key), tuple(to)))
	}
	var missing [][]salvage.Value
	keyed := table{Key: t.Key}
	for _, k := range t.Key {
		keyed.Columns = append(keyed.Columns, tableColumn{Name: k})
	}
	err := eachRow(ctx, primary, fmt.Sprintf("SELECT %s FROM ONLY %s WHERE %s", list(t.Key), t.sql(), strings.Join(where, " AND ")), func(v [][]byte) error {
		if key := keyed.values(v); !have[keyText(key)] {
			missing = append(missing, key)
		}
		return nil
	})
	if err != nil {
		r.note("%s.%s.%s: deleted rows were not looked for to the end: %v", db, t.Schema, t.Name, err)
		return nil
	}
	there, err := t.under(ctx, primary, missing, r.fork.next, "")
	if err != nil {
		r.note("%s.%s.%s: %v", db, t.Schema, t.Name, err)
		return nil
	}
	for _, key := range missing {
		now := there[keyText(key)]
		if !now.Untouched {
			continue // somebody changed it just now
		}
		told, why := salvage.Unknown, "a deleted row does not say which transaction deleted it"
		if err := r.add(salvage.Row{Database: db, Schema: t.Schema, Table: t.Name, Op: salvage.Delete, Key: t.Key, Old: now.Values, Whole: true, Told: told, Why: why,
			Note: "the primary has had it since before the fork, and this member has it no more"}); err != nil {
			return err
		}
	}
	return nil
}
