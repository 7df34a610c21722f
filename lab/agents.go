package lab

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haechi/haechi/lab/talk"
)

// raiseAgents starts one agent in each site, as the user that owns the database.
func (l *Lab) raiseAgents(ctx context.Context) error {
	for _, p := range sites {
		if err := own(l.at(p, "agent"), postgresUser, "", 0o700); err != nil {
			return err
		}
		if err := l.configureAgent(p); err != nil {
			return err
		}
		if err := l.startAgent(p); err != nil {
			return err
		}
	}
	for _, p := range sites {
		if err := l.listens(ctx, p, p.agentAddr(), string(p)+"-agent"); err != nil {
			return err
		}
	}
	return nil
}

// configureAgent writes the agent's file: which units it may act on, and where
// their things are. Orders name units, never paths.
func (l *Lab) configureAgent(p Place) error {
	units := map[string]any{}
	if l.o.wants(RolePostgres) {
		units["talk-db"] = map[string]any{
			"kind": "postgres", "store": "talk-db", "member": string(p), "bin": postgresBin,
			"data": l.data(p), "socket": l.socket(p), "port": 5432,
			"passfile": l.passfile(p), "secret_file": l.path("secrets", "replication-root"),
			"log": l.at(p, "pg", "agent-started.log"), "mandate": "nft",
		}
	}
	if l.o.wants(RoleNamed) {
		units["named"] = map[string]any{"kind": "named", "answers": l.answersFile(p), "key": "haechi-key.", "rndc": l.rndc(p)}
	}
	return l.writeYAML(l.at(p, "agent", "agent.yaml"), postgresUser, map[string]any{
		"name": p.host(), "listen": p.agentAddr(), "tls": tlsFiles(l.at(p, "agent", "tls")),
		"state": l.at(p, "agent", "state.json"), "hold_file": l.at(p, "agent", "hold"), "units": units,
	})
}

// startAgent starts an agent below an init of its own, since it starts databases
// that outlive it. Of root's rights it has the one to the packet filter of its place, which
// ends a mandate.
func (l *Lab) startAgent(p Place) error {
	_, err := l.start(spawn{ns: l.NS(p), user: postgresUser, caps: []uintptr{unix.CAP_NET_ADMIN}, dir: l.at(p, "agent"), log: string(p) + "-agent",
		args: []string{l.program("haechi-lab"), "init", l.programIn(p, "haechi-agent"), "--config", l.at(p, "agent", "agent.yaml")}})
	return err
}

// listens waits until something in the place accepts connections on addr.
func (l *Lab) listens(ctx context.Context, p Place, addr, log string) error {
	return until(ctx, 15*time.Second, func() error {
		conn, err := l.DialIn(p)(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("nobody listens on %s in %s: %w; the log ends with: %s", addr, p, err, l.tail(log))
		}
		return conn.Close()
	})
}

// raiseGateways starts talk's gateway in each site.
func (l *Lab) raiseGateways(ctx context.Context) error {
	if err := l.talkPassfile(); err != nil {
		return err
	}
	if l.o.wants(RolePostgres) {
		if err := talk.Migrate(ctx, l.DSN(Pangyo, "talk")); err != nil {
			return err
		}
	}
	for _, p := range sites {
		if err := own(l.at(p, "gateway"), towerUser, "", 0o755); err != nil {
			return err
		}
		if err := l.startGateway(p); err != nil {
			return err
		}
	}
	for _, p := range sites {
		if err := l.listens(ctx, p, p.GatewayAddr(), string(p)+"-gateway"); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) talkPassfile() error {
	password, err := l.secret("talk")
	if err != nil {
		return err
	}
	return write(l.path("secrets", "talk.pgpass"), towerUser, "", 0o600, "*:*:*:talk:"+password+"\n")
}

// TalkDSN is the connection string of talk's gateways: every member, the one
// that takes writes. It works from inside the places.
func (l *Lab) TalkDSN() string {
	var hosts, ports []string
	for _, p := range sites {
		host, port, _ := net.SplitHostPort(p.postgresAddr())
		hosts, ports = append(hosts, host), append(ports, port)
	}
	return fmt.Sprintf("host=%s port=%s user=talk dbname=talk sslmode=disable passfile=%s target_session_attrs=read-write connect_timeout=1",
		strings.Join(hosts, ","), strings.Join(ports, ","), l.path("secrets", "talk.pgpass"))
}

func (l *Lab) startGateway(p Place) error {
	_, err := l.start(spawn{ns: l.NS(p), user: towerUser, idle: true, dir: l.at(p, "gateway"), log: string(p) + "-gateway",
		args: []string{l.program("haechi-lab"), "gateway", "--listen", p.GatewayAddr(), "--site", string(p), "--dsn", l.TalkDSN()}})
	return err
}
