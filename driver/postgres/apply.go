package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/count"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver/postgres/salvage"
)

// conflictsShown is how many conflicts an answer lists.
const conflictsShown = 20

// applySalvage writes rows of a salvage back, on the primary, all in one transaction or none. Done
// again it finds them there and writes nothing.
func (u *Unit) applySalvage(ctx context.Context, o agent.Order, mem memory) (map[string]string, error) {
	if err := u.mayApply(ctx, o, mem); err != nil {
		return nil, err
	}
	p, err := u.pick(*o.Salvage)
	if err != nil {
		return nil, err
	}
	a, err := u.applier(ctx, p, o.Salvage.Overwrite)
	if err != nil {
		return nil, err
	}
	defer closeSoon(a.l.c)
	written, err := a.apply(ctx, p.chosen)
	if err != nil {
		return nil, err
	}
	slices.Sort(a.notes)
	return map[string]string{"written": number(uint64(written)), "stand": number(uint64(len(p.chosen))), "sequences": strings.Join(a.notes, "; ")}, nil
}

func (u *Unit) mayApply(ctx context.Context, o agent.Order, mem memory) error {
	switch {
	case o.Salvage == nil || !salvageID.MatchString(o.Salvage.ID):
		return agent.Refuse(agent.BadOrder, "apply: which salvage?")
	case mem.Fenced || mem.Role != asPrimary || mem.Reign != o.Reign:
		return agent.Refuse(agent.Unsafe, "%s is not the primary of epoch %d: rows are written back on the primary alone", u.set.Member, o.Reign)
	}
	return wanted(ctx, "apply")
}

// picked is what people chose of a salvage.
type picked struct {
	head   salvage.Header
	chosen []salvage.Row
	// others are all rows of the salvage, by table: they tell what a chosen one was meant to replace.
	others map[tableAt][]salvage.Row
}

// tableAt is a table of one database: another one may have a table of the same name.
type tableAt struct{ database, schema, table string }

func tableOfRow(r salvage.Row) tableAt { return tableAt{r.Database, r.Schema, r.Table} }

// pick reads the file. Rows that can never be written are refused here.
func (u *Unit) pick(s agent.Salvaging) (picked, error) {
	f, r, err := u.open(s)
	if err != nil {
		return picked{}, err
	}
	defer f.Close()
	wanted := map[int]bool{}
	if s.Rows != "" {
		numbers, err := situation.ParseRows(s.Rows)
		if err != nil {
			return picked{}, agent.Refuse(agent.BadOrder, "apply: %v", err)
		}
		for _, n := range numbers {
			wanted[n] = true
		}
	}
	p := picked{head: r.Header, others: map[tableAt][]salvage.Row{}}
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return picked{}, agent.Refuse(agent.Unsafe, "salvage %s: %v", s.ID, err)
		}
		if at := tableOfRow(row); row.Op != salvage.Truncate {
			p.others[at] = append(p.others[at], row)
		}
		if s.Rows == "" || wanted[row.N] {
			p.chosen = append(p.chosen, row)
			delete(wanted, row.N)
		}
	}
	for n := range wanted {
		return picked{}, agent.Refuse(agent.BadOrder, "salvage %s has no row %d; it has %d", s.ID, n, r.Footer().Rows)
	}
	return p, p.writable(s.ID)
}

// writable refuses what can never be written, or not together.
func (p picked) writable(id string) error {
	if len(p.chosen) == 0 {
		return agent.Refuse(agent.BadOrder, "salvage %s holds no rows", id)
	}
	var no []string
	for _, row := range p.chosen {
		if err := row.Writable(); err != nil {
			no = append(no, err.Error())
		}
		if first := p.chosen[0].Database; row.Database != first {
			return agent.Refuse(agent.Unsafe, "nothing was written: rows of two databases (%s, %s) cannot be written in one transaction: choose those of one at a time", first, row.Database)
		}
	}
	if len(no) > 0 {
		return agent.Refuse(agent.Unsafe, "nothing was written: %s", some(no))
	}
	return nil
}

