//go:build lab

package postgres

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
)

// moved is a store that was moved from pangyo, which wrote rows of its own beyond the fork and is fenced.
func moved(t *testing.T) (*cluster, *writer) {
	t.Helper()
	c := newCluster(t)
	c.adopt()
	w := c.write(2, "ansan", "anyang", "pangyo")
	eventually(t, "writes are acknowledged", func() bool { n, _ := w.since(time.Time{}, "pangyo"); return n > 100 })
	r := c.begin()
	r.must(plan.Seal, "ansan", "anyang")
	c.members["pangyo"].sql("SET synchronous_commit = local; INSERT INTO public.w (id) SELECT -g FROM generate_series(1, 1000) g")
	for _, v := range []plan.Verb{plan.Choose, plan.Follow, plan.Promote} {
		r.must(v, "ansan", "anyang")
	}
	c.home().must(plan.Fence, "pangyo") // writers wait there for acknowledgements that do not come
	p := string(c.record.Primary)
	began := time.Now()
	eventually(t, "the new primary acknowledges", func() bool { n, _ := w.since(began, p); return n > 50 })
	return c, w
}

// salvaged is a run that brings a member back, up to where what only that held is kept.
func (c *cluster) salvaged(member string) *carried {
	c.t.Helper()
	r := c.home()
	r.must(plan.Salvage, member)
	return r
}

// counts lists a member that has rejoined, and waits until it acknowledges.
func (c *cluster) counts(r *carried, member string) {
	c.t.Helper()
	r.beforeReturn(member)
	r.must(plan.Return, member)
	p := c.members[string(c.record.Primary)]
	eventually(c.t, member+" acknowledges", func() bool {
		return holdingNow(c.facts(p.name), member)
	})
	if len(c.record.Former) > 0 || len(c.record.Sync) != 2 || c.record.LeastAny != 1 {
		c.t.Errorf("record %+v", c.record)
	}
}

func holdingNow(f map[string]string, member string) bool {
	return len(holding(f, []string{member}, 1)) == 1
}

// same waits until a member holds what its primary holds, and compares the writers' table.
func (c *cluster) same(member string) {
	c.t.Helper()
	p, m := c.members[string(c.record.Primary)], c.members[member]
	const sum = "SELECT count(*)::text || ' ' || coalesce(sum(hashtext(id::text)::bigint)::text, '') FROM public.w"
	eventually(c.t, member+" holds the same", func() bool { return m.sql(sum)[0][0] == p.sql(sum)[0][0] })
	if n := m.sql("SELECT count(*) FROM public.w WHERE id < 0")[0][0]; n != "0" {
		c.t.Errorf("%s of the rows that only the former primary held are on %s", n, member)
	}
}

func (c *cluster) method(r *carried, member string) string { return r.facts["rejoin/method/"+member] }

func TestAFormerPrimaryIsRewoundAndCountsAgain(t *testing.T) {
	c, w := moved(t)
	r := c.home()
	if _, err := r.try(30*time.Second, plan.Rejoin, "pangyo"); err == nil || !strings.Contains(err.Error(), "salvage it first") {
		t.Fatalf("it was rewritten and nobody had read it: %v", err)
	}
	r.facts[factSalvaged+"/pangyo"] = "r-1-pangyo" // a tower may say so; its agent knows better
	if _, err := r.try(30*time.Second, plan.Rejoin, "pangyo"); err == nil || !strings.Contains(err.Error(), "read what only it holds first") {
		t.Fatalf("it was rewritten and nobody had read it: %v", err)
	}
	if s := r.must(plan.Salvage, "pangyo").Salvage; s.Rows < 1000 || s.Tables["postgres.public.w"] != s.Rows {
		t.Errorf("of 1000 rows and more that only it held these were kept: %+v", s)
	}
	began := time.Now()
	r.must(plan.Rejoin, "pangyo")
	t.Logf("FIGURE rewound in %v", time.Since(began))
	if m := c.method(r, "pangyo"); m != byRewind {
		t.Errorf("by %s", m)
	}
	f := c.facts("pangyo")
	if f["in_recovery"] != "true" || f["cluster_name"] != "pangyo" || f["fenced"] != "false" || f["broken"] != "" || f["agent/upstream"] != string(c.record.Primary) {
		t.Errorf("%v", f)
	}
	if holdingNow(c.facts(string(c.record.Primary)), "pangyo") {
		t.Error("it counts before it was listed")
	}
	c.counts(r, "pangyo")
	w.end()
	c.same("pangyo")
	c.checkNothingLost(w)
	// Done again, by a tower that knows of nothing: nothing happens.
	if res, err := c.driver.Look(t.Context(), r.task(plan.Rejoin, "pangyo")); res.Outcome != run.Done {
		t.Errorf("look: %v %v", res.Outcome, err)
	}
	r.must(plan.Rejoin, "pangyo")
	// And it can take over.
	r = c.begin()
	p := string(c.record.Primary)
	c.members[p].killDatabase()
	rest := without(names, p)
	for _, v := range []plan.Verb{plan.Seal, plan.Choose, plan.Follow, plan.Promote} {
		r.must(v, rest...)
	}
}

