//go:build lab

package postgres

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver/postgres/salvage"
)

// addFollower gives a cluster that haechi does not know yet one member more.
func (c *cluster) addFollower(name string) {
	c.t.Helper()
	c.addMember(name)
	m, p := c.members[name], c.members["pangyo"]
	c.run("pg_basebackup", "-D", m.set.Data, "-R", "-c", "fast", "--no-sync", "-X", "stream",
		"-d", fmt.Sprintf("host=127.0.0.1 port=%d user=haechi_replication password=by-hand application_name=%s", p.port, name))
	m.conf()
	m.startByHand()
	host := estate.HostID("db-" + name)
	c.store.Members[estate.MemberID(name)] = estate.Member{Site: estate.SiteID(name), Host: host, Address: fmt.Sprintf("127.0.0.1:%d", m.port), Unit: "talk-db"}
	c.estate.Hosts[host] = estate.Host{Site: estate.SiteID(name), Agent: m.addr}
	m.startAgent()
}

// keepsSlot waits until a primary would be read exactly.
func (c *cluster) keepsSlot(primary string) {
	c.t.Helper()
	eventually(c.t, "a slot on "+primary, func() bool { return c.facts(primary)["salvage_slot"] == "kept" })
}

// rowsOf are the keys of public.w in a salvage, as a member keeps it: those that the test planted, which are below
// zero, from the highest down, and the others.
func (m *member) rowsOf(id string) (planted, others []string) {
	m.c.t.Helper()
	_, rows, _ := m.fileOf(id)
	for _, r := range rows {
		i := slices.IndexFunc(r.New, func(v salvage.Value) bool { return v.Column == "id" })
		if r.Op != "insert" || r.Table != "w" || i < 0 {
			m.c.t.Errorf("a row that nobody planted: %s", drawRow(r))
			continue
		}
		if key := r.New[i].String(); strings.HasPrefix(key, "-") {
			planted = append(planted, key)
		} else {
			others = append(others, key)
		}
	}
	return planted, others
}

// plantKeys writes rows of public.w on one member alone.
func (m *member) plantKeys(from, to int) (keys []string) {
	m.c.t.Helper()
	m.sql(fmt.Sprintf("SET synchronous_commit = local; INSERT INTO public.w (id) SELECT -g FROM generate_series(%d, %d) g", from, to))
	for g := from; g <= to; g++ {
		keys = append(keys, fmt.Sprint(-g))
	}
	return keys
}

// Two failovers, and the first primary has not come back before the second is lost, too. Each is read for what it
// alone held, by the way on which it went, and comes back.
func TestTwoFormerPrimariesAreSalvaged(t *testing.T) {
	c := newCluster(t)
	c.addFollower("jeju")
	all := append(slices.Clone(names), "jeju")
	c.members["pangyo"].sql(`ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 ("ansan","anyang","jeju")'`, "SELECT pg_reload_conf()")
	c.begin().must(plan.Adopt, all...)
	w := c.write(2, all...)
	rest, want := all, map[string][]string{}
	for n := range 2 {
		p := string(c.record.Primary)
		began := time.Now()
		eventually(t, p+" acknowledges", func() bool { n, _ := w.since(began, p); return n > 50 })
		c.keepsSlot(p)
		rest = without(rest, p)
		r := c.begin()
		r.must(plan.Seal, rest...)
		want[p] = c.members[p].plantKeys(100*n+1, 100*n+100)
		for _, v := range []plan.Verb{plan.Choose, plan.Follow, plan.Promote} {
			r.must(v, rest...)
		}
		c.members[p].killDatabase()
	}
	began := time.Now()
	eventually(t, "the third primary acknowledges", func() bool { n, _ := w.since(began, string(c.record.Primary)); return n > 50 })
	if len(c.record.Former) != 2 || len(want) != 2 || c.record.Timeline != 3 {
		t.Fatalf("record %+v", c.record)
	}
	w.end()
	r := c.home()
	for _, p := range without([]string{"pangyo", "ansan", "anyang", "jeju"}, string(c.record.Primary)) {
		if want[p] == nil {
			continue
		}
		r.must(plan.Fence, p)
		s := r.must(plan.Salvage, p).Salvage
		if s.Method != situation.Decoded || s.Partial || len(s.Holders) < 2 || s.Reign == c.record.Epoch {
			t.Errorf("%+v", s)
		}
		for _, holder := range s.Holders {
			planted, others := c.members[string(holder)].rowsOf(s.ID)
			if !slices.Equal(planted, want[p]) || len(others) > 2 { // what its last clients still waited for
				t.Errorf("of %s, beside %s: %v and %v", p, holder, planted, others)
			}
		}
	}
	for p := range want {
		r.must(plan.Rejoin, p)
		r.beforeReturn(p)
		r.must(plan.Return, p)
		c.same(p)
	}
	if len(c.record.Former) > 0 || len(c.record.Sync) != 3 {
		t.Errorf("record %+v", c.record)
	}
	c.checkNothingLost(w)
}

