//go:build lab

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver/postgres/salvage"
)

// shop is what people have in their databases before a loss.
const shop = `
CREATE TYPE public."기분 ]" AS ENUM ('sad', 'it''s ok');
CREATE TABLE public.item (id int PRIMARY KEY, name text NOT NULL, twice int GENERATED ALWAYS AS (id * 2) STORED, nr int GENERATED ALWAYS AS IDENTITY, raw bytea, tags text[], doc jsonb, mood public."기분 ]");
CREATE TABLE public.part (id int PRIMARY KEY, item int NOT NULL REFERENCES public.item);
CREATE SCHEMA "한글 스키마";
CREATE TABLE "한글 스키마"."a""b." ("열 [1]" text, n int, v text, PRIMARY KEY ("열 [1]", n));
CREATE TABLE public.nokey (x int);
CREATE TABLE public.seen (id serial PRIMARY KEY, what text);
CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.seen (what) VALUES (TG_OP || NEW.name); RETURN NEW; END';
INSERT INTO public.item (id, name) SELECT n, 'item ' || n FROM generate_series(1, 20) AS n;
INSERT INTO public.part VALUES (1, 1);
INSERT INTO "한글 스키마"."a""b." VALUES ('it''s', 1, 'old'), ('x', 1, 'gone soon');
CREATE TRIGGER note AFTER INSERT ON public.item FOR EACH ROW EXECUTE FUNCTION public.note();`

// planted is what is done on the old primary alone, and the rows that are to be found of it, in order.
var planted = []struct{ sql, rows string }{
	{`INSERT INTO public.item (id, name, raw, tags, doc, mood) VALUES (100, 'new', '\x00ff27', ARRAY['a', 'b"c', NULL], '{"x": [1, "y''z"]}', 'it''s ok')`,
		`insert public.item: -> id=100 name=new twice=200 nr=21 raw=\x00ff27 tags={a,"b\"c",NULL} doc={"x": [1, "y'z"]} mood=it's ok|insert public.seen: -> id=1 what=INSERTnew`},
	{`UPDATE public.item SET name = 'changed' WHERE id = 3`, `update public.item: -> id=3 name=changed twice=6 nr=3 raw:null tags:null doc:null mood:null`},
	{`UPDATE public.item SET id = 30 WHERE id = 4`, `update public.item: id=4 -> id=30 name=item 4 twice=60 nr=4 raw:null tags:null doc:null mood:null`},
	{`DELETE FROM public.item WHERE id = 5`, `delete public.item: id=5 ->`},
	{`UPDATE "한글 스키마"."a""b." SET v = 'new' WHERE n = 1 AND "열 [1]" = 'it''s'`, `update 한글 스키마.a"b.: -> 열 [1]=it's n=1 v=new`},
	{`DELETE FROM "한글 스키마"."a""b." WHERE "열 [1]" = 'x'`, `delete 한글 스키마.a"b.: 열 [1]=x n=1 ->`},
	{`INSERT INTO public.nokey VALUES (7)`, `insert public.nokey: -> x=7`},
	{`BEGIN; INSERT INTO public.part VALUES (2, 100); SAVEPOINT s; INSERT INTO public.part VALUES (3, 100); ROLLBACK TO s; COMMIT`, `insert public.part: -> id=2 item=100`},
	{`BEGIN; INSERT INTO public.part VALUES (9, 1); ROLLBACK`, ``},
	{`SELECT pg_logical_emit_message(true, 'not', 'a row')`, ``},
}

// drawRow draws a row as planted does.
func drawRow(r salvage.Row) string {
	side := func(all []salvage.Value) string {
		var out []string
		for _, v := range all {
			if v.State != salvage.Known {
				out = append(out, v.Column+":"+string(v.State))
			} else {
				out = append(out, v.Column+"="+v.String())
			}
		}
		return strings.Join(out, " ")
	}
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s.%s: %s -> %s", r.Op, r.Schema, r.Table, side(r.Old), side(r.New))), " ")
}

// parted is a store that went over while pangyo was cut off; pangyo goes on for as long as during takes, alone.
func parted(t *testing.T, during func(p *member)) *cluster {
	t.Helper()
	c := newCluster(t)
	p := c.members["pangyo"]
	p.sql(shop)
	c.adopt()
	eventually(t, "a slot on the primary", func() bool { return c.facts("pangyo")["salvage_slot"] == "kept" })
	r := c.begin()
	r.must(plan.Seal, "ansan", "anyang")
	during(p)
	r.must(plan.Choose, "ansan", "anyang")
	r.must(plan.Follow, "ansan", "anyang")
	r.must(plan.Promote, "ansan", "anyang")
	eventually(t, "members may compare", func() bool {
		return c.primary().sql("SELECT pg_has_role('haechi_replication', 'pg_read_all_data', 'member')")[0][0] == "t"
	})
	return c
}

