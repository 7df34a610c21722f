//go:build lab

package postgres

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
)

// A receiver that is still connecting shows in no view, and could begin to acknowledge
// long after the seal was answered.
func TestSealEndsAReceiverThatIsStillConnecting(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing, as behind a link that hangs
	must(t, err)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_, err = c.order("ansan", agent.Order{Verb: agent.Follow, Self: "ansan", Epoch: 1, Reign: 1,
		Upstream: &agent.Upstream{Member: "pangyo", Host: "127.0.0.1", Port: port, Credential: 1, Reign: 1}})
	must(t, err)
	receivers := func() int {
		n := 0
		u := &Unit{set: c.members["ansan"].set}
		for _, p := range children(u.postmaster()) {
			if receiverName.MatchString(p.name) {
				n++
			}
		}
		return n
	}
	eventually(t, "a receiver is connecting", func() bool { return receivers() == 1 })
	if f := c.facts("ansan"); f["receiver"] != "" {
		t.Fatalf("the view shows it: %v", f["receiver"])
	}
	a, err := c.order("ansan", agent.Order{Verb: agent.Seal, Self: "ansan", Epoch: 2, Reign: 1, Sync: []string{"anyang"}, Any: 1})
	must(t, err)
	if n := receivers(); n > 0 {
		t.Errorf("%d receivers after the seal (%s)", n, a.Facts["took"])
	}
}

// On a busy host a session costs the server more than all that a seal asks, and the time of a seal is short.
func TestASealOpensOneReplicationSession(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	c.members["ansan"].sql("ALTER SYSTEM SET log_connections = on", "SELECT pg_reload_conf()")
	eventually(t, "the server logs who connects", func() bool {
		return c.members["ansan"].sql("SHOW log_connections")[0][0] == "on"
	})
	a, err := c.order("ansan", agent.Order{Verb: agent.Seal, Self: "ansan", Epoch: 2, Reign: 1, Sync: []string{"anyang"}, Any: 1})
	must(t, err)
	if a.Facts["lsn"] == "" {
		t.Errorf("the seal does not say how much it holds: %v", a.Facts)
	}
	log, err := os.ReadFile(c.members["ansan"].set.Log)
	must(t, err)
	if n := strings.Count(string(log), "replication connection authorized: user=postgres"); n != 1 {
		t.Errorf("%d replication sessions were opened for a seal", n)
	}
}

