package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/core/count"
	"github.com/haechi/haechi/driver/postgres/salvage"
)

// A salvaged row brings the number that the old primary's sequence gave it. The new primary's sequence may not
// have come so far, and would give the number to a client once more: an error about a key that is there already, for
// each such row, long after people have gone home. So what is written moves sequences on.

// sequence gives a column its numbers.
type sequence struct {
	name string // for SQL
	step int64  // from one number to the next; less than 0: downwards
	end  int64  // it gives no number beyond
}

// beyond says whether n comes after m.
func (s sequence) beyond(n, m int64) bool { return n > m && s.step > 0 || n < m && s.step < 0 }

// sequencesSQL lists which sequences give numbers to which columns of a table: its own (serial, identity), and those that
// defaults name. One that begins again at its end promises nothing, and is left out.
const sequencesSQL = `
SELECT a.attname, quote_ident(n.nspname) || '.' || quote_ident(s.relname), q.seqincrement, CASE WHEN q.seqincrement > 0 THEN q.seqmax ELSE q.seqmin END
FROM pg_attribute a JOIN LATERAL (
    SELECT d.objid AS seq FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype IN ('a', 'i')
    UNION SELECT d.refobjid FROM pg_attrdef f JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
      WHERE f.adrelid = a.attrelid AND f.adnum = a.attnum) AS of ON true
  JOIN pg_sequence q ON q.seqrelid = of.seq JOIN pg_class s ON s.oid = of.seq JOIN pg_namespace n ON n.oid = s.relnamespace
WHERE NOT q.seqcycle AND NOT a.attisdropped AND a.attrelid = %s::regclass ORDER BY 1, 2`

// sequences are those of a table's columns.
func (t table) sequences(ctx context.Context, c *pgconn.PgConn) (map[string][]sequence, error) {
	rows, err := ask(ctx, c, fmt.Sprintf(sequencesSQL, quote(t.sql())))
	if err != nil {
		return nil, fmt.Errorf("sequences of %s.%s: %w", t.Schema, t.Name, err)
	}
	out := map[string][]sequence{}
	for _, r := range rows {
		step, err := strconv.ParseInt(r[2], 10, 64)
		end, err2 := strconv.ParseInt(r[3], 10, 64)
		if err = errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("sequence %s: %w", r[1], err)
		}
		out[r[0]] = append(out[r[0]], sequence{r[1], step, end})
	}
	return out, nil
}

// given notes the numbers that a row brought.
func (a *applier) given(ctx context.Context, t *table, values []salvage.Value) error {
	if t.numbered == nil {
		var err error
		if t.numbered, err = t.sequences(ctx, a.l.c); err != nil {
			return err
		}
	}
	for _, v := range values {
		for _, s := range t.numbered[v.Column] {
			n, err := strconv.ParseInt(v.String(), 10, 64)
			if err != nil || v.State != salvage.Known || s.beyond(n, s.end) {
				continue // not a number that it gave
			}
			if far, ok := a.furthest[s]; !ok || s.beyond(n, far) {
				a.furthest[s] = n
			}
		}
	}
	return nil
}

// mostNumbers is how many numbers a sequence is moved on at most. A greater distance is not the old primary's
// sequence, but a number that somebody chose.
const mostNumbers = 1_000_000

// moveOn has no sequence give out again what a written row has. It takes number by number, as clients do: what sets
// a sequence could set it back beneath a client that takes one at the same time. Numbers are never given back, so
// where the rows are not written after all some are left out, as after any transaction that fails.
func (a *applier) moveOn(ctx context.Context) error {
	for s, n := range a.furthest {
		at, err := ask(ctx, a.l.c, "SELECT last_value, is_called FROM "+s.name)
		if err != nil {
			return err
		}
		last, err := strconv.ParseInt(at[0][0], 10, 64)
		if err != nil {
			return fmt.Errorf("sequence %s: %w", s.name, err)
		}
		missing := (n - last) / s.step
		if at[0][1] == "f" {
			missing++ // the last value is the next
		}
		switch {
		case missing <= 0:
			continue
		case missing > mostNumbers:
			a.notes = append(a.notes, fmt.Sprintf("sequence %s is at %d, far from %d, and was left there", s.name, last, n))
			continue
		}
		if _, err := ask(ctx, a.l.c, fmt.Sprintf("SELECT count(nextval(%s)) FROM generate_series(1, %d)", quote(s.name), missing)); err != nil {
			return fmt.Errorf("sequence %s: %w", s.name, err)
		}
		a.notes = append(a.notes, fmt.Sprintf("sequence %s was moved on by %s, to give none of them again", s.name, count.Of(int(missing), "number")))
	}
	return nil
}