func (c *cluster) primary() *member { return c.members[string(c.record.Primary)] }

// home is a run that promotes nobody.
func (c *cluster) home() *carried { return &carried{c: c, term: 1, facts: run.Facts{}} }

// plantAlone plants on one member what nobody else gets.
func plantAlone(p *member) {
	for _, x := range planted {
		p.sql("SET synchronous_commit = local; " + x.sql)
	}
	p.sql("SET synchronous_commit = on")
}

// waits has sessions write rows that wait for other members.
func (m *member) waits(ids ...int) {
	m.c.t.Helper()
	for _, id := range ids {
		l := &local{socket: m.set.Socket, port: m.port}
		conn, err := l.dial(m.c.t.Context(), "")
		must(m.c.t, err)
		m.c.t.Cleanup(func() { closeSoon(conn) })
		go func() {
			_, _ = ask(context.Background(), conn, fmt.Sprintf("SET statement_timeout = 0; INSERT INTO public.part VALUES (%d, 1)", id))
		}()
		eventually(m.c.t, "a session waits", func() bool {
			return slices.Contains(m.waiting(), fmt.Sprint(id))
		})
	}
}

// waiting are the rows of [member.waits] whose sessions wait still; others may wait beside them.
func (m *member) waiting() []string {
	m.c.t.Helper()
	return strings.Fields(m.sql("SELECT coalesce(string_agg(substring(query FROM 'public.part VALUES .([0-9]+)'), ' '), '') FROM pg_stat_activity WHERE wait_event = 'SyncRep'")[0][0])
}

// fileOf reads a salvage's file where a member's agent keeps it.
func (m *member) fileOf(id string) (salvage.Header, []salvage.Row, salvage.Footer) {
	m.c.t.Helper()
	f, err := os.Open(m.salvagePath(id))
	must(m.c.t, err)
	defer f.Close()
	r, err := salvage.NewReader(f)
	must(m.c.t, err)
	var rows []salvage.Row
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Header, rows, r.Footer()
		}
		must(m.c.t, err)
		rows = append(rows, row)
	}
}

func (m *member) salvagePath(id string) string {
	return filepath.Join(filepath.Dir(m.set.Passfile), "salvage-"+m.set.Store, salvageFile(id))
}