// some lists the first of many.
func some(all []string) string {
	if len(all) <= conflictsShown {
		return strings.Join(all, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(all[:conflictsShown], "; "), len(all)-conflictsShown)
}

// applier writes rows back into one database, in one transaction.
type applier struct {
	l         lookup
	p         picked
	overwrite bool
	conflicts []string
	furthest  map[sequence]int64 // of what the written rows brought
	notes     []string           // about sequences
	warned    string             // what the server said beside success: a commit for which nobody waited
}

// applier connects as a client of the database would, but for who it is: triggers and rules find the
// database's own settings.
func (u *Unit) applier(ctx context.Context, p picked, overwrite bool) (*applier, error) {
	a := &applier{p: p, overwrite: overwrite, furthest: map[sequence]int64{}, l: lookup{tables: map[salvage.Relation]*table{}}}
	conf, err := u.local.conf("")
	if err != nil {
		return nil, err
	}
	conf.Database = p.chosen[0].Database
	readable(conf)
	delete(conf.RuntimeParams, "search_path") // a trigger may rest on the database's own
	conf.RuntimeParams["lock_timeout"] = "10000"
	conf.RuntimeParams["default_transaction_isolation"] = "read committed"
	conf.RuntimeParams["default_transaction_read_only"] = "off"
	conf.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if strings.HasPrefix(n.Message, cancelMark) {
			a.warned = n.Message
		}
	}
	if a.l.c, err = dialWithin(ctx, busy, conf); err != nil {
		return nil, agent.Refuse(agent.Unsafe, "apply: nothing was written: %v", err)
	}
	system, err := ask(ctx, a.l.c, "SELECT system_identifier FROM pg_catalog.pg_control_system()")
	switch {
	case err != nil:
		err = agent.Refuse(agent.Unsafe, "apply: nothing was written: %v", err)
	case system[0][0] != p.head.System:
		err = agent.Refuse(agent.Unsafe, "nothing was written: salvage %s is of the cluster with system identifier %s, this is %s", p.head.ID, p.head.System, system[0][0])
	default:
		return a, nil
	}
	closeSoon(a.l.c)
	return nil, err
}

// apply decides and writes, row by row, then commits and waits for the other members as any commit does.
func (a *applier) apply(ctx context.Context, chosen []salvage.Row) (written int, err error) {
	if _, err := ask(ctx, a.l.c, "BEGIN; SET LOCAL synchronous_commit = on"); err != nil {
		return 0, agent.Refuse(agent.Unsafe, "apply: nothing was written: %v", err)
	}
	for _, row := range chosen {
		did, err := a.row(ctx, row)
		if err != nil {
			return 0, agent.Refuse(agent.Unsafe, "nothing was written: row %d of %s: %v", row.N, row.Name(), err)
		}
		if did {
			written++
		}
	}
	if len(a.conflicts) > 0 {
		return 0, agent.Refuse(agent.Unsafe, "nothing was written, because of %s that the primary holds otherwise (haechi salvage show): %s; leave them out, or say --overwrite", count.Of(len(a.conflicts), "row"), some(a.conflicts))
	}
	if written == 0 {
		return 0, nil
	}
	if err := a.moveOn(ctx); err != nil {
		return 0, agent.Refuse(agent.Unsafe, "nothing was written: %v", err)
	}
	if err := agent.Wanted(ctx); err != nil {
		return 0, agent.Refuse(agent.Late, "nothing was written: %v", err)
	}
	return written, a.commit(ctx)
}

// commit makes it so. Deferred constraints may refuse it now.
func (a *applier) commit(ctx context.Context) error {
	_, err := ask(ctx, a.l.c, "COMMIT")
	if _, refused := errors.AsType[*pgconn.PgError](err); refused {
		return agent.Refuse(agent.Unsafe, "nothing was written: the database refuses the rows together: %v", err)
	}
	if err != nil {
		return fmt.Errorf("apply: it is not known whether the rows were written: %w", err)
	}
	if a.warned != "" {
		return fmt.Errorf("apply: the rows were written, but the wait for the other members was cut short: %s", a.warned)
	}
	return nil
}

// place finds out what the primary has where a row is, and where it is to be.
func (a *applier) place(ctx context.Context, row salvage.Row, lock string) (*table, salvage.Place, error) {
	var p salvage.Place
	t, err := a.l.table(ctx, row.Schema, row.Table)
	if err != nil {
		return nil, p, err
	}
	if p.Row, err = row.Fit(t.generated()); err != nil {
		return nil, p, err
	}
	before, _ := p.Row.Before()
	after, _ := p.Row.After()
	if p.Before, err = t.underKey(ctx, a.l.c, before, a.p.head.Next, lock); err != nil {
		return nil, p, err
	}
	if p.After = p.Before; keyText(before) != keyText(after) {
		p.After, err = t.underKey(ctx, a.l.c, after, a.p.head.Next, lock)
	}
	return t, p, err
}

