package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/core/verify"
)

// databases are those that can be connected to.
func databases(ctx context.Context, c *pgconn.PgConn) ([]string, error) {
	got, err := ask(ctx, c, "SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname COLLATE \"C\"")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range got {
		out = append(out, r[0])
	}
	return out, nil
}

// tables lists a database's tables in the order of their IDs, with why one of them cannot be compared. Tables
// that belong to all databases belong to postgres here, so that they are compared once.
func tables(ctx context.Context, c *pgconn.PgConn, after uint32) ([]verify.Table, error) {
	const most = 1000
	got, err := ask(ctx, c, fmt.Sprintf(`SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind, c.relpersistence, coalesce(a.amname, ''), c.relispopulated
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am a ON a.oid = c.relam
  WHERE c.relkind IN ('r', 'm', 'f') AND c.relpersistence <> 't' AND c.oid > %d AND (NOT c.relisshared OR current_database() = 'postgres')
  ORDER BY c.oid LIMIT %d`, after, most))
	if err != nil {
		return nil, err
	}
	var ids []uint32
	for _, r := range got {
		if skip(r[2], r[3], r[4], r[5] == "t") == "" {
			ids = append(ids, uint32(toNumber(r[0]))) //nolint:gosec // an oid has 32 bits
		}
	}
	known, err := describe(ctx, c, ids...)
	if err != nil {
		return nil, err
	}
	long, err := lengths(ctx, c, ids)
	if err != nil {
		return nil, err
	}
	out := []verify.Table{}
	for _, r := range got {
		t := verify.Table{ID: uint32(toNumber(r[0])), Name: strings.ToValidUTF8(r[1], "?"), Skip: skip(r[2], r[3], r[4], r[5] == "t")} //nolint:gosec // an oid has 32 bits
		if t.Skip == "" {
			d := known[t.ID]
			if d.gone {
				continue
			}
			t.Shape, t.Blocks = d.shape, long[t.ID]
		}
		out = append(out, t)
	}
	return out, nil
}

// skip says why a relation is not compared.
func skip(kind, persistence, method string, populated bool) string {
	switch {
	case !populated:
		return "a materialized view that holds nothing yet"
	case kind == "f":
		return "a foreign table: its rows are elsewhere"
	case persistence == "u":
		return "it is not logged, so it is empty on every follower"
	case method != "heap":
		return fmt.Sprintf("its access method %q is not known here", method)
	}
	return ""
}

func locked(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == lockNotAvailable
}

// blocksOf is SQL for a table's length now; 0 where it is gone.
func blocksOf(table uint32) string {
	return fmt.Sprintf("coalesce(pg_relation_size(%d) / current_setting('block_size')::int, 0)", table)
}

// lengths are how long tables are, as far as nobody has one of them for itself.
func lengths(ctx context.Context, c *pgconn.PgConn, tables []uint32) (map[uint32]uint32, error) {
	out := map[uint32]uint32{}
	if len(tables) == 0 {
		return out, nil
	}
	got, err := ask(ctx, c, fmt.Sprintf("SELECT t, coalesce(pg_relation_size(t) / current_setting('block_size')::int, 0) FROM unnest('%s'::oid[]) t", array(tables)))
	for _, r := range got {
		out[uint32(toNumber(r[0]))] = uint32(toNumber(r[1])) //nolint:gosec // these have 32 bits
	}
	if !locked(err) {
		return out, err
	}
	for _, t := range tables {
		if out[t], err = blocks(ctx, c, t); err != nil && !locked(err) {
			return nil, err
		}
	}
	return out, nil
}

// array is a list of IDs as SQL reads it.
func array(ids []uint32) string {
	return "{" + strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ","), "[]") + "}"
}

// blocks is a table's length now.
func blocks(ctx context.Context, c *pgconn.PgConn, table uint32) (uint32, error) {
	r, err := ask(ctx, c, "SELECT "+blocksOf(table))
	if err != nil {
		return 0, err
	}
	return uint32(toNumber(r[0][0])), nil //nolint:gosec // a table has at most 2^32 blocks
}

// described is what the digest needs to know of a table.
type described struct {
	gone  bool
	name  string // as SQL writes it
	shape string
	hash  string // expression: a number for a row
	key   string // expression: its key as one value; empty: it has none
}

// column is one of a table's.
type column struct {
	name     string // quoted
	base     uint32 // its type's ID, without domains
	collates bool
	place    string // its number
}

