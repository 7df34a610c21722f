//go:build lab

package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
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
	"github.com/haechi/haechi/core/verify"
	"github.com/haechi/haechi/lab/page"
)

// shop fills a cluster with what a shop has: many rows, names that have to be quoted, a table without
// a key, partitions, a table that is not logged, types whose text depends on settings, a second database.
func (c *cluster) shop() {
	c.t.Helper()
	c.members["pangyo"].sql("SET statement_timeout = 0",
		`CREATE TABLE public.orders (id bigint PRIMARY KEY, body text) WITH (fillfactor = 90)`,
		`INSERT INTO public.orders SELECT i, md5(i::text) FROM generate_series(1, 20000) i`,
		`CREATE TABLE public."주문 ""표""" ("번호" int PRIMARY KEY, "이름" text)`,
		`INSERT INTO public."주문 ""표""" SELECT i, '이름 ' || i FROM generate_series(1, 100) i`,
		`CREATE TABLE public.nokey (a float8, b timestamptz, c bytea, d numeric, e interval, f money, g jsonb, h int[], i point)`,
		`INSERT INTO public.nokey SELECT i / 3.0, now(), decode(md5(i::text), 'hex'), i * 1.10, '1 mon', i::money, '{"a": 1}', '{1,2}', '(1,2)' FROM generate_series(1, 500) i`,
		`CREATE TABLE public.parts (id int, at date) PARTITION BY RANGE (at)`,
		`CREATE TABLE public.parts_1 PARTITION OF public.parts FOR VALUES FROM ('2026-01-01') TO ('2026-07-01')`,
		`INSERT INTO public.parts SELECT i, '2026-02-01' FROM generate_series(1, 100) i`,
		`CREATE UNLOGGED TABLE public.cache (id int)`, `INSERT INTO public.cache VALUES (1)`,
		`CREATE SEQUENCE public.quiet`, `SELECT setval('public.quiet', 1000)`,
		`CREATE DATABASE "가게"`,
		`VACUUM (FREEZE, DISABLE_PAGE_SKIPPING)`)
}

// still has a follower replay all, and leaves nothing to be replayed again: else the log would
// bring the truth back.
func (c *cluster) still(follower string) {
	c.t.Helper()
	p, m := c.members["pangyo"], c.members[follower]
	p.sql("SET statement_timeout = 0", "CHECKPOINT")
	at := p.sql("SELECT pg_current_wal_insert_lsn()")[0][0]
	eventually(c.t, follower+" has replayed all", func() bool {
		return m.sql("SELECT pg_last_wal_replay_lsn() >= " + quote(at) + "::pg_lsn")[0][0] == "t"
	})
	m.sql("SET statement_timeout = 0", "CHECKPOINT")
}

// lie edits a relation's page on a member while that is stopped.
func (m *member) lie(relation string, block uint32, sums bool, change func(page.Page) error) {
	m.c.t.Helper()
	m.c.still(m.name)
	path := m.sql("SELECT pg_relation_filepath(" + quote(relation) + ")")[0][0]
	m.c.run("pg_ctl", "-D", m.set.Data, "-m", "fast", "-w", "stop")
	must(m.c.t, page.Edit(filepath.Join(m.set.Data, path), block, sums, change))
	m.startByHand()
}

// place is where a row is.
func (c *cluster) place(table, where string) page.TID {
	c.t.Helper()
	tid, err := page.ParseTID(c.members["pangyo"].sql("SELECT ctid FROM " + table + " WHERE " + where)[0][0])
	must(c.t, err)
	return tid
}

// verify compares all members, and returns what was found, sorted.
func (c *cluster) verify() (verify.Summary, []string, compared) {
	c.t.Helper()
	r := c.begin()
	res, err := r.try(5*time.Minute, plan.Verify, names...)
	if err != nil || res.Outcome != run.Done {
		c.t.Fatalf("%v %v", res, err)
	}
	s := summaryOf(c.t, res.Facts)
	var got []string
	for _, f := range s.Found {
		got = append(got, fmt.Sprintf("%s %s %s %s %s", f.Member, f.Kind, f.Table, f.Key, f.At))
	}
	slices.Sort(got)
	return s, got, compared{res.Note, c.record.Differs, c.record.Verified}
}

type compared struct {
	note, differs string
	verified      time.Time
}