// It comes back a week later: its slots are gone, and so is the log, here and on its primary. What it alone holds is
// found by comparison, what that cannot see is said, and only then is it copied.
func TestAFormerPrimaryWithoutSlotsAndLogComesBack(t *testing.T) {
	c := parted(t, func(p *member) {
		plantAlone(p)
		for range 2 { // so that what was planted lies in files of the log that nothing needs to start
			p.sql("SELECT pg_switch_wal()", "CHECKPOINT")
		}
	})
	p, n := c.members["pangyo"], c.primary()
	c.home().must(plan.Fence, "pangyo")
	p.loseLog()
	n.sql("ALTER SYSTEM SET wal_keep_size = 0", "ALTER SYSTEM SET max_wal_size = '32MB'", "ALTER SYSTEM SET min_wal_size = '32MB'", "SELECT pg_reload_conf()")
	for range 6 {
		n.writesOn()
		n.isHeard(1)
		n.sql("CHECKPOINT")
	}
	r := c.home()
	s := r.must(plan.Salvage, "pangyo").Salvage
	_, rows, foot := p.fileOf(s.ID)
	var got []string
	for _, row := range rows {
		got = append(got, drawRow(row))
	}
	slices.Sort(got)
	if want := slices.Sorted(slices.Values(leftRows)); !slices.Equal(got, want) || s.Method != situation.Compared {
		t.Errorf("%s\n%s\nnot\n%s", s.Method, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if says := strings.Join(foot.Unknown, "; "); !strings.Contains(says, "no slot") || !strings.Contains(says, "nokey has no key") {
		t.Errorf("what could not be compared is not said: %s", says)
	}
	r.must(plan.Rejoin, "pangyo")
	if by := c.method(r, "pangyo"); by != byCopy {
		t.Errorf("by %s: %s", by, r.facts["rejoin/reason/pangyo"])
	}
	c.counts(r, "pangyo")
	c.same("pangyo")
	if left := p.sql("SELECT count(*) FROM public.item WHERE id IN (30, 100)")[0][0]; left != "0" {
		t.Errorf("%s of the rows that only it held are still on it", left)
	}
}

// isHeard waits until so many followers hold what a primary has written by now: nobody needs then what a checkpoint
// throws away.
func (m *member) isHeard(followers int) {
	m.c.t.Helper()
	upTo := m.sql("SELECT pg_current_wal_lsn()")[0][0]
	eventually(m.c.t, "followers hold "+upTo, func() bool {
		return m.sql("SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= " + quote(upTo))[0][0] == fmt.Sprint(followers)
	})
}

// loseLog takes a stopped member's slots away, and all of its log that it does not need to start.
func (m *member) loseLog() {
	m.c.t.Helper()
	slots, err := filepath.Glob(filepath.Join(m.set.Data, "pg_replslot", "*"))
	must(m.c.t, err)
	if len(slots) == 0 {
		m.c.t.Fatal("there were no slots")
	}
	for _, s := range slots {
		must(m.c.t, os.RemoveAll(s))
	}
	control, err := (&Unit{set: m.set}).control(m.c.t.Context())
	must(m.c.t, err)
	oldest, gone := control["Latest checkpoint's REDO WAL file"], 0
	files, err := os.ReadDir(filepath.Join(m.set.Data, "pg_wal"))
	must(m.c.t, err)
	for _, f := range files {
		if name := f.Name(); len(name) == len(oldest) && name < oldest {
			must(m.c.t, os.Remove(filepath.Join(m.set.Data, "pg_wal", name)))
			gone++
		}
	}
	if gone == 0 {
		m.c.t.Fatalf("no file of the log is older than %q", oldest)
	}
}

// wasRead is a store that went over from pangyo, which wrote rows of its own beyond the fork and was read, and the
// run that did so.
func wasRead(t *testing.T) (*cluster, *carried) {
	t.Helper()
	c := parted(t, func(p *member) { p.plantKeys(1, 1000) })
	c.home().must(plan.Fence, "pangyo")
	return c, c.salvaged("pangyo")
}

// pg_rewind fails in the middle: the member is known to be broken, nothing starts it, and it is made anew.
func TestARewindThatFailsHalfWay(t *testing.T) {
	c, r := wasRead(t)
	m, p := c.members["pangyo"], c.primary()
	before := m.starts()
	eventually(t, "it is being rewound", func() bool {
		_, err := c.order("pangyo", agent.Order{Verb: agent.Rejoin, Self: "pangyo", Epoch: c.record.Next, Reign: c.record.Epoch, Kept: r.facts[factSalvaged+"/pangyo"], Rate: 16 << 20,
			Upstream: &agent.Upstream{Member: p.name, Host: "127.0.0.1", Port: fmt.Sprint(p.port), Credential: c.record.Epoch, Reign: c.record.Epoch}})
		must(t, err)
		return c.facts("pangyo")["rejoin/phase"] == "rewinding"
	})
	if killed := p.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'haechi-rejoin'")[0][0]; killed == "0" {
		t.Fatal("there was no pg_rewind")
	}
	var f map[string]string
	eventually(t, "all is copied instead", func() bool { f = c.facts("pangyo"); return f["rejoin/phase"] == "copying" })
	if f["broken"] == "" || f["running"] != "false" || !strings.Contains(f["rejoin/reason"], "pg_rewind does not do") {
		t.Errorf("%v", f)
	}
	_, err := c.order("pangyo", agent.Order{Verb: agent.Start, Self: "pangyo", Epoch: c.record.Next, Reign: c.record.Epoch})
	wantCode(t, err, agent.Unsafe)
	if m.starts() != before {
		t.Errorf("it was started %d times, %d before", m.starts(), before)
	}
	r.must(plan.Rejoin, "pangyo")
	if by := c.method(r, "pangyo"); by != byCopy || m.starts() != before+1 {
		t.Errorf("by %s; started %d times, %d before", by, m.starts(), before)
	}
	c.counts(r, "pangyo")
	c.same("pangyo")
}

// starts is how often the member's server was started, by its log.
func (m *member) starts() int {
	m.c.t.Helper()
	raw, err := os.ReadFile(m.set.Log)
	must(m.c.t, err)
	return strings.Count(string(raw), "starting PostgreSQL")
}

// A former primary is started by hand while nobody looks, and its clients still know its address: it acknowledges
// nothing. Once it is seen it is stopped, read, rewound and counted.
func TestAFormerPrimaryThatReturnsUnseenAcknowledgesNothing(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	old := c.write(2, "pangyo") // they know nobody else, and retry their ids
	old.commit = 100 * time.Millisecond
	eventually(t, "writes are acknowledged", func() bool { n, _ := old.since(time.Time{}, "pangyo"); return n > 100 })
	c.keepsSlot("pangyo")
	p := c.members["pangyo"]
	p.killDatabase()
	c.failover(c.begin())
	w := c.write(2, "ansan", "anyang")
	began := time.Now()
	p.startByHand()
	tries := map[string]bool{}
	eventually(t, "its clients write again and again", func() bool {
		tries[p.sql("SELECT max(at) FROM public.w")[0][0]] = true
		return len(tries) > 5
	})
	eventually(t, "the new primary acknowledges", func() bool { n, _ := w.since(began, string(c.record.Primary)); return n > 200 })
	old.end()
	if n, _ := old.since(began, "pangyo"); n > 0 {
		t.Errorf("it acknowledged %d writes", n)
	}
	if f := c.facts("pangyo"); f["role"] != situation.RolePrimary || f["running"] != "true" {
		t.Errorf("what it is is not seen: %v", f)
	}
	r := c.home()
	r.must(plan.Fence, "pangyo")
	if s := r.must(plan.Salvage, "pangyo").Salvage; s.Rows == 0 || s.Method != situation.Decoded {
		t.Errorf("%+v", s)
	}
	r.must(plan.Rejoin, "pangyo")
	c.counts(r, "pangyo")
	c.checkNothingLost(w)
	c.checkNothingLost(old)
	c.same("pangyo")
}

// Nobody moves the slots on, and much is written: the server gives them up before its disk is full, goes on, and it
// is said what that costs.
func TestSlotsAreGivenUpBeforeTheDiskIsFull(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	p := c.members["pangyo"]
	c.keepsSlot("pangyo")
	if bound := p.sql("SELECT setting::int > 0 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'")[0][0]; bound != "t" {
		t.Fatal("nothing bounds what slots hold back while no agent runs")
	}
	w := c.write(1, "pangyo")
	p.stopAgent()
	const most = 64 << 20
	p.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '48MB'", "ALTER SYSTEM SET wal_keep_size = 0", "ALTER SYSTEM SET max_wal_size = '32MB'", "ALTER SYSTEM SET min_wal_size = '32MB'", "SELECT pg_reload_conf()")
	for range 12 { // 16 MB each
		p.sql("SELECT pg_logical_emit_message(true, 'much', 'is written')", "SELECT pg_switch_wal()")
		p.isHeard(2)
		p.sql("CHECKPOINT")
	}
	if lost := p.sql("SELECT count(*) FROM pg_replication_slots WHERE wal_status = 'lost' AND starts_with(slot_name::text, '" + slotPrefix + "')")[0][0]; lost == "0" {
		t.Fatalf("no slot was given up: %v", p.sql("SELECT slot_name, wal_status FROM pg_replication_slots"))
	}
	if held := toNumber(p.sql("SELECT sum(size) FROM pg_ls_waldir()")[0][0]); held > 2*most {
		t.Errorf("%d MB of log lie on its disk", held>>20)
	}
	now := time.Now()
	eventually(t, "writes go on", func() bool { n, _ := w.since(now, "pangyo"); return n > 50 })
	p.startAgent()
	eventually(t, "it is said that the slot was given up, and why", func() bool {
		return strings.Contains(c.facts("pangyo")["salvage_slot"], "given up: the server dropped log that it needs")
	})
	c.checkNothingLost(w)
}

// The role with which members connect may not replicate any more: it is said, and nothing is changed.
func TestAReturnWithoutTheRightToReplicate(t *testing.T) {
	c, r := wasRead(t)
	p, m := c.primary(), c.members["pangyo"]
	p.sql("SET synchronous_commit = local; ALTER ROLE haechi_replication NOREPLICATION", "SET synchronous_commit = on")
	control, err := os.ReadFile(filepath.Join(m.set.Data, "global", "pg_control"))
	must(t, err)
	if _, err := r.try(20*time.Second, plan.Rejoin, "pangyo"); err == nil || !strings.Contains(err.Error(), "haechi_replication lacks a right on "+p.name) {
		t.Errorf("%v", err)
	}
	after, err := os.ReadFile(filepath.Join(m.set.Data, "global", "pg_control"))
	must(t, err)
	if f := c.facts("pangyo"); f["broken"] != "" || f["running"] != "false" || f["fenced"] != "true" || string(control) != string(after) {
		t.Errorf("something was changed: %v", f)
	}
	p.sql("SET synchronous_commit = local; ALTER ROLE haechi_replication REPLICATION", "SET synchronous_commit = on")
	r.must(plan.Rejoin, "pangyo")
	c.counts(r, "pangyo")
	c.same("pangyo")
}

// A follower's site is gone for good, and any 1 is not safe any more: a seal of the other one alone proves nothing. The lost
// one is counted out, a member that is new takes its place, and then the loss of the primary is borne.
func TestAMemberInAnotherSiteMakesAnyOneSafeAgain(t *testing.T) {
	c := newCluster(t)
	c.addMember("jeju") // a host, and nothing on it
	jeju := c.members["jeju"]
	c.adopt()
	w := c.write(2, "pangyo", "ansan", "jeju")
	acknowledges := func(p string) {
		t.Helper()
		began := time.Now()
		eventually(t, p+" acknowledges", func() bool { n, _ := w.since(began, p); return n > 50 })
	}
	acknowledges("pangyo")
	lost := c.members["anyang"]
	lost.killDatabase()
	lost.stopAgent()
	acknowledges("pangyo")

	r := c.home()
	r.args = map[string]string{plan.ArgMember: "anyang"}
	r.must(plan.CountOut, "pangyo")
	if !slices.Equal(c.record.Sync, []estate.MemberID{"ansan"}) || !slices.Equal(c.record.Former, []estate.MemberID{"anyang"}) {
		t.Fatalf("record %+v", c.record)
	}
	acknowledges("pangyo")

	delete(c.store.Members, "anyang")
	host := estate.HostID("db-jeju")
	c.store.Members["jeju"] = estate.Member{Site: "jeju", Host: host, Address: fmt.Sprintf("127.0.0.1:%d", jeju.port), Unit: "talk-db"}
	c.estate.Hosts[host] = estate.Host{Site: "jeju", Agent: jeju.addr}
	jeju.startAgent()
	if f := c.facts("jeju"); f[situation.FactRunning] != "false" || f[situation.FactMade] != "" {
		t.Fatalf("a member that is new says %v", f)
	}
	r = c.home()
	r.must(plan.Rejoin, "jeju")
	if by := c.method(r, "jeju"); by != byCopy {
		t.Errorf("by %s", by)
	}
	r.beforeReturn("jeju")
	r.must(plan.Return, "jeju")
	if !slices.Equal(c.record.Sync, []estate.MemberID{"ansan", "jeju"}) || slices.Contains(c.record.Former, "jeju") {
		t.Fatalf("record %+v", c.record)
	}
	acknowledges("pangyo")

	c.members["pangyo"].killDatabase()
	r = c.begin()
	for _, v := range []plan.Verb{plan.Seal, plan.Choose, plan.Follow, plan.Promote} {
		r.must(v, "ansan", "jeju")
	}
	acknowledges(string(c.record.Primary))
	if !slices.Equal(c.record.Former, []estate.MemberID{"anyang", "pangyo"}) { // nobody is forgotten who went another way
		t.Errorf("record %+v", c.record)
	}
	w.end()
	c.same("ansan")
	c.same("jeju")
	c.checkNothingLost(w)
}