// decide says what is to be done about a row.
func (a *applier) decide(p salvage.Place) (salvage.Act, string) {
	return salvage.Decide(p, a.p.others[tableOfRow(p.Row)])
}

// row decides about one and writes it.
func (a *applier) row(ctx context.Context, row salvage.Row) (bool, error) {
	t, p, err := a.place(ctx, row, " FOR UPDATE")
	if err != nil {
		return false, err
	}
	act, why := a.decide(p)
	if act == salvage.Conflict && a.overwrite {
		if act, err = salvage.Overwrite(p); err != nil {
			return false, err
		}
	}
	switch act {
	case salvage.Skip:
		return false, nil
	case salvage.Conflict:
		a.conflicts = append(a.conflicts, fmt.Sprintf("row %d of %s: %s", row.N, row.Name(), why))
		return false, nil
	}
	return true, a.write(ctx, t, p, act)
}

// standing counts how many chosen rows stand as they should, and changes nothing.
func (u *Unit) standingRows(ctx context.Context, s agent.Salvaging) (map[string]string, error) {
	p, err := u.pick(s)
	if err != nil {
		return nil, err
	}
	a := &applier{p: p, l: *u.lookup(ctx, p.chosen[0].Database)}
	defer a.l.close()
	stand := 0
	for _, row := range p.chosen {
		_, place, err := a.place(ctx, row, "")
		if err != nil {
			return nil, fmt.Errorf("row %d of %s: %w", row.N, row.Name(), err)
		}
		if act, _ := a.decide(place); act == salvage.Skip {
			stand++
		}
	}
	return map[string]string{"stand": number(uint64(stand)), "of": number(uint64(len(p.chosen)))}, nil
}

// write carries one row out. Values go as text, and the server takes them for what the columns are.
func (a *applier) write(ctx context.Context, t *table, p salvage.Place, act salvage.Act) error {
	var params [][]byte
	param := func(v salvage.Value) string {
		text := []byte(v.String())
		if v.State == salvage.Null {
			text = nil
		}
		params = append(params, text)
		return fmt.Sprintf("$%d", len(params))
	}
	key, _ := p.Row.Before()
	if !p.Before.There() { // an overwrite of what stands under the new key
		key, _ = p.Row.After()
	}
	var sql string
	switch known := news(p); act {
	case salvage.Make:
		var columns, values []string
		for _, v := range known {
			columns, values = append(columns, v.Column), append(values, param(v))
		}
		sql = fmt.Sprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE VALUES (%s)", t.sql(), list(columns), strings.Join(values, ", "))
	case salvage.Alter:
		var set []string
		for _, v := range known {
			set = append(set, ident(v.Column)+" = "+param(v))
		}
		if len(set) == 0 {
			return nil
		}
		sql = fmt.Sprintf("UPDATE ONLY %s SET %s WHERE %s", t.sql(), strings.Join(set, ", "), byKey(key, param))
	case salvage.Remove:
		sql = fmt.Sprintf("DELETE FROM ONLY %s WHERE %s", t.sql(), byKey(key, param))
	default:
		return fmt.Errorf("there is no act %q", act)
	}
	tag, err := a.l.c.ExecParams(ctx, sql, params, nil, nil, nil).Close()
	if err != nil {
		return err
	}
	if n := tag.RowsAffected(); n != 1 {
		return fmt.Errorf("%d rows were changed instead of one: a trigger or a rule of the table does something else", n)
	}
	if act == salvage.Remove {
		return nil
	}
	return a.given(ctx, t, news(p))
}

// news are the values that a row brings: those that are known, and other than what stands there. What
// stays as it is is left out, since some columns take no value at all.
func news(p salvage.Place) []salvage.Value {
	now := p.Before
	if !now.There() {
		now = p.After
	}
	return slices.DeleteFunc(slices.Clone(p.Row.New), func(v salvage.Value) bool {
		return v.State == salvage.Untouched || slices.ContainsFunc(now.Values, func(n salvage.Value) bool { return n.Column == v.Column && n.Same(v) })
	})
}

// byKey finds one row by its key.
func byKey(key []salvage.Value, param func(salvage.Value) string) string {
	var out []string
	for _, v := range key {
		out = append(out, ident(v.Column)+" = "+param(v))
	}
	return strings.Join(out, " AND ")
}