// One that was killed and wrote nothing beyond the fork follows as it is.
func TestAMemberThatHoldsNoMoreFollowsAsItIs(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	c.members["pangyo"].sql("INSERT INTO public.w (id) SELECT g FROM generate_series(1, 100) g")
	for _, m := range []string{"ansan", "anyang"} {
		eventually(t, m+" is level", func() bool { return c.members[m].sql("SELECT count(*) FROM public.w")[0][0] == "100" })
	}
	c.members["pangyo"].killDatabase()
	c.failover(c.begin())
	r := c.salvaged("pangyo")
	r.must(plan.Rejoin, "pangyo")
	if m := c.method(r, "pangyo"); m != byFollow {
		t.Errorf("by %s: %s", m, r.facts["rejoin/reason/pangyo"])
	}
	c.counts(r, "pangyo")
	// A follower that is merely down is started, while it counts.
	down := string(c.record.Sync[0])
	c.members[down].killDatabase()
	r = c.home()
	r.must(plan.Rejoin, down)
	if m := c.method(r, down); m != byStart {
		t.Errorf("by %s: %s", m, r.facts["rejoin/reason/"+down])
	}
	c.same(down)
}

// Its disk was replaced: it is counted out first, then copied, under its own name and port.
func TestAMemberWithoutDataIsCopied(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	w := c.write(2, "pangyo")
	eventually(t, "writes are acknowledged", func() bool { n, _ := w.since(time.Time{}, "pangyo"); return n > 100 })
	m := c.members["anyang"]
	m.killDatabase()
	must(t, os.RemoveAll(m.set.Data))
	r := c.home()
	if res, err := r.try(30*time.Second, plan.Rejoin, "anyang"); err == nil || res.Outcome != run.NotDone || len(c.record.Former) != 1 || len(c.record.Sync) != 1 {
		t.Fatalf("%v %v, record %+v", res.Outcome, err, c.record)
	}
	r.must(plan.Rejoin, "anyang")
	if by := c.method(r, "anyang"); by != byCopy {
		t.Errorf("by %s", by)
	}
	if f := c.facts("anyang"); f["cluster_name"] != "anyang" || f["in_recovery"] != "true" {
		t.Errorf("%v", f)
	}
	c.counts(r, "anyang")
	w.end()
	c.same("anyang")
	c.checkNothingLost(w)
	c.noSlots()
}

// noSlots makes sure that the primary keeps no log for a member that is back.
func (c *cluster) noSlots() {
	c.t.Helper()
	p := c.members[string(c.record.Primary)]
	eventually(c.t, "no slot of a return is left", func() bool {
		return p.sql("SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'haechi\\_rejoin%'")[0][0] == "0"
	})
}

// writesOn has a primary write a row, and go on with another file of its log.
func (m *member) writesOn() {
	m.c.t.Helper()
	m.sql("INSERT INTO public.w (id) SELECT coalesce(max(id), 0) + 1 FROM public.w", "SELECT pg_switch_wal()")
}

// forgets has a primary throw a file of its log away, whatever its slots hold back; of what it has written last it keeps
// some.
func (m *member) forgets(file, keep string) {
	m.c.t.Helper()
	m.sql("ALTER SYSTEM SET wal_keep_size = "+quote(keep), "ALTER SYSTEM SET max_wal_size = '32MB'", "ALTER SYSTEM SET min_wal_size = '32MB'",
		"ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "SELECT pg_reload_conf()")
	eventually(m.c.t, "the log of then is gone", func() bool {
		m.sql("SET statement_timeout = 0", "CHECKPOINT")
		return m.sql("SELECT count(*) FROM pg_ls_waldir() WHERE name = " + quote(file))[0][0] == "0"
	})
	m.sql("ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")
}

// The primary has no log any more of the member's last checkpoint, but of where that was when it died.
func TestAMemberThatReceivedMoreThanItsPrimaryKeepsIsStarted(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	p, m := c.members["pangyo"], c.members["anyang"]
	c.still("anyang")
	last := p.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0]
	for range 5 {
		p.writesOn()
	}
	at := p.sql("SELECT pg_current_wal_insert_lsn()")[0][0]
	eventually(t, "anyang has replayed all", func() bool {
		return m.sql("SELECT pg_last_wal_replay_lsn() >= " + quote(at) + "::pg_lsn")[0][0] == "t"
	})
	m.killDatabase()
	p.forgets(last, "32MB")
	r := c.home()
	r.must(plan.Rejoin, "anyang")
	if by := c.method(r, "anyang"); by != byStart || len(c.record.Former) > 0 {
		t.Errorf("by %s: %s; record %+v", by, r.facts["rejoin/reason/anyang"], c.record)
	}
	c.same("anyang")
}

