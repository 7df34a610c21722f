//go:build lab

package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver/postgres/salvage"
)

// writesBack writes the salvage of [planted] back, row by row and all at once, and checks what is refused.
func (c *cluster) writesBack(t *testing.T, s situation.Salvage) {
	p := c.primary()
	apply := func(rows string, overwrite bool) (string, error) {
		r := c.home()
		r.args = map[string]string{plan.ArgSalvage: s.ID, plan.ArgRows: rows, plan.ArgBy: "kim"}
		if overwrite {
			r.args[plan.ArgOverwrite] = "true"
		}
		task := r.task(plan.Apply, string(c.record.Primary))
		task.Salvage = s
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		res, err := c.driver.Do(ctx, task)
		if err == nil {
			s = *res.Salvage
			if l, err := c.driver.Look(ctx, task); err != nil || l.Outcome != run.Done {
				t.Errorf("look after apply %s: %+v, %v", rows, l, err)
			}
		}
		return res.Note, err
	}
	refused := func(rows, says string) {
		t.Helper()
		before := p.sql("SELECT string_agg(i::text, ',' ORDER BY id) FROM public.item AS i")
		if _, err := apply(rows, false); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "nothing was written") {
			t.Errorf("rows %q: %v, want %q in it", rows, err, says)
		}
		if diff := cmp.Diff(before, p.sql("SELECT string_agg(i::text, ',' ORDER BY id) FROM public.item AS i")); diff != "" {
			t.Errorf("rows %q: %s", rows, diff)
		}
	}
	refused("", "has no key")
	refused("9", "violates foreign key") // its item is not there yet
	p.sql("UPDATE public.item SET name = 'theirs' WHERE id = 3")
	refused("1,3", "somebody has changed the row since")
	p.sql("ALTER TABLE public.item DROP COLUMN mood")
	refused("1", `column "mood"`)
	p.sql(`ALTER TABLE public.item ADD COLUMN mood public."기분 ]", ADD COLUMN fresh int DEFAULT 5`)
	p.sql("SELECT setval('public.item_nr_seq', 20)") // so far had the follower come: the next client would get what row 1 has
	if note, err := apply("1-2", false); err != nil || !strings.Contains(note, "sequence public.item_nr_seq was moved on by 1 number, ") {
		t.Fatalf("%s, %v", note, err)
	}
	if next := p.sql("SELECT nextval('public.item_nr_seq')")[0][0]; next != "22" {
		t.Errorf("the next number is %s", next)
	}
	if got := fmt.Sprint(p.sql("SELECT twice, nr, raw, tags, doc, mood, fresh FROM public.item WHERE id = 100")); got != `[[200 21 \x00ff27 {a,"b\"c",NULL} {"x": [1, "y'z"]} it's ok 5]]` {
		t.Error(got)
	}
	// Triggers run as for any client: this one's row has the next number, since what was refused had taken 1.
	if got := fmt.Sprint(p.sql("SELECT * FROM public.seen ORDER BY id")); got != "[[1 INSERTnew] [2 INSERTnew]]" {
		t.Errorf("beside the salvaged row the trigger wrote one: %s", got)
	}
	if note, err := apply("3", true); err != nil {
		t.Errorf("overwrite: %s, %v", note, err)
	}
	if note, err := apply("4-7,9-11", false); err != nil {
		t.Errorf("%s, %v", note, err)
	}
	if note, err := apply("1-7,9-11", false); err != nil || !strings.HasPrefix(note, "0 of") {
		t.Errorf("a second time: %s, %v", note, err)
	}
	if s.State != situation.SalvageOpen || s.Written != "1-7,9-11" {
		t.Errorf("%+v", s)
	}
	for _, m := range c.record.Sync {
		eventually(t, "the rows are on "+string(m), func() bool {
			return fmt.Sprint(c.members[string(m)].sql(`SELECT (SELECT name FROM public.item WHERE id = 3), (SELECT count(*) FROM public.item WHERE id IN (4, 5)), (SELECT v FROM "한글 스키마"."a""b." WHERE n = 1)`)) == "[[changed 0 new]]"
		})
	}
	// Somebody edits the file on the primary's host.
	raw, err := os.ReadFile(p.salvagePath(s.ID))
	must(t, err)
	must(t, os.WriteFile(p.salvagePath(s.ID), []byte(strings.Replace(string(raw), `"text":"7"`, `"text":"8"`, 1)), 0o600))
	if _, err := apply("1", false); err == nil || !strings.Contains(err.Error(), "edited") {
		t.Errorf("an edited file: %v", err)
	}
	// A file of another cluster, in the right place, with the right sum.
	s = c.foreign(t, p, s)
	if _, err := apply("1", false); err == nil || !strings.Contains(err.Error(), "system identifier 42") {
		t.Errorf("another cluster's: %v", err)
	}
}

