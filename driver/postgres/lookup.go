package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/driver/postgres/salvage"
)

// lookup finds rows in one database of the server that runs, by their keys.
type lookup struct {
	c      *pgconn.PgConn
	err    error // why there is no connection
	tables map[salvage.Relation]*table
}

// lookup connects for looks alone.
func (u *Unit) lookup(ctx context.Context, database string) *lookup {
	l := &lookup{tables: map[salvage.Relation]*table{}}
	conf, err := u.local.conf("")
	if err != nil {
		l.err = err
		return l
	}
	conf.Database = database
	readable(conf)
	conf.RuntimeParams["default_transaction_read_only"] = "on"
	conf.RuntimeParams["statement_timeout"] = "4000"
	l.c, l.err = dialSoon(ctx, conf)
	return l
}

func (l *lookup) close() {
	if l.c != nil {
		closeSoon(l.c)
	}
}

// table is what there is of a name; an error where there is nothing.
func (l *lookup) table(ctx context.Context, schema, name string) (*table, error) {
	if l.err != nil {
		return nil, l.err
	}
	rel := salvage.Relation{Schema: schema, Table: name}
	if t, ok := l.tables[rel]; ok {
		return t, nil
	}
	t, err := tableOf(ctx, l.c, schema, name)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, fmt.Errorf("there is no table %s.%s here", schema, name)
	}
	l.tables[rel] = t
	return t, nil
}

// under is what stands under a key.
func (l *lookup) under(ctx context.Context, k agent.RowKey, next uint64) (salvage.Now, error) {
	t, err := l.table(ctx, k.Schema, k.Table)
	if err != nil {
		return salvage.Now{}, err
	}
	if len(k.Columns) == 0 || len(k.Columns) != len(k.Values) {
		return salvage.Now{}, fmt.Errorf("a key of %d columns and %d values", len(k.Columns), len(k.Values))
	}
	key := make([]salvage.Value, len(k.Columns))
	for i := range key {
		key[i] = salvage.NewValue(k.Columns[i], "", k.Values[i])
	}
	return t.underKey(ctx, l.c, key, next, "")
}

// underKey looks one key up, which need not be what the table takes for its key now.
func (t table) underKey(ctx context.Context, c *pgconn.PgConn, key []salvage.Value, next uint64, lock string) (salvage.Now, error) {
	t.Key = nil
	for _, v := range key {
		if !slices.Contains(t.names(), v.Column) {
			return salvage.Now{}, fmt.Errorf("column %q of %s.%s is gone", v.Column, t.Schema, t.Name)
		}
		t.Key = append(t.Key, v.Column)
	}
	there, err := t.under(ctx, c, [][]salvage.Value{key}, next, lock)
	if err != nil {
		return salvage.Now{}, err
	}
	if len(there) > 1 {
		return salvage.Now{}, fmt.Errorf("%d rows of %s.%s stand under one key (%s): it is no key there", len(there), t.Schema, t.Name, strings.Join(t.Key, ", "))
	}
	return there[keyText(key)], nil
}