// describe reads tables' columns and keys, as this member has them now. A key is for people's eyes, so
// that any unique index on plain columns will do.
func describe(ctx context.Context, c *pgconn.PgConn, tables ...uint32) (map[uint32]described, error) {
	out := map[uint32]described{}
	if len(tables) == 0 {
		return out, nil
	}
	got, err := ask(ctx, c, fmt.Sprintf(`WITH RECURSIVE base AS (SELECT oid AS of, oid, typtype, typbasetype FROM pg_type
    WHERE oid IN (SELECT atttypid FROM pg_attribute WHERE attrelid = ANY ('%[1]s'::oid[]) AND attnum > 0)
  UNION ALL SELECT b.of, t.oid, t.typtype, t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd')
SELECT c.oid, 0, quote_ident(n.nspname) || '.' || quote_ident(c.relname), coalesce(pg_relation_filenode(c.oid), 0)::text,
    coalesce((SELECT i.indkey::text FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1), '')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ('%[1]s'::oid[])
UNION ALL
SELECT a.attrelid, a.attnum, quote_ident(a.attname), b.oid::text, (a.attcollation <> 0)::text
  FROM pg_attribute a JOIN base b ON b.of = a.atttypid AND b.typtype <> 'd'
  WHERE a.attrelid = ANY ('%[1]s'::oid[]) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2`, array(tables)))
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		out[t] = described{gone: true}
	}
	for len(got) > 0 {
		n := 1
		for n < len(got) && got[n][0] == got[0][0] {
			n++
		}
		if got[0][1] == "0" {
			out[uint32(toNumber(got[0][0]))] = describedBy(got[:n]) //nolint:gosec // an oid has 32 bits
		}
		got = got[n:]
	}
	return out, nil
}

// describedBy is what the rows about one table say: itself, then its columns.
func describedBy(rows [][]string) described {
	var columns []column
	for _, r := range rows[1:] {
		columns = append(columns, column{r[2], uint32(toNumber(r[3])), r[4] == "true", r[1]}) //nolint:gosec // an oid has 32 bits
	}
	return described{name: rows[0][2], shape: shapeOf(rows[0][3], columns), hash: hashOf(columns), key: keyOf(columns, rows[0][4])}
}

// shapeOf changes with the file that a table lies in, and with its columns.
func shapeOf(file string, columns []column) string {
	out := file
	for _, c := range columns {
		out += fmt.Sprintf(" %s:%s:%d", c.place, c.name, c.base)
	}
	sum := sha256.Sum256([]byte(out))
	return hex.EncodeToString(sum[:8])
}

// How a column goes into a row's number. Types whose equality is that of their bytes go in as they are;
// of some others the form that is sent over the wire, which loses nothing and costs less than
// text. The rest goes in as text.
var (
	asIs = []uint32{16, 17, 18, 19, 20, 21, 23, 25, 26, 1043, 1082, 1083, 1114, 1184, 2950} // bool, bytea, "char", name, int8, int2, int4, text, oid, varchar, date, time, timestamp, timestamptz, uuid
	sent = map[uint32]string{700: "float4send", 701: "float8send", 1186: "interval_send", 1700: "numeric_send"}
)

// hashOf is a row's number. That of a record alone would not do: it is a sum over the columns, and a sum of
// those over many rows would not show two rows that have swapped a value.
func hashOf(columns []column) string {
	var parts []string
	for _, c := range columns {
		name := c.name
		switch {
		case slices.Contains(asIs, c.base) && c.collates:
			name += ` COLLATE "C"`
		case slices.Contains(asIs, c.base):
		case sent[c.base] != "":
			name = sent[c.base] + "(" + name + ")"
		default:
			name = "(" + name + `)::text COLLATE "C"`
		}
		parts = append(parts, name)
	}
	if len(parts) == 0 {
		return "0::int8"
	}
	return "hashint8extended(hash_record_extended(ROW(" + strings.Join(parts, ", ") + "), 0), 0)"
}

// keyOf is the key's value where a table has one; numbers are those of its columns, as the catalogue writes them.
func keyOf(columns []column, numbers string) string {
	var parts []string
	for _, n := range strings.Fields(numbers) {
		i := slices.IndexFunc(columns, func(c column) bool { return c.place == n })
		if i < 0 {
			return ""
		}
		parts = append(parts, columns[i].name)
	}
	switch len(parts) {
	case 0:
		return ""
	case 1:
		return parts[0]
	}
	return "ROW(" + strings.Join(parts, ", ") + ")"
}