// Every lie that was planted is named, and nothing else, while clients write.
func TestVerifyNamesExactlyWhatIsPlanted(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	c.shop()
	w := c.write(2, names...)
	defer w.end()
	began := time.Now()
	s, got, res := c.verify()
	t.Logf("without: %d tables in %.1f s", s.Tables, time.Since(began).Seconds())
	if len(got) > 0 || res.verified.IsZero() || res.differs != "" {
		t.Fatalf("before anything was planted: %v %+v", got, res)
	}
	if s.Databases["가게"].Tables == 0 || s.Databases["postgres"].Rows < 20000 || s.Checks["ansan"].Indexes == 0 || s.Checks["anyang"].Pages == 0 {
		t.Errorf("%+v", s)
	}
	for _, want := range []string{"public.cache: it is not logged"} {
		if !slices.ContainsFunc(s.LeftOut, func(o verify.Omission) bool { return strings.Contains(o.Name+": "+o.Why, want) }) {
			t.Errorf("%q is not among what was left out: %v", want, s.LeftOut)
		}
	}
	flip, drop, copied := c.place("public.orders", "id = 100"), c.place("public.orders", "id = 5000"), c.place("public.orders", "id = 10000")
	from, to := c.place("public.orders", "id = 15000"), c.place("public.orders", "id = 15001")
	korean := c.place(`public."주문 ""표"""`, `"번호" = 7`)
	ansan, anyang := c.members["ansan"], c.members["anyang"]
	ansan.lie("public.orders", flip.Block, true, func(p page.Page) error { return p.Flip(flip.Line) })
	ansan.lie("public.orders", drop.Block, true, func(p page.Page) error { return p.Drop(drop.Line) })
	var extra page.TID
	ansan.lie("public.orders", copied.Block, true, func(p page.Page) error {
		line, err := p.Copy(copied.Block, copied.Line, func(data []byte) { binary.LittleEndian.PutUint64(data, 900300) })
		extra = page.TID{Block: copied.Block, Line: line}
		return err
	})
	anyang.lieIndex("public.orders_pkey", from, to)
	anyang.lie("public.quiet", 0, true, func(p page.Page) error { return p.SetSequence(500) })
	ansan.lie(`public."주문 ""표"""`, korean.Block, false, func(p page.Page) error { return p.Flip(korean.Line) })
	began = time.Now()
	_, got, res = c.verify()
	t.Logf("with lies: %.1f s", time.Since(began).Seconds())
	want := []string{
		fmt.Sprintf("ansan broken postgres: public.\"주문 \"\"표\"\"\"  block %d", korean.Block),
		fmt.Sprintf("ansan different postgres: public.orders 100 %v", flip),
		fmt.Sprintf("ansan extra postgres: public.orders 900300 %v", extra),
		"ansan index postgres: public.orders_pkey  ", // that row has no entry
		fmt.Sprintf("ansan missing postgres: public.orders 5000 %v", drop),
		fmt.Sprintf("ansan page postgres: public.\"주문 \"\"표\"\"\"  block %d", korean.Block),
		"anyang behind postgres: public.quiet  ",
		"anyang index postgres: public.orders_pkey  ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if res.differs == "" || !strings.Contains(res.note, "a person decides") {
		t.Errorf("%+v", res)
	}
}

