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
	p := string(c.record.Primary)
	began := time.Now()
	eventually(t, "the new primary acknowledges", func() bool { n, _ := w.since(began, p); return n > 50 })
	f := c.begin()
	f.epoch = 0
	f.must(plan.Fence, "pangyo")
	return c, w
}

// returns is a run that brings members back; kept says that what pangyo alone held is.
func (c *cluster) returns(kept bool) *carried {
	r := c.begin()
	r.epoch = 0
	if kept {
		r.facts[factSalvaged+"/pangyo"] = "r-1-pangyo"
	}
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
	r := c.returns(false)
	if _, err := r.try(30*time.Second, plan.Rejoin, "pangyo"); err == nil || !strings.Contains(err.Error(), "salvage it first") {
		t.Fatalf("it was rewritten and nobody had read it: %v", err)
	}
	r = c.returns(true)
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
	r := c.returns(true)
	r.must(plan.Rejoin, "pangyo")
	if m := c.method(r, "pangyo"); m != byFollow {
		t.Errorf("by %s: %s", m, r.facts["rejoin/reason/pangyo"])
	}
	c.counts(r, "pangyo")
	// A follower that is merely down is started, while it counts.
	down := string(c.record.Sync[0])
	c.members[down].killDatabase()
	r = c.returns(false)
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
	r := c.returns(false)
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

// A week later: the primary has no log any more of where the member stopped, and most of the data is the same.
func TestAMemberWhoseLogIsGoneIsCopiedByDifference(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	p := c.members["pangyo"]
	p.sql("CREATE TABLE public.big AS SELECT g AS id, repeat('x', 500) AS pad FROM generate_series(1, 60000) g", "CHECKPOINT")
	eventually(t, "anyang is level", func() bool {
		return c.members["anyang"].sql("SELECT count(*) FROM pg_class WHERE relname = 'big'")[0][0] == "1"
	})
	c.members["anyang"].killDatabase()
	p.sql("ALTER SYSTEM SET wal_keep_size = 0", "ALTER SYSTEM SET max_wal_size = '32MB'", "ALTER SYSTEM SET min_wal_size = '32MB'", "SELECT pg_reload_conf()")
	for range 6 {
		p.sql("INSERT INTO public.w (id) SELECT coalesce(max(id), 0) + 1 FROM public.w", "SELECT pg_switch_wal()", "CHECKPOINT")
	}
	r := c.returns(false)
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

// slowly gives the order to rejoin at a rate at which it does not end soon, and waits until it is at a stage.
func (c *cluster) slowly(member, stage string) {
	c.t.Helper()
	p := c.members[string(c.record.Primary)]
	o := agent.Order{Verb: agent.Rejoin, Self: member, Epoch: c.record.Next, Reign: c.record.Epoch, Kept: "r-1-pangyo", Rate: 300 << 10,
		Upstream: &agent.Upstream{Member: p.name, Host: "127.0.0.1", Port: fmt.Sprint(p.port), Credential: c.record.Epoch, Reign: c.record.Epoch}}
	eventually(c.t, member+" is at "+stage, func() bool {
		_, err := c.order(member, o)
		must(c.t, err)
		return c.facts(member)["rejoin/stage"] == stage
	})
}

// A rewind or a copy that is cut off: by its agent's death, or by another order. The member is known to be broken,
// nobody starts it, and it is made anew out of what lies there.
func TestAReturnThatIsCutOffIsMadeAnew(t *testing.T) {
	for _, tt := range []struct{ stage, broken string }{{"rewinding", byRewind}, {"copying", byCopy}} {
		for _, die := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, its agent dies %v", tt.stage, die), func(t *testing.T) { cutOff(t, tt.stage, tt.broken, die) })
		}
	}
}

func cutOff(t *testing.T, stage, broken string, die bool) {
	c, w := moved(t)
	w.end()
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
	c.slowly("pangyo", stage)
	if die {
		must(t, apart.Process.Kill())
		_ = apart.Wait()
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
	r := c.returns(true)
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
	m, p := c.members["pangyo"], c.members[string(c.record.Primary)]
	must(t, os.RemoveAll(m.set.Data))
	c.slowly("pangyo", "copying")
	p.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'haechi-rejoin%'")
	eventually(t, "the attempt has ended", func() bool { return c.facts("pangyo")["rejoin/over"] == "true" })
	r := c.returns(true)
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
	m.sql("SELECT pg_promote()", "INSERT INTO public.w (id) SELECT -g FROM generate_series(1, 100) g")
	f := c.begin()
	f.epoch = 0
	f.must(plan.Fence, "pangyo")
	r := c.returns(true)
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
	p := c.members[string(c.record.Primary)]
	eventually(t, "its agent has granted them", func() bool {
		return p.sql("SELECT has_function_privilege('haechi_replication', 'pg_read_binary_file(text,bigint,bigint,boolean)', 'EXECUTE')")[0][0] == "t"
	})
	p.sql("REVOKE EXECUTE ON FUNCTION pg_read_binary_file(text,bigint,bigint,boolean) FROM haechi_replication")
	o := agent.Order{Verb: agent.Rejoin, Self: "pangyo", Epoch: c.record.Next, Reign: c.record.Epoch, Kept: "x",
		Upstream: &agent.Upstream{Member: p.name, Host: "127.0.0.1", Port: fmt.Sprint(p.port), Credential: c.record.Epoch, Reign: c.record.Epoch}}
	a, err := c.order("pangyo", o)
	if err != nil || !strings.Contains(a.Facts["failed"], "lacks a right on "+p.name) || a.Facts["again"] != "false" {
		t.Errorf("%v %v", a.Facts, err)
	}
	// The step has the primary grant them first.
	r := c.returns(true)
	r.must(plan.Rejoin, "pangyo")
	c.counts(r, "pangyo")
}