// A former primary is read exactly, and what is found lies in two sites before it counts as done. Of a
// session that waited until the end it is known that its client was told nothing; of one whose wait
// was cancelled it is not.
func TestWhatOnlyAFormerPrimaryHoldsIsSalvagedExactly(t *testing.T) {
	c := parted(t, func(p *member) {
		plantAlone(p)
		p.waits(501, 502)
		p.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%(501,%'")
		eventually(t, "one goes on waiting", func() bool {
			return slices.Equal(p.waiting(), []string{"502"})
		})
	})
	r := c.home()
	res := r.must(plan.Salvage, "pangyo")
	s := *res.Salvage
	want := strings.Split(strings.Trim(func() (out string) {
		for _, x := range planted {
			if x.rows != "" {
				out += "|" + x.rows
			}
		}
		return out
	}(), "|"), "|")
	want = append(want, "insert public.part: -> id=501 item=1", "insert public.part: -> id=502 item=1")
	for _, holder := range names {
		_, rows, foot := c.members[holder].fileOf(s.ID)
		var got []string
		for _, row := range rows {
			got = append(got, drawRow(row))
			waited := strings.Contains(got[len(got)-1], "id=502")
			if (row.Told == salvage.Never) != waited {
				t.Errorf("%s: told %s (%s)", got[len(got)-1], row.Told, row.Why)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || foot.Told != len(want)-1 {
			t.Errorf("beside %s: %s", holder, diff)
		}
	}
	if s.Method != situation.Decoded || s.Rows != len(want) || !slices.Equal(s.Holders, []estate.MemberID{"ansan", "anyang", "pangyo"}) || s.Partial {
		t.Errorf("%+v", s)
	}
	if f := c.facts("pangyo"); f["salvage/kept"] != "true" || f["running"] != "false" || f["fenced"] != "true" {
		t.Errorf("%v", f)
	}
	// Done again, by another run, nothing is read again.
	before := c.facts("pangyo")["salvage"]
	again, err := c.home().try(10*time.Second, plan.Salvage, "pangyo")
	if err != nil || again.Salvage.ID != s.ID || c.facts("pangyo")["salvage"] != before {
		t.Errorf("%+v, %v", again, err)
	}
	c.writesBack(t, s)
}

// leftRows is what is left of [planted] once it is over, whatever happened in between.
var leftRows = []string{
	`delete public.item: id=5 name=item 5 twice=10 nr=5 raw:null tags:null doc:null mood:null ->`,
	`delete public.item: id=4 name=item 4 twice=8 nr=4 raw:null tags:null doc:null mood:null ->`,
	`delete 한글 스키마.a"b.: 열 [1]=x n=1 v=gone soon ->`,
	`insert public.item: -> id=100 name=new twice=200 nr=21 raw=\x00ff27 tags={a,"b\"c",NULL} doc={"x": [1, "y'z"]} mood=it's ok`,
	`insert public.item: -> id=30 name=item 4 twice=60 nr=4 raw:null tags:null doc:null mood:null`,
	`insert public.nokey: -> x=7`,
	`insert public.part: -> id=2 item=100`,
	`insert public.seen: -> id=1 what=INSERTnew`,
	`update public.item: id=3 name=item 3 twice=6 nr=3 raw:null tags:null doc:null mood:null -> id=3 name=changed twice=6 nr=3 raw:null tags:null doc:null mood:null`,
	`update 한글 스키마.a"b.: 열 [1]=it's n=1 v=old -> 열 [1]=it's n=1 v=new`,
}

// Where the slots are gone, and where the log is gone too, the rows are found by comparison, and it is said what
// that cannot see.
func TestWithoutSlotsAMemberIsReadByComparison(t *testing.T) {
	for what, log := range map[string]bool{"by the log and comparison": true, "by comparison alone": false} {
		t.Run(what, func(t *testing.T) {
			c := parted(t, plantAlone)
			c.primary().sql("INSERT INTO public.part VALUES (1000, 1)", "UPDATE public.item SET name = 'changed since' WHERE id = 7", "DELETE FROM public.part WHERE id = 1")
			p := c.members["pangyo"]
			c.home().must(plan.Fence, "pangyo")
			slots, err := filepath.Glob(filepath.Join(p.set.Data, "pg_replslot", "*"))
			must(t, err)
			if len(slots) == 0 {
				t.Fatal("there were no slots")
			}
			for _, s := range slots {
				must(t, os.RemoveAll(s))
			}
			if !log {
				p.withoutWaldump()
			}
			res := c.home().must(plan.Salvage, "pangyo")
			_, rows, foot := p.fileOf(res.Salvage.ID)
			var got []string
			for _, row := range rows {
				got = append(got, drawRow(row))
			}
			slices.Sort(got)
			want := slices.Sorted(slices.Values(leftRows))
			if diff := cmp.Diff(want, got); diff != "" || res.Salvage.Method != situation.Compared {
				t.Errorf("%s %s", res.Salvage.Method, diff)
			}
			if says := strings.Join(foot.Unknown, "; "); !strings.Contains(says, "no slot") || !strings.Contains(says, "nokey has no key") || strings.Contains(says, "cannot be read") == log {
				t.Error(says)
			}
		})
	}
}

// withoutWaldump has the member's agent find no pg_waldump, as if the log were gone.
func (m *member) withoutWaldump() {
	m.c.t.Helper()
	dir := filepath.Join(filepath.Dir(m.set.Data), "bin")
	must(m.c.t, os.Mkdir(dir, 0o755))
	for _, n := range []string{"postgres", "pg_controldata"} {
		must(m.c.t, os.Symlink(filepath.Join(bin, n), filepath.Join(dir, n)))
	}
	m.stopAgent()
	m.set.Bin = dir
	m.startAgent()
}

// A former primary on which nobody committed anything holds nothing; its log proves it, and no server is started.
func TestALogWithoutCommitsProvesThatThereIsNothing(t *testing.T) {
	c := parted(t, func(p *member) {
		p.sql("ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()", "CHECKPOINT", "BEGIN; INSERT INTO public.part VALUES (9, 1); ROLLBACK")
	})
	c.members["pangyo"].killDatabase()
	res := c.home().must(plan.Salvage, "pangyo")
	if s := res.Salvage; s.Method != situation.Nothing || s.Rows != 0 || s.State != situation.SalvageEmpty || len(s.Holders) > 0 {
		t.Errorf("%+v", s)
	}
	if raw, err := os.ReadFile(c.members["pangyo"].set.Log); err != nil || strings.Contains(string(raw), "apart-talk-db") {
		t.Errorf("a server was started to be read: %v", err)
	}
}

// A follower that is well is asked and left alone.
func TestAFollowerThatHoldsNothingIsLeftAsItIs(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	c.record.Sync = []estate.MemberID{"ansan"} // who counts is not read
	res := c.home().must(plan.Salvage, "anyang")
	if f := c.facts("anyang"); res.Salvage.Method != situation.Nothing || f["running"] != "true" || f["fenced"] != "false" || f["receiver"] != "streaming" {
		t.Errorf("%+v, %v", res.Salvage, f)
	}
}

// One that has just come back is on its primary's timeline, though its control file still names the one before. A run that
// reads it once more, as the next one does where the first was cut short, leaves it alone.
func TestAMemberThatHasJustComeBackIsNotStoppedToBeRead(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	p := c.members["pangyo"]
	p.sql("INSERT INTO public.w (id) VALUES (1)")
	for _, m := range []string{"ansan", "anyang"} {
		eventually(t, m+" is level", func() bool { return c.members[m].sql("SELECT count(*) FROM public.w")[0][0] == "1" })
	}
	p.killDatabase()
	c.failover(c.begin())
	r := c.salvaged("pangyo")
	r.must(plan.Rejoin, "pangyo")
	if m := c.method(r, "pangyo"); m != byFollow {
		t.Fatalf("by %s: %s", m, r.facts["rejoin/reason/pangyo"])
	}
	c.primary().sql("INSERT INTO public.w (id) VALUES (2)")
	eventually(t, "it has what was written since", func() bool { return p.sql("SELECT count(*) FROM public.w")[0][0] == "2" })
	if out, err := exec.Command(filepath.Join(bin, "pg_controldata"), "-D", p.set.Data).Output(); err != nil || !strings.Contains(strings.Join(strings.Fields(string(out)), " "), "Latest checkpoint's TimeLineID: 1 ") {
		t.Fatalf("its control file names the new timeline already, so nothing is tried here: %v\n%s", err, out)
	}
	was := p.receiver()
	res := c.home().must(plan.Salvage, "pangyo")
	if f := c.facts("pangyo"); res.Salvage.Method != situation.Nothing || f["running"] != "true" || f["fenced"] != "false" || p.receiver() != was {
		t.Errorf("%+v, %v", res.Salvage, f)
	}
}

// A follower that went beyond the fork is read as a standby that receives from nobody.
func TestAFollowerBeyondTheForkIsRead(t *testing.T) {
	c := newCluster(t)
	p := c.members["pangyo"]
	p.sql(shop)
	c.adopt()
	eventually(t, "members may compare", func() bool {
		return p.sql("SELECT pg_has_role('haechi_replication', 'pg_read_all_data', 'member')")[0][0] == "t"
	})
	fork := c.facts("pangyo")["lsn"]
	next := toNumber(p.sql("SELECT pg_snapshot_xmax(pg_current_snapshot())")[0][0])
	p.sql("INSERT INTO public.item (id, name) VALUES (100, 'beyond')", "DELETE FROM public.item WHERE id = 5")
	eventually(t, "a follower has it", func() bool {
		return c.members["anyang"].sql("SELECT count(*) FROM public.item WHERE id IN (5, 100)")[0][0] == "1"
	})
	// As if pangyo had been promoted at the fork, and these changes were another's: on pangyo they are undone.
	p.sql("DELETE FROM public.item WHERE id = 100", "DELETE FROM public.seen")
	up, err := (&step{Task: c.home().task(plan.Salvage, "anyang"), d: c.driver, store: c.store}).upstream("pangyo", 1, 1)
	must(t, err)
	o := agent.Order{Verb: agent.Salvage, Epoch: c.record.Next, Reign: 1, Self: "anyang", Upstream: up,
		Salvage: &agent.Salvaging{ID: "r-1-anyang", Turns: []agent.Turn{{Timeline: 1, End: fork, Oldest: next, Next: next}, {Timeline: 2}}}}
	var f map[string]string
	eventually(t, "it was read", func() bool {
		a, err := c.order("anyang", o)
		must(t, err)
		f = a.Facts
		return f[factReading] != readingNow
	})
	s, err := parseSalvage(f[factSalvage])
	if err != nil || s.Method != situation.Compared || s.Rows != 0 || f["running"] != "false" || f["fenced"] != "true" {
		t.Errorf("%+v, %v, %v", s, f, err)
	}
}

// What nobody can read stops for people, and nothing on it may be rewritten before they have agreed.
func TestAnUnreadableMemberIsAskedAbout(t *testing.T) {
	c := parted(t, plantAlone)
	p := c.members["pangyo"]
	c.home().must(plan.Fence, "pangyo")
	must(t, os.Truncate(filepath.Join(p.set.Data, "global", "pg_control"), 100))
	r := c.home()
	res, err := r.try(20*time.Second, plan.Salvage, "pangyo")
	if err == nil || res.Outcome != run.NotDone || !strings.Contains(res.Ask, "Nothing on it is wiped") || c.facts("pangyo")["salvage/kept"] == "true" {
		t.Fatalf("%+v, %v", res, err)
	}
	r.facts[run.FactAccepted+"salvage"] = "kim,lee"
	res = r.must(plan.Salvage, "pangyo")
	if s := res.Salvage; s.Method != situation.Unreadable || s.State != situation.SalvageDiscarded || !slices.Equal(s.By, []string{"kim", "lee"}) || c.facts("pangyo")["salvage/kept"] != "true" {
		t.Errorf("%+v", s)
	}
}

// A former primary that somebody starts by hand after it was read is stopped, and read once more.
func TestWhatIsWrittenAfterTheReadingIsReadToo(t *testing.T) {
	c := parted(t, plantAlone)
	p := c.members["pangyo"]
	first := c.home().must(plan.Salvage, "pangyo").Salvage
	p.startByHand()
	p.sql("SET synchronous_commit = local; INSERT INTO public.part VALUES (77, 1)", "SET synchronous_commit = on")
	if f := c.facts("pangyo"); f["fenced"] != "true" || f["running"] != "true" {
		t.Fatalf("%v", f)
	}
	c.home().must(plan.Fence, "pangyo")
	r := c.home()
	task := r.task(plan.Salvage, "pangyo")
	task.Run = "r-2"
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	res, err := c.driver.Do(ctx, task)
	if err != nil || res.Salvage.ID == first.ID || res.Salvage.Rows != first.Rows+1 {
		t.Errorf("%+v, %v; the first was %+v", res.Salvage, err, first)
	}
}

// Slots are made for new databases and after a promotion, keep nobody from dropping a database, and are
// taken off a follower. With logical decoding switched off it is said what that costs.
func TestSlotsGoWithThePrimary(t *testing.T) {
	c := newCluster(t)
	p := c.members["pangyo"]
	p.sql("CREATE DATABASE \"둘째 db\"")
	c.adopt()
	slots := func(m *member) string {
		return m.sql("SELECT count(*) FROM pg_replication_slots WHERE starts_with(slot_name::text, '" + slotPrefix + "')")[0][0]
	}
	eventually(t, "a slot for each database", func() bool { return slots(p) == "2" })
	if got := p.sql("SHOW max_slot_wal_keep_size")[0][0]; got == "-1" {
		t.Error("nothing bounds the slots")
	}
	p.sql("CREATE TABLE public.many AS SELECT n FROM generate_series(1, 100000) AS n")
	eventually(t, "the slots move on", func() bool {
		return p.sql("SELECT bool_and(confirmed_flush_lsn > pg_current_wal_flush_lsn() - 100000) FROM pg_replication_slots")[0][0] == "t"
	})
	eventually(t, "the database is dropped, but for the moment in which its slot is moved", func() bool {
		l := &local{socket: p.set.Socket, port: p.port}
		defer l.drop()
		_, err := l.rows(t.Context(), "DROP DATABASE \"둘째 db\"")
		return err == nil
	})
	eventually(t, "its slot is gone", func() bool { return slots(p) == "1" })
	r := c.begin()
	r.must(plan.Halt, "pangyo")
	r.must(plan.Seal, "ansan", "anyang")
	r.must(plan.Choose, "ansan", "anyang")
	r.must(plan.Follow, "ansan", "anyang")
	r.must(plan.Promote, "ansan", "anyang")
	r.beforeReturn("pangyo")
	r.must(plan.Return, "pangyo")
	eventually(t, "the new primary has one, and the old one has none", func() bool { return slots(c.primary()) == "1" && slots(p) == "0" })
	if f := c.record.Forks; len(f) != 2 || f[1].Timeline != 2 || f[1].Next == 0 || f[1].Oldest > f[1].Next {
		t.Errorf("%+v", f)
	}
	n := c.primary()
	n.sql("ALTER SYSTEM SET wal_level = replica", "SELECT pg_reload_conf()")
	eventually(t, "the slot is given up before it keeps the server from starting", func() bool {
		return slots(n) == "0" && strings.Contains(c.facts(n.name)["salvage_slot"], "wal_level")
	})
}