// A follower that differs is copied from its primary by a person's word, whatever is known of it, and differs no more.
func TestAFollowerThatDiffersIsMadeAnew(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	c.members["pangyo"].sql("SET statement_timeout = 0", `CREATE TABLE public.orders (id bigint PRIMARY KEY, body text)`,
		`INSERT INTO public.orders SELECT i, md5(i::text) FROM generate_series(1, 20000) i`, `VACUUM (FREEZE, DISABLE_PAGE_SKIPPING)`)
	w := c.write(2, "pangyo")
	defer w.end()
	flip, broken := c.place("public.orders", "id = 100"), c.place("public.orders", "id = 10000")
	m := c.members["anyang"]
	m.lie("public.orders", flip.Block, true, func(p page.Page) error { return p.Flip(flip.Line) })
	m.lie("public.orders", broken.Block, false, func(p page.Page) error { return p.Flip(broken.Line) })
	if _, got, res := c.verify(); len(got) == 0 || res.differs == "" {
		t.Fatalf("the lies are not found: %v %+v", got, res)
	}
	r := c.home()
	r.must(plan.Rejoin, "anyang") // it follows: nothing happens
	if _, got, _ := c.verify(); len(got) == 0 {
		t.Fatal("a rejoin that nobody wanted to copy has copied")
	}
	r = c.home()
	r.args = map[string]string{plan.ArgAnew: "true"}
	if res, err := r.try(30*time.Second, plan.Rejoin, "anyang"); err == nil || res.Outcome != run.NotDone || !slices.Equal(c.record.Former, []estate.MemberID{"anyang"}) {
		t.Fatalf("it is not counted out first: %v %v, record %+v", res.Outcome, err, c.record)
	}
	if holdingNow(c.facts("pangyo"), "anyang") {
		t.Error("it acknowledges though it is counted out")
	}
	// The run ends here. Whoever brings it back after that was not told to copy it, and may not count it as it is.
	next := c.home()
	if look, err := c.driver.Look(t.Context(), next.task(plan.Rejoin, "anyang")); err != nil || look.Outcome != run.NotDone {
		t.Fatalf("it follows, and that is taken for made anew: %+v %v", look, err)
	}
	if res, err := next.try(2*time.Minute, plan.Rejoin, "anyang"); err != nil || res.Outcome != run.Done {
		t.Fatalf("%v %v", res, err)
	}
	if by := c.method(next, "anyang"); by != byCopy {
		t.Errorf("by %s", by)
	}
	up := m.sql("SELECT pg_postmaster_start_time()")[0][0]
	r.must(plan.Rejoin, "anyang") // the order of the run that wanted it, once more
	if now := m.sql("SELECT pg_postmaster_start_time()")[0][0]; now != up {
		t.Error("it was made anew twice")
	}
	r.args = nil
	c.counts(r, "anyang")
	if _, got, res := c.verify(); len(got) > 0 || res.differs != "" || res.verified.IsZero() {
		t.Errorf("it differs still: %v %+v", got, res)
	}
	w.end()
	c.same("anyang")
	c.checkNothingLost(w)
}

// Questions share a connection, and still nobody who drops a database waits for them for long.
func TestQuestionsDoNotKeepADatabaseFromBeingDropped(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	p := c.members["pangyo"]
	p.sql("SET statement_timeout = 0", `CREATE DATABASE "가게"`)
	q := agent.Order{Verb: agent.Digest, Question: &agent.Question{Want: agent.WantTables, Database: "가게"}}
	ask := func() error { _, err := c.order("pangyo", q); return err }
	visitors := func() string {
		return p.sql("SELECT coalesce(string_agg(pid::text, ','), '') FROM pg_stat_activity WHERE datname = '가게'")[0][0]
	}
	eventually(t, "two questions share a connection", func() bool {
		must(t, ask())
		first := visitors()
		must(t, ask())
		return first != "" && visitors() == first
	})
	eventually(t, "nobody is there once nobody asks", func() bool { return visitors() == "" })
	must(t, ask())
	if _, err := c.order("pangyo", agent.Order{Verb: agent.Promote, Epoch: c.record.Epoch, Reign: c.record.Epoch, Sync: []string{"ansan", "anyang"}, Any: 1}); err != nil {
		t.Fatal(err)
	}
	if now := visitors(); now != "" {
		t.Errorf("%s stays though the member is made something", now)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = ask()
		}
	}()
	eventually(t, "questions are asked", func() bool { return visitors() != "" })
	began := time.Now()
	p.sql("SET statement_timeout = 0", `DROP DATABASE "가게"`)
	t.Logf("dropped after %v", time.Since(began).Round(time.Millisecond))
	cancel()
	<-done
}

// A store of many small tables is compared like one of few large ones; how long that takes is said.
func TestVerifyOfManySmallTables(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	p := c.members["pangyo"]
	for i := range 130 {
		p.sql("SET statement_timeout = 0", "SET synchronous_commit = local", fmt.Sprintf("CREATE TABLE public.small_%d (id int PRIMARY KEY, body text, at timestamptz DEFAULT now())", i),
			fmt.Sprintf("INSERT INTO public.small_%d SELECT i, md5(i::text) FROM generate_series(1, 50) i", i))
	}
	began := time.Now()
	s, got, res := c.verify()
	took := time.Since(began)
	if len(got) > 0 || res.verified.IsZero() || s.Databases["postgres"].Tables < 130 {
		t.Errorf("%v %+v %+v", got, res, s)
	}
	t.Logf("%d tables, %d rows: compared on three members in %.1f s", s.Tables, s.Rows, took.Seconds())
}