// The checkpointer alone sets the flag without which no commit waits.
func TestNobodyIsPromotedBeforeTheRuleIsInForce(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	for _, m := range []string{"ansan", "anyang"} { // as if no list had ever stood here
		c.members[m].sql("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
	}
	pid := int(toNumber(c.members["ansan"].sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")[0][0]))
	must(t, syscall.Kill(pid, syscall.SIGSTOP)) // it is busy with a slow disk
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	r := c.begin()
	r.must(plan.Seal, "ansan", "anyang")
	r.facts[factChosen], r.facts[factCredential] = "ansan", "1"
	r.must(plan.Follow, "ansan", "anyang")
	res, err := r.try(time.Second, plan.Promote, "ansan", "anyang")
	if err == nil || res.Outcome != run.Unknown {
		t.Errorf("promote: %v %v", res.Outcome, err)
	}
	if f := c.facts("ansan"); f["in_recovery"] != "true" {
		t.Errorf("ansan takes writes and its rule is not in force: %v", f)
	}
	must(t, syscall.Kill(pid, syscall.SIGCONT))
	r.must(plan.Promote, "ansan", "anyang")
}

func TestAServerThatHangsIsSaidToHang(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	c.facts("ansan") // connections are open
	u := &Unit{set: c.members["ansan"].set}
	pid := u.postmaster()
	all := []int{pid}
	for _, p := range children(pid) {
		all = append(all, p.pid)
	}
	for _, p := range all {
		must(t, syscall.Kill(p, syscall.SIGSTOP))
	}
	began := time.Now()
	f := c.facts("ansan")
	if took := time.Since(began); took > lookForStep+time.Second || f["running"] != "true" || f["answers"] != "false" {
		t.Errorf("after %v: %v", took, f)
	}
	// It cannot be sealed in time; the other one is let go, and it is not counted.
	res, err := c.begin().try(time.Second, plan.Seal, "ansan", "anyang")
	if err == nil || res.Outcome == run.Done {
		t.Errorf("a server that hangs was sealed: %v", res.Note)
	}
	for _, p := range all {
		_ = syscall.Kill(p, syscall.SIGCONT)
	}
	if f := c.facts("anyang"); f["sealed"] != "false" {
		t.Errorf("anyang is still sealed")
	}
	// A member is fenced though it hangs.
	for _, p := range all {
		_ = syscall.Kill(p, syscall.SIGSTOP)
	}
	r := c.begin()
	r.must(plan.Fence, "ansan")
	if u.postmaster() != 0 {
		t.Error("it is still there")
	}
}

func TestAFollowerThatIsBehindIsPromotedWithEverything(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	for _, m := range []string{"ansan", "anyang"} {
		c.members[m].sql("SELECT pg_wal_replay_pause()")
	}
	c.members["pangyo"].sql("CREATE TABLE public.big AS SELECT g AS id, repeat('x', 500) AS pad FROM generate_series(1, 60000) g")
	w := c.write(2, "pangyo")
	eventually(t, "writes are acknowledged", func() bool { n, _ := w.since(time.Time{}, "pangyo"); return n > 50 })
	if p := fmt.Sprint(Premises(c.estate.Stores["talk-db"], c.record, c.allFacts())); !strings.Contains(p, "replay is pause") {
		t.Errorf("not reported before: %q", p)
	}
	c.members["pangyo"].killDatabase()
	w.end()
	c.failover(c.begin())
	if n := c.members[string(c.record.Primary)].sql("SELECT count(*) FROM public.big")[0][0]; n != "60000" {
		t.Errorf("%s rows of 60000", n)
	}
	if lost := w.lost(c.members[string(c.record.Primary)]); len(lost) > 0 {
		t.Errorf("%d acknowledged rows are lost", len(lost))
	}
}

func TestWhoComesBackAsItWasIsRefusedReplication(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	line := passLine(agent.Upstream{Host: "127.0.0.1", Port: "*"}, credential([]byte("0123456789abcdef0123456789abcdef"), "talk-db", 1))
	c.members["pangyo"].killDatabase()
	c.failover(c.begin())
	p := c.members[string(c.record.Primary)]
	password := strings.TrimSpace(line[strings.LastIndexByte(line, ':')+1:])
	l := &local{socket: p.set.Socket, port: p.port}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := l.dial(ctx, "host=127.0.0.1 user=haechi_replication replication=true password="+password)
	if err == nil {
		closeSoon(conn)
		t.Error("the credential of the old epoch was accepted")
	} else if !strings.Contains(err.Error(), "password authentication failed") {
		t.Error(err)
	}
}

func TestWhatPeopleBreakIsReportedBeforeTheFire(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	if p := Premises(c.estate.Stores["talk-db"], c.record, c.allFacts()); len(p) > 0 {
		t.Fatalf("after the adoption: %q", p)
	}
	p := c.members["pangyo"]
	for want, sql := range map[string][2]string{
		"synchronous_commit is off for talk@all databases": {"ALTER ROLE talk SET synchronous_commit = off", "ALTER ROLE talk RESET synchronous_commit"},
		"anybody who connects may acknowledge":             {"ALTER SYSTEM SET synchronous_standby_names = '*'", `ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 ("ansan","anyang")'`},
		"fsync is off":                                     {"ALTER SYSTEM SET fsync = off", "ALTER SYSTEM RESET fsync"},
		"synchronous_commit is local by default":           {"ALTER SYSTEM SET synchronous_commit = local", "ALTER SYSTEM RESET synchronous_commit"},
	} {
		p.sql(sql[0], "SELECT pg_reload_conf()")
		eventually(t, want, func() bool {
			return strings.Contains(fmt.Sprint(Premises(c.estate.Stores["talk-db"], c.record, c.allFacts())), want)
		})
		p.sql(sql[1], "SELECT pg_reload_conf()")
		eventually(t, want+" no more", func() bool { return len(Premises(c.estate.Stores["talk-db"], c.record, c.allFacts())) == 0 })
	}
}
