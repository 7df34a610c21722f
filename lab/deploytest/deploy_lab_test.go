//go:build lab

package deploytest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a company has before it meets haechi: a primary with a database and two
// replicas, as Debian's packages and their documentation make them.
const (
	clusterBefore = `pg_createcluster 15 main >/dev/null
cat >>/etc/postgresql/15/main/pg_hba.conf <<END
host replication replicator 10.0.0.0/8 scram-sha-256
host shop        shop       10.0.0.0/8 scram-sha-256
END
echo "listen_addresses = '*'" >/etc/postgresql/15/main/conf.d/ours.conf
`
	primaryBefore = clusterBefore + `pg_ctlcluster 15 main start
runuser -u postgres -- psql -q -v ON_ERROR_STOP=1 <<END
CREATE ROLE replicator REPLICATION LOGIN PASSWORD 'as it was';
CREATE ROLE shop LOGIN PASSWORD 'shop';
CREATE DATABASE shop OWNER shop;
\connect shop
CREATE TABLE sale (id bigint PRIMARY KEY); ALTER TABLE sale OWNER TO shop;
INSERT INTO sale VALUES (0);
END
`
	replicaBefore = clusterBefore + `rm -rf /var/lib/postgresql/15/main
runuser -u postgres -- pg_basebackup -R -c fast -D /var/lib/postgresql/15/main -d "host=10.1.0.21 user=replicator password='as it was'"
pg_ctlcluster 15 main start
`
	// selling writes row after row as an application would, and keeps a note of
	// each commit that was acknowledged without a warning. It notices a silent host, as the page says.
	selling = `cat >$HOME/selling <<'END'
#!/bin/bash
export PGPASSWORD=shop
for ((i = 1; ; i++)); do
  said=$(psql -qX -v ON_ERROR_STOP=1 "host=10.1.0.21,10.2.0.21,10.3.0.21 user=shop dbname=shop target_session_attrs=read-write connect_timeout=2 keepalives_idle=1 keepalives_interval=1 keepalives_count=3 tcp_user_timeout=3000" -c "INSERT INTO sale VALUES ($i)" 2>&1) && [ -z "$said" ] && echo $i >>$HOME/sold
done
END
chmod 755 $HOME/selling
: >$HOME/sold
setsid --fork $HOME/selling </dev/null >/dev/null 2>&1`
)

// asked asks whoever takes writes.
func asked(sql string) string {
	return `PGPASSWORD=shop psql -qAtX "host=10.1.0.21,10.2.0.21,10.3.0.21 user=shop dbname=shop target_session_attrs=read-write connect_timeout=2" -c "` + sql + `"`
}

const (
	where = "SELECT host(inet_server_addr())"
	names = `for ip in 10.1.0.21 10.2.0.21 10.3.0.21; do dig +short +time=1 +tries=1 @$ip shop.example | grep '^10' | sort | tr '\n' ' '; echo; done || true`
)

// A stranger follows the page to the letter. Then an evacuation has moved the
// primary, and the loss of the primary's host is survived by itself.
func TestDeployAsWritten(t *testing.T) {
	host := boot(t)
	host["h1"].must(t, "before", primaryBefore)
	host["h2"].must(t, "before", replicaBefore)
	host["h3"].must(t, "before", replicaBefore)
	host["yours"].must(t, "before", selling)
	for _, b := range commands(t) {
		if strings.Contains(b.text, "haechi evacuate") {
			at(t, host["yours"], "10.1.0.21")
		}
		for _, h := range b.hosts {
			host[h].must(t, b.String(), b.text)
		}
	}
	moved := primary(t, host["yours"])
	if moved == "10.1.0.21" {
		t.Fatal("the evacuation left the primary where it was")
	}
	goesOn(t, host["yours"])
	until(t, "the name leads to pangyo no more", func() bool {
		return !strings.Contains(host["yours"].must(t, "names", names), "10.1.0.5")
	})

	for name, m := range host {
		if m.ip == moved {
			t.Logf("%s burns: its line is cut, then all its processes are killed", name)
			sh(t, fmt.Sprintf("ip -n %s link set to%s down", wire, strings.TrimPrefix(name, "h")))
			m.kill()
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			tells(t, host, moved)
		}
	})
	began := time.Now()
	goesOn(t, host["yours"])
	t.Logf("sales go on %.1f s after the fire, with this crude client", time.Since(began).Seconds())
	if now := primary(t, host["yours"]); now == moved {
		t.Fatalf("%s is still the primary", now)
	}
	nothingLost(t, host["yours"])
	host["yours"].must(t, "after the fire", "haechi status; haechi runs; haechi journal --verify")
}

// tells shows what those that are left say of themselves.
func tells(t *testing.T, host map[string]*machine, gone string) {
	t.Helper()
	for name, m := range host {
		if m.ip == gone {
			continue
		}
		text := "tail -n 40 /var/lib/haechi/tower.log /var/log/postgresql/haechi-agent.log || true"
		if name == "yours" {
			text = "haechi status || true; haechi doctor || true; haechi journal | tail -n 40 || true; tail -n 5 ~/sold || true"
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		said, err := m.do(ctx, text)
		cancel()
		t.Logf("%s says (%v):\n%s", name, err, indent(said, "    "))
	}
}

func primary(t *testing.T, m *machine) string {
	t.Helper()
	return strings.TrimSpace(m.must(t, "who takes writes", asked(where)))
}

func at(t *testing.T, m *machine, want string) {
	t.Helper()
	if got := primary(t, m); got != want {
		t.Fatalf("the primary is at %s, want %s", got, want)
	}
}

func sold(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "yours", "root", "sold"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(raw))
}

// goesOn waits until sales are acknowledged that begin from now on.
func goesOn(t *testing.T, _ *machine) {
	t.Helper()
	had := len(sold(t))
	until(t, "sales go on", func() bool { return len(sold(t)) >= had+5 })
}

// nothingLost compares what was acknowledged with what is there.
func nothingLost(t *testing.T, m *machine) {
	t.Helper()
	acknowledged := sold(t)
	there := strings.Fields(m.must(t, "what is there", asked("SELECT string_agg(id::text, ' ') FROM sale")))
	slices.Sort(there)
	var lost []string
	for _, id := range acknowledged {
		if _, ok := slices.BinarySearch(there, id); !ok {
			lost = append(lost, id)
		}
	}
	if len(lost) > 0 {
		t.Errorf("%d of %d acknowledged sales are lost: %v", len(lost), len(acknowledged), lost)
	}
	t.Logf("%d sales acknowledged, %d lost", len(acknowledged), len(lost))
}

// until waits, a minute at most.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	end := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("after a minute it is not so: %s", what)
		}
	}
}