// lieIndex has an index lead from one row's key to another row.
func (m *member) lieIndex(index string, from, to page.TID) {
	m.c.t.Helper()
	blocks := int(toNumber(m.sql("SELECT pg_relation_size(" + quote(index) + ") / 8192")[0][0]))
	m.c.still(m.name)
	path := m.sql("SELECT pg_relation_filepath(" + quote(index) + ")")[0][0]
	m.c.run("pg_ctl", "-D", m.set.Data, "-m", "fast", "-w", "stop")
	done := false
	for b := 1; b < blocks && !done; b++ {
		err := page.Edit(filepath.Join(m.set.Data, path), uint32(b), true, func(p page.Page) error {
			done = p.Repoint(from, to)
			return nil
		})
		if done {
			must(m.c.t, err)
		}
	}
	m.startByHand()
	if !done {
		m.c.t.Fatalf("no entry of %s leads to %v", index, from)
	}
}

// A table that is altered all the time is compared again, and then left out with a word; nothing is said
// to differ, and nobody who alters it waits for long.
func TestVerifyOfATableThatIsAltered(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	c.shop()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan time.Duration)
	go func() {
		var longest time.Duration
		for i := 0; ctx.Err() == nil; i++ {
			began := time.Now()
			c.members["pangyo"].sql(fmt.Sprintf("ALTER TABLE public.orders ADD COLUMN x%d int", i), fmt.Sprintf("ALTER TABLE public.orders DROP COLUMN x%d", i))
			longest = max(longest, time.Since(began))
			_ = pause(ctx, 20*time.Millisecond)
		}
		done <- longest
	}()
	s, got, _ := c.verify()
	cancel()
	longest := <-done
	if len(got) > 0 {
		t.Errorf("found %v", got)
	}
	if !slices.ContainsFunc(s.LeftOut, func(o verify.Omission) bool {
		return strings.Contains(o.Name, "public.orders") && strings.Contains(o.Why, "altered")
	}) {
		t.Logf("it was compared between two alterations: %v", s.LeftOut)
	}
	if longest > 3*time.Second {
		t.Errorf("an alteration took %v", longest)
	}
}

// Rows of a hundred megabytes are compared, and so are none.
func TestVerifyOfLargeRows(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	c.members["pangyo"].sql("SET statement_timeout = 0", "SET synchronous_commit = local", `CREATE TABLE public.big (id int PRIMARY KEY, data bytea)`, `ALTER TABLE public.big ALTER data SET STORAGE EXTERNAL`,
		`INSERT INTO public.big SELECT 1, decode(repeat(md5('x'), 6553600), 'hex')`, `CREATE TABLE public.none ()`)
	_, got, res := c.verify()
	if len(got) > 0 || res.verified.IsZero() {
		t.Errorf("%v %+v", got, res)
	}
}

// The primary's agent writes a canary; followers have it, and after a failover the last that was
// acknowledged is on the new primary.
func TestTheLastAcknowledgedCanaryIsOnTheNewPrimary(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	seq := func(fact string) uint64 {
		n, _, _ := strings.Cut(fact, " ")
		return toNumber(n)
	}
	eventually(t, "canaries are acknowledged", func() bool { return seq(c.facts("pangyo")["canary_acked"]) >= 3 })
	for _, m := range []string{"ansan", "anyang"} {
		eventually(t, m+" holds them", func() bool { return toNumber(c.members[m].sql("SELECT seq FROM haechi.canary")[0][0]) >= 3 })
	}
	acked := seq(c.facts("pangyo")["canary_acked"])
	c.members["pangyo"].killDatabase()
	r := c.begin()
	for _, v := range []plan.Verb{plan.Seal, plan.Choose, plan.Follow, plan.Promote} {
		r.must(v, "ansan", "anyang")
	}
	next := string(c.record.Primary)
	eventually(t, "the new primary says what it found", func() bool { return c.facts(next)["canary_found"] != "" })
	if f := c.facts(next); seq(f["canary_found"]) < acked {
		t.Errorf("canary %d was acknowledged, %s is there", acked, f["canary_found"])
	}
	eventually(t, "the new primary writes on", func() bool { return seq(c.facts(next)["canary_acked"]) > acked })
}
