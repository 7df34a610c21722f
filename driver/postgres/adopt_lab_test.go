//go:build lab

package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// What cannot be adopted is refused with what to do, and nothing is changed.
func TestAdoptRefusesWhatIsNotTheStore(t *testing.T) {
	c := newCluster(t)
	primary, anyang := c.members["pangyo"], c.members["anyang"]
	eventually(t, "both replicate", func() bool { return len(primary.sql("SELECT 1 FROM pg_stat_replication")) == 2 })
	before := c.untouched()
	for _, tt := range []struct {
		name         string
		spoil, amend func()
		want         []string
	}{
		{"a role without the right", func() { primary.sql("ALTER ROLE haechi_replication NOREPLICATION") },
			func() { primary.sql("ALTER ROLE haechi_replication REPLICATION") },
			[]string{"is without REPLICATION: ALTER ROLE haechi_replication REPLICATION LOGIN"}},
		{"an agent without the right", func() {
			primary.sql("CREATE ROLE other SUPERUSER", "CREATE FUNCTION public.back() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'ALTER ROLE postgres SUPERUSER'",
				"ALTER FUNCTION public.back() OWNER TO other", "ALTER ROLE postgres NOSUPERUSER")
		},
			func() {
				c.run("psql", "-h", primary.set.Socket, "-p", fmt.Sprint(primary.port), "-U", "postgres", "-c", "SELECT public.back()")
			},
			[]string{"member pangyo: the server does not answer its agent", "is no superuser", "ALTER ROLE postgres SUPERUSER"}},
		{"an agent that may not connect", func() { primary.rules("local all all reject\n") },
			func() {
				primary.rules("local all postgres peer\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication haechi_replication 127.0.0.1/32 scram-sha-256\n")
			},
			[]string{"member pangyo: the server does not answer its agent", "pg_hba.conf"}},
		{"a member of another cluster", func() { anyang.becomeStranger() }, func() {},
			[]string{"member anyang", "another cluster", "its server is no standby"}},
	} {
		tt.spoil()
		var err error
		var res run.Outcome
		// What only people change is looked at once a second, and a role has to arrive at the followers.
		eventually(t, tt.name, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			c.record.Next++
			r := &carried{c: c, epoch: c.record.Next, term: 1, facts: run.Facts{}}
			got, e := c.driver.Do(ctx, r.task(plan.Adopt, names...))
			err, res = e, got.Outcome
			if e == nil {
				t.Fatalf("%s was adopted", tt.name)
			}
			return !slices.ContainsFunc(tt.want, func(w string) bool { return !strings.Contains(e.Error(), w) })
		})
		t.Logf("%s: %v %v", tt.name, res, err)
		if res != run.NotDone {
			t.Errorf("%s: outcome %v; nothing was changed, so it is not done", tt.name, res)
		}
		tt.amend()
		eventually(t, "nothing is changed by "+tt.name, func() bool { return c.untouched() == before })
	}
}

// All towers and their records were lost in the middle of a run: the followers are sealed, and nobody ends that but
// the adoption under records that know nothing of it, once its epoch is above what the agents have seen.
func TestWhatALostRunLeftSealedIsAdopted(t *testing.T) {
	c := newCluster(t)
	c.adopt()
	c.begin().must(plan.Seal, "ansan", "anyang")
	primary := c.members["pangyo"]
	eventually(t, "nobody receives", func() bool { return len(primary.sql("SELECT 1 FROM pg_stat_replication")) == 0 })

	c.record = situation.Store{Next: c.record.Next}
	c.adopt()
	for _, m := range []string{"ansan", "anyang"} {
		if f := c.facts(m); f["sealed"] != "false" || f["agent/upstream"] != "pangyo" || f["fenced"] != "false" {
			t.Errorf("%s: %v", m, f)
		}
	}
	if got := primary.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'"); got[0][0] != "2" {
		t.Errorf("%v acknowledge", got)
	}
}

// untouched is all that an adoption would change, of the members that are left as they were.
func (c *cluster) untouched() string {
	c.t.Helper()
	p := c.members["pangyo"]
	out := fmt.Sprint(p.sql("SELECT current_setting('synchronous_standby_names'), rolpassword FROM pg_authid WHERE rolname = 'haechi_replication'"))
	for _, m := range []string{"pangyo", "ansan"} {
		raw, err := os.ReadFile(filepath.Join(c.members[m].set.Data, autoConf))
		must(c.t, err)
		_, err = os.Stat(c.members[m].set.Passfile)
		f := c.facts(m)
		out += fmt.Sprint(string(raw), err == nil, f["agent/role"], f["agent/reign"], f["epoch"])
	}
	return out
}

// rules replaces the member's pg_hba.conf, waits until it is in force, and has whoever is
// in come again.
func (m *member) rules(text string) {
	m.c.t.Helper()
	must(m.c.t, os.WriteFile(filepath.Join(m.set.Data, "pg_hba.conf"), []byte(text), 0o600))
	u := &Unit{set: m.set, local: &local{socket: m.set.Socket, port: m.set.Port}}
	defer u.local.drop()
	must(m.c.t, u.reload())
	eventually(m.c.t, "the rules are in force", func() bool {
		u.local.drop()
		_, err := u.local.rows(m.c.t.Context(), "SELECT 1")
		return (err != nil) == strings.Contains(text, "reject")
	})
	for _, p := range children(u.postmaster()) {
		if strings.Contains(p.name, "[local]") {
			if err := syscall.Kill(p.pid, syscall.SIGTERM); !errors.Is(err, syscall.ESRCH) { // it may have gone by itself
				must(m.c.t, err)
			}
		}
	}
}

// becomeStranger makes the member a new cluster of its own at the same place.
func (m *member) becomeStranger() {
	m.c.t.Helper()
	u := &Unit{set: m.set, local: &local{socket: m.set.Socket, port: m.set.Port}}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	must(m.c.t, u.kill(ctx, time.Second))
	must(m.c.t, os.RemoveAll(m.set.Data))
	m.c.run("initdb", "-D", m.set.Data, "-U", "postgres", "-A", "peer", "--no-sync", "-E", "UTF8", "--locale=C")
	m.conf()
	m.startByHand()
	m.sql("CREATE ROLE haechi_replication REPLICATION LOGIN")
}
