package tower

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver/postgres"
	"github.com/haechi/haechi/driver/postgres/salvage"
	"github.com/haechi/haechi/tower/web"
)

// keysAtOnce bounds how many bytes of keys one question to an agent holds; it takes no longer orders than 64 KB.
const keysAtOnce = 32 << 10

func noSalvage(id string) error {
	return &web.Refused{Code: web.NotFound, Why: fmt.Sprintf("there is no salvage %q", id), Do: "haechi salvage list shows those that there are"}
}

// Salvages lists what was found on members that went another way, newest first.
func (n *Node) Salvages(context.Context) ([]situation.Salvage, error) {
	var out []situation.Salvage
	for _, s := range n.store.Snapshot().Salvages {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b situation.Salvage) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.ID, b.ID)) })
	return out, nil
}

// Salvage returns one with rows, and what stands in their places on the primary now.
func (n *Node) Salvage(ctx context.Context, id string, from int) (web.SalvageRows, error) {
	b := n.beliefs()
	sv, ok := n.store.Snapshot().Salvages[id]
	if !ok {
		return web.SalvageRows{}, noSalvage(id)
	}
	out := web.SalvageRows{Salvage: sv, Rows: []web.SalvageRow{}}
	if sv.Rows < max(from, 1) {
		return out, nil
	}
	d, rec := postgres.New(n.agentOf), n.store.Snapshot().Stores[sv.Store]
	rows, err := d.Salvaged(ctx, b.estate, rec, sv, from)
	if err != nil {
		return out, &web.Refused{Code: web.Unmet, Why: err.Error(), Do: fmt.Sprintf("its holders are %v: bring one of their agents back", sv.Holders)}
	}
	now, err := standing(rows, func(keys []agent.RowKey) ([]postgres.ShownNow, error) {
		return d.Standing(ctx, b.estate, rec, sv, keys)
	})
	for i, row := range rows {
		out.Rows = append(out.Rows, webRow(row, now[i], err))
	}
	written, werr := situation.ParseRows(sv.Written)
	for i := range out.Rows {
		_, found := slices.BinarySearch(written, out.Rows[i].N)
		out.Rows[i].Written = werr == nil && found
	}
	if last := rows[len(rows)-1].N; last < sv.Rows {
		out.Next = last + 1
	}
	return out, nil
}

// standing asks what stands where rows are found; nil for those that have no key, or of which the
// question failed.
func standing(rows []postgres.ShownRow, ask func([]agent.RowKey) ([]postgres.ShownNow, error)) ([]*postgres.ShownNow, error) {
	out := make([]*postgres.ShownNow, len(rows))
	var keys []agent.RowKey
	var at []int
	size := 0
	flush := func() error {
		if len(keys) == 0 {
			return nil
		}
		got, err := ask(keys)
		if err == nil && len(got) != len(keys) {
			err = fmt.Errorf("%d answers to %d questions", len(got), len(keys))
		}
		for i := range got {
			if err == nil {
				out[at[i]] = &got[i]
			}
		}
		keys, at, size = nil, nil, 0
		return err
	}
	for i, row := range rows {
		key, ok := keyOf(row)
		if !ok {
			continue
		}
		n := 100
		for j := range key.Columns {
			n += len(key.Columns[j]) + len(key.Values[j])
		}
		if size+n > keysAtOnce {
			if err := flush(); err != nil {
				return out, err
			}
		}
		keys, at, size = append(keys, key), append(at, i), size+n
	}
	return out, flush()
}

// keyOf is where a row is found on the primary: as it was before the change, or, of one that was made,
// as it was made.
func keyOf(row postgres.ShownRow) (agent.RowKey, bool) {
	key := agent.RowKey{Database: row.Database, Schema: row.Schema, Table: row.Table, Columns: row.Key}
	for _, k := range row.Key {
		v, ok := shown(row.Old, k)
		if !ok {
			v, ok = shown(row.New, k)
		}
		if !ok || v.State != salvage.Known || v.Bytes > 0 {
			return key, false
		}
		key.Values = append(key.Values, v.Text)
	}
	return key, len(key.Values) > 0
}

func shown(all []postgres.Shown, column string) (postgres.Shown, bool) {
	i := slices.IndexFunc(all, func(s postgres.Shown) bool { return s.Column == column })
	if i < 0 {
		return postgres.Shown{}, false
	}
	return all[i], true
}

// webRow draws a row for people.
func webRow(row postgres.ShownRow, now *postgres.ShownNow, err error) web.SalvageRow {
	out := web.SalvageRow{N: row.N, Database: row.Database, Schema: row.Schema, Table: row.Table, Op: string(row.Op), Key: row.Key,
		Old: webValues(row.Old), New: webValues(row.New), XID: row.XID, At: row.At, Told: string(row.Told), Because: row.Why, Note: row.Note, Stands: web.StandsUnknown}
	switch {
	case now == nil && err != nil:
		out.Why = err.Error()
	case now == nil:
		out.Why = "it has no key by which it could be found"
	case now.Error != "":
		out.Why = now.Error
	default:
		out.Now, out.Stands = webValues(now.Values), stands(row, *now)
	}
	return out
}

// stands compares what the primary has with what the salvage wants.
func stands(row postgres.ShownRow, now postgres.ShownNow) string {
	same := now.There
	for _, v := range row.New {
		if n, ok := shown(now.Values, v.Column); ok && v.State != salvage.Untouched && n != v {
			same = false
		}
	}
	switch {
	case row.Op == salvage.Delete && !now.There, row.Op != salvage.Delete && same:
		return web.StandsSo
	case !now.There:
		return web.StandsMissing
	case now.Untouched:
		return web.StandsBefore
	}
	return web.StandsChanged
}

func webValues(all []postgres.Shown) []web.SalvageValue {
	var out []web.SalvageValue
	for _, v := range all {
		out = append(out, web.SalvageValue{Column: v.Column, Text: v.Text, State: string(v.State), Bytes: v.Bytes})
	}
	return out
}
