package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/driver/postgres/salvage"
)

// table is what has to be known of one to read rows of it, to find them, and to write them back.
type table struct {
	Schema   string        `json:"schema"`
	Name     string        `json:"name"`
	Identity string        `json:"identity"` // as in pg_class.relreplident: "d", "f", "i", "n"
	Key      []string      `json:"key"`      // of the replica identity's index, or the primary key
	Columns  []tableColumn `json:"columns"`
	Files    []string      `json:"files"` // of the table and its large values, "1663/5/16393"

	numbered map[string][]sequence // which sequences give its columns their numbers; nil: not asked yet
}

// tableColumn is one of a table's.
type tableColumn struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Generated bool   `json:"generated"`
}

// tablesSQL lists the tables of one database that hold rows of people's, as JSON, one a row.
const tablesSQL = `
SELECT json_build_object('schema', n.nspname, 'name', c.relname, 'identity', c.relreplident,
  'key', coalesce((SELECT json_agg(a.attname ORDER BY k.n) FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n), pg_attribute a
      WHERE i.indrelid = c.oid AND k.n <= i.indnkeyatts AND a.attrelid = c.oid AND a.attnum = k.attnum AND i.indisvalid
        AND CASE WHEN c.relreplident = 'i' THEN i.indisreplident ELSE i.indisprimary END), '[]'),
  'columns', coalesce((SELECT json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, NULL), 'generated', a.attgenerated <> '') ORDER BY a.attnum)
      FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
  'files', (SELECT coalesce(json_agg(f), '[]') FROM (SELECT coalesce(nullif(x.reltablespace, 0), d.dattablespace) || '/' || d.oid || '/' || pg_relation_filenode(x.oid)
      FROM pg_class x, pg_database d WHERE x.oid IN (c.oid, c.reltoastrelid) AND d.datname = current_database()) AS f(f)))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')`

// tablesOf reads them.
func tablesOf(ctx context.Context, c *pgconn.PgConn) ([]table, error) {
	var out []table
	err := eachRow(ctx, c, tablesSQL+" ORDER BY n.nspname, c.relname", func(v [][]byte) error {
		var t table
		if err := json.Unmarshal(v[0], &t); err != nil {
			return fmt.Errorf("catalogue: %w", err)
		}
		out = append(out, t)
		return nil
	})
	return out, err
}

// tableOf reads one; nil where there is none of the name.
func tableOf(ctx context.Context, c *pgconn.PgConn, schema, name string) (*table, error) {
	var out *table
	err := eachRow(ctx, c, tablesSQL+fmt.Sprintf(" AND n.nspname = %s AND c.relname = %s", quote(schema), quote(name)), func(v [][]byte) error {
		out = &table{}
		return json.Unmarshal(v[0], out)
	})
	return out, err
}

// ident writes a name for SQL.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// sql is the table's name for SQL.
func (t table) sql() string { return ident(t.Schema) + "." + ident(t.Name) }

// list writes columns for SQL.
func list(columns []string) string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = ident(c)
	}
	return strings.Join(out, ", ")
}

// names are the table's columns.
func (t table) names() []string {
	out := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		out[i] = c.Name
	}
	return out
}

// generated says of each column whether the table makes it itself.
func (t table) generated() map[string]bool {
	out := map[string]bool{}
	for _, c := range t.Columns {
		out[c.Name] = c.Generated
	}
	return out
}

// values makes of a server's row what a salvage holds: the table's columns in their order.
func (t table) values(row [][]byte) []salvage.Value {
	out := make([]salvage.Value, len(t.Columns))
	for i, c := range t.Columns {
		if row[i] == nil {
			out[i] = salvage.Value{Column: c.Name, Type: c.Type, State: salvage.Null}
			continue
		}
		out[i] = salvage.NewValue(c.Name, c.Type, string(row[i]))
	}
	return out
}

// filled adds to a whole row's values the columns that test_decoding left out because they were NULL.
func (t table) filled(row []salvage.Value) []salvage.Value {
	out := slices.Clone(row)
	for _, c := range t.Columns {
		if !slices.ContainsFunc(row, func(v salvage.Value) bool { return v.Column == c.Name }) {
			out = append(out, salvage.Value{Column: c.Name, Type: c.Type, State: salvage.Null})
		}
	}
	return out
}

// keyText is a key as a map's key: the values' text, with their lengths.
func keyText(key []salvage.Value) string {
	var b strings.Builder
	for _, v := range key {
		fmt.Fprintf(&b, "%d:%s,", len(v.String()), v.String())
	}
	return b.String()
}

// keyOf picks the key's values out of a row's.
func (t table) keyOf(row []salvage.Value) []salvage.Value {
	var out []salvage.Value
	for _, k := range t.Key {
		i := slices.IndexFunc(row, func(v salvage.Value) bool { return v.Column == k })
		out = append(out, row[i])
	}
	return out
}

// tuple writes key values for SQL: ('1','x'). The server takes them for what the columns are.
func tuple(key []salvage.Value) string {
	out := make([]string, len(key))
	for i, v := range key {
		out[i] = quote(v.String())
	}
	return "(" + strings.Join(out, ",") + ")"
}

// found is what a database has under some keys, by [keyText].
type found map[string]salvage.Now

// under looks keys of one table up. Rows that no transaction from next on has written count as
// untouched; 0: that cannot be told.
func (t table) under(ctx context.Context, c *pgconn.PgConn, keys [][]salvage.Value, next uint64, lock string) (found, error) {
	out := found{}
	for part := range slices.Chunk(keys, 100) {
		in := make([]string, len(part))
		for i, k := range part {
			in[i] = tuple(k)
		}
		sql := fmt.Sprintf("SELECT %s, %s FROM ONLY %s WHERE (%s) IN (%s)%s", older(next), list(t.names()), t.sql(), list(t.Key), strings.Join(in, ","), lock)
		err := eachRow(ctx, c, sql, func(row [][]byte) error {
			now := salvage.Now{Untouched: string(row[0]) == "t", Values: t.values(row[1:])}
			out[keyText(t.keyOf(now.Values))] = now
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", t.Schema, t.Name, err)
		}
	}
	return out, nil
}

// older is SQL that says whether a row's version is of a transaction before next, by the server's
// own count, which the file system's 32 bits do not show.
func older(next uint64) string {
	if next == 0 {
		return "false"
	}
	// age() counts back from the next transaction, and takes a row that was frozen for older than all.
	// Beyond two thousand million transactions it says nothing any more.
	return fmt.Sprintf("(pg_snapshot_xmax(pg_current_snapshot())::text::numeric - %d < 2000000000 AND age(xmin) > age('%d'::xid))", next, uint32(next))
}