// A week later: the primary has no log any more of where the member stopped, and most of the data is the same.
func TestAMemberWhoseLogIsGoneIsCopiedByDifference(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	p := c.members["pangyo"]
	p.sql("SET statement_timeout = 0", "CREATE TABLE public.big (id int, pad text)",
		"INSERT INTO public.big SELECT g, repeat('x', 500) FROM generate_series(1, 60000) g") // by a first command: the log keeps no number of a later one
	c.still("anyang")
	c.members["anyang"].killDatabase()
	last := p.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0]
	for range 6 {
		p.writesOn()
	}
	p.forgets(last, "0")
	r := c.home()
	if res, err := r.try(30*time.Second, plan.Rejoin, "anyang"); err == nil || len(c.record.Former) != 1 {
		t.Fatalf("%v %v", res.Outcome, err)
	}
	r.must(plan.Rejoin, "anyang")
	if by := c.method(r, "anyang"); by != byCopy || !strings.Contains(r.facts["rejoin/reason/anyang"], "no log") {
		t.Errorf("by %s: %s", by, r.facts["rejoin/reason/anyang"])
	}
	taken, of := toNumber(r.facts["rejoin/taken/anyang"]), toNumber(r.facts["rejoin/of/anyang"])
	t.Logf("FIGURE %d KB of %d were sent", taken>>10, of>>10)
	if of < 30<<20 || taken > of/4 {
		t.Errorf("%d bytes of %d were sent", taken, of)
	}
	c.counts(r, "anyang")
	c.same("anyang")
	if n := c.members["anyang"].sql("SELECT count(*) FROM public.big")[0][0]; n != "60000" {
		t.Errorf("%s rows", n)
	}
}

// slowly gives the order to rejoin at a rate at which it does not end soon, and waits until it is at a phase.
func (c *cluster) slowly(r *carried, member, phase string) {
	c.t.Helper()
	p := c.members[string(c.record.Primary)]
	o := agent.Order{Verb: agent.Rejoin, Self: member, Epoch: c.record.Next, Reign: c.record.Epoch, Kept: r.facts[factSalvaged+"/"+member], Rate: 300 << 10,
		Upstream: &agent.Upstream{Member: p.name, Host: "127.0.0.1", Port: fmt.Sprint(p.port), Credential: c.record.Epoch, Reign: c.record.Epoch}}
	eventually(c.t, member+" is "+phase, func() bool {
		_, err := c.order(member, o)
		must(c.t, err)
		return c.facts(member)["rejoin/phase"] == phase
	})
}

// A rewind or a copy that is cut off: by its agent's death, or by another order. The member is known to be broken,
// nobody starts it, and it is made anew out of what lies there.
func TestAReturnThatIsCutOffIsMadeAnew(t *testing.T) {
	for _, tt := range []struct{ phase, broken string }{{"rewinding", byRewind}, {"copying", byCopy}} {
		for _, die := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, its agent dies %v", tt.phase, die), func(t *testing.T) { cutOff(t, tt.phase, tt.broken, die) })
		}
	}
}