// foreign puts a salvage of another cluster where one of this store is expected.
func (c *cluster) foreign(t *testing.T, p *member, s situation.Salvage) situation.Salvage {
	t.Helper()
	head, rows, _ := c.members["pangyo"].fileOf(s.ID)
	head.System, head.ID = "42", "r-9-pangyo"
	var b strings.Builder
	w, err := salvage.NewWriter(&b, head)
	must(t, err)
	must(t, w.Add(rows[0]))
	_, err = w.Close(nil)
	must(t, err)
	must(t, os.WriteFile(p.salvagePath(head.ID), []byte(b.String()), 0o600))
	sum := sha256.Sum256([]byte(b.String()))
	s.ID, s.Rows, s.Bytes, s.SHA256, s.Written, s.Applied, s.State = head.ID, 1, int64(b.Len()), hex.EncodeToString(sum[:]), "", 0, situation.SalvageOpen
	s.Holders = []estate.MemberID{c.record.Primary}
	return s
}

// No number that a written row has is given to a client once more, whichever way a column gets its numbers.
func TestSequencesMoveOn(t *testing.T) {
	c := newCluster(t)
	m := c.members["pangyo"]
	m.sql(`CREATE SEQUENCE public.downwards INCREMENT -1; CREATE SEQUENCE public."열 '둘'" INCREMENT 10 START 5;
		CREATE SEQUENCE public.around MAXVALUE 5 CYCLE; CREATE SEQUENCE public.short MAXVALUE 50;
		CREATE TABLE public.numbered (up serial, behind serial, down int DEFAULT nextval('public.downwards'), tens int DEFAULT nextval('public."열 ''둘''"'),
			around int DEFAULT nextval('public.around'), short int DEFAULT nextval('public.short'), own bigint GENERATED ALWAYS AS IDENTITY, plain int)`)
	m.sql("SELECT setval('public.numbered_behind_seq', 90)")
	conn, err := (&local{socket: m.set.Socket, port: m.port}).dial(t.Context(), "")
	must(t, err)
	t.Cleanup(func() { closeSoon(conn) })
	a := &applier{l: lookup{c: conn, tables: map[salvage.Relation]*table{}}, furthest: map[sequence]int64{}}
	tab, err := a.l.table(t.Context(), "public", "numbered")
	must(t, err)
	for _, row := range []map[string]string{
		{"up": "40", "behind": "7", "down": "-7", "tens": "100", "around": "4", "short": "51", "own": "5000000", "plain": "9"},
		{"up": "39", "down": "-6", "tens": "15"},
	} {
		var values []salvage.Value
		for column, v := range row {
			values = append(values, salvage.NewValue(column, "integer", v))
		}
		must(t, a.given(t.Context(), tab, append(values, salvage.Value{Column: "up", State: salvage.Null})))
	}
	must(t, a.moveOn(t.Context()))
	got := fmt.Sprint(m.sql("INSERT INTO public.numbered DEFAULT VALUES RETURNING up, behind, down, tens, around, short, own, plain IS NULL"))
	if want := "[[41 91 -8 105 1 1 1 t]]"; got != want {
		t.Errorf("the next row has %s, want %s", got, want)
	}
	if len(a.notes) != 4 || !strings.Contains(fmt.Sprint(a.notes), "public.numbered_own_seq is at 1, far from 5000000, and was left there") {
		t.Errorf("%q", a.notes)
	}
}

// A value of 100 MB is salvaged and written back.
func TestALargeValueIsSalvaged(t *testing.T) {
	c := parted(t, func(p *member) {
		p.sql("SET synchronous_commit = local; SET statement_timeout = 60000; INSERT INTO public.item (id, name, raw) SELECT 100, 'large', decode(repeat('0123456789abcdef', 13107200), 'hex')")
	})
	res, err := c.home().try(2*time.Minute, plan.Salvage, "pangyo") // where memory is dear it takes half of one
	if err != nil || res.Outcome != run.Done {
		t.Fatalf("%+v, %v", res, err)
	}
	s := *res.Salvage
	r := c.home()
	r.args = map[string]string{plan.ArgSalvage: s.ID, plan.ArgRows: "1"}
	task := r.task(plan.Apply, string(c.record.Primary))
	task.Salvage = s
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	res, err = c.driver.Do(ctx, task)
	// Where memory is dear an agent stands still while it takes so much of it: then it writes nothing, and a run tries again.
	for try := 1; try < 3 && err != nil && res.Outcome == run.NotDone && strings.Contains(err.Error(), "the agent stood still"); try++ {
		t.Log(err)
		res, err = c.driver.Do(ctx, task)
	}
	if err != nil || res.Outcome != run.Done {
		t.Fatalf("%+v, %v", res, err)
	}
	if got := fmt.Sprint(c.primary().sql("SET statement_timeout = 60000; SELECT length(raw), md5(raw) = md5(decode(repeat('0123456789abcdef', 13107200), 'hex')) FROM public.item WHERE id = 100")); got != "[[104857600 t]]" {
		t.Error(got)
	}
}