func cutOff(t *testing.T, phase, broken string, die bool) {
	c, w := moved(t)
	w.end()
	r := c.salvaged("pangyo")
	m := c.members["pangyo"]
	if broken == byCopy { // nothing of its own log is left, so it cannot be rewound
		must(t, os.RemoveAll(filepath.Join(m.set.Data, "pg_wal")))
		must(t, os.MkdirAll(filepath.Join(m.set.Data, "pg_wal"), 0o700))
		must(t, os.RemoveAll(filepath.Join(m.set.Data, "base")))
	}
	var apart *exec.Cmd
	if die {
		m.stopAgent()
		apart = m.agentApart()
	}
	c.slowly(r, "pangyo", phase)
	if die {
		must(t, apart.Process.Kill())
		_ = apart.Wait()
		m.hangUp()
		m.startAgent()
	} else {
		_, err := c.order("pangyo", agent.Order{Verb: agent.Fence, Self: "pangyo", Epoch: c.record.Next, Reign: c.record.Epoch})
		must(t, err)
	}
	if f := c.facts("pangyo"); f["broken"] != broken || f["running"] != "false" {
		t.Fatalf("%v", f)
	}
	for _, v := range []agent.Verb{agent.Start, agent.Seal} {
		_, err := c.order("pangyo", agent.Order{Verb: v, Self: "pangyo", Epoch: c.record.Next, Reign: c.record.Epoch})
		wantCode(t, err, agent.Unsafe)
	}
	if broken == byCopy { // nor by hand
		out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "postgres"), "-D", m.set.Data).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "pg_control") {
			t.Errorf("it starts: %v %s", err, out)
		}
	}
	r = c.salvaged("pangyo") // what it held was read before: it is not asked again
	r.must(plan.Rejoin, "pangyo")
	if by := c.method(r, "pangyo"); by != byCopy {
		t.Errorf("by %s", by)
	}
	c.counts(r, "pangyo")
	c.same("pangyo")
	c.noSlots()
}

// The link to the source drops in the middle of a copy: it is resumed by itself.
func TestACopyGoesOnWhenItsSourceIsBack(t *testing.T) {
	c, w := moved(t)
	w.end()
	r := c.salvaged("pangyo")
	m, p := c.members["pangyo"], c.members[string(c.record.Primary)]
	must(t, os.RemoveAll(m.set.Data))
	c.slowly(r, "pangyo", "copying")
	p.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'haechi-rejoin%'")
	eventually(t, "the attempt has ended", func() bool { return c.facts("pangyo")["rejoin/over"] == "true" })
	r.must(plan.Rejoin, "pangyo")
	c.counts(r, "pangyo")
	c.same("pangyo")
}

// Other hands promoted it: two timelines of equal number that parted at the same place. Only what was written
// tells them apart, and pg_rewind would call them the same.
func TestTwoTimelinesOfEqualNumberAreToldApart(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	m := c.members["pangyo"]
	m.sql("INSERT INTO public.w (id) SELECT g FROM generate_series(1, 100) g", "CHECKPOINT")
	for _, n := range []string{"ansan", "anyang"} {
		eventually(t, n+" is level", func() bool { return c.members[n].sql("SELECT count(*) FROM public.w")[0][0] == "100" })
	}
	m.killDatabase()
	c.failover(c.begin())
	must(t, os.WriteFile(filepath.Join(m.set.Data, "standby.signal"), nil, 0o600))
	m.startByHand()
	m.sql("SELECT pg_promote()", "SET synchronous_commit = local; INSERT INTO public.w (id) SELECT -g FROM generate_series(1, 100) g")
	c.home().must(plan.Fence, "pangyo")
	r := c.salvaged("pangyo")
	r.must(plan.Rejoin, "pangyo")
	if by := c.method(r, "pangyo"); by == byFollow || by == byStart {
		t.Errorf("by %s: %s", by, r.facts["rejoin/reason/pangyo"])
	}
	t.Logf("by %s: %s", c.method(r, "pangyo"), r.facts["rejoin/reason/pangyo"])
	c.counts(r, "pangyo")
	c.same("pangyo")
}

// The rights that a return needs were never granted, or people took them away: said, and nothing changed.
func TestRightsThatAreMissingAreNamed(t *testing.T) {
	c, w := moved(t)
	w.end()
	r := c.salvaged("pangyo")
	p := c.members[string(c.record.Primary)]
	eventually(t, "its agent has granted them", func() bool {
		return p.sql("SELECT has_function_privilege('haechi_replication', 'pg_read_binary_file(text,bigint,bigint,boolean)', 'EXECUTE')")[0][0] == "t"
	})
	p.sql("REVOKE EXECUTE ON FUNCTION pg_read_binary_file(text,bigint,bigint,boolean) FROM haechi_replication")
	o := agent.Order{Verb: agent.Rejoin, Self: "pangyo", Epoch: c.record.Next, Reign: c.record.Epoch, Kept: r.facts[factSalvaged+"/pangyo"],
		Upstream: &agent.Upstream{Member: p.name, Host: "127.0.0.1", Port: fmt.Sprint(p.port), Credential: c.record.Epoch, Reign: c.record.Epoch}}
	a, err := c.order("pangyo", o)
	if err != nil || !strings.Contains(a.Facts["failed"], "lacks a right on "+p.name) || a.Facts["again"] != "false" {
		t.Errorf("%v %v", a.Facts, err)
	}
	// The step has the primary grant them first.
	r.must(plan.Rejoin, "pangyo")
	c.counts(r, "pangyo")
}
