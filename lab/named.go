package lab

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// What a name server includes to know whom it may answer. It starts locked, so
// that one that comes back after a fire does not hand out an old zone: haechi
// brings it level, then its agent writes the open version.
const (
	answersLocked = "allow-query { key \"haechi-key.\"; };\n"
	answersOpen   = "allow-query { any; };\n"
)

func (l *Lab) answersFile(p Place) string { return l.at(p, "named", "answers.conf") }
func (l *Lab) rndcKey(p Place) string     { return l.at(p, "named", "rndc.key") }

// rndc is the command with which an agent has its name server read its files again.
func (l *Lab) rndc(p Place) []string {
	return []string{"/usr/sbin/rndc", "-s", "127.0.0.1", "-p", "953", "-k", l.rndcKey(p)}
}

func (l *Lab) raiseNamed(ctx context.Context) error {
	var all errgroup.Group
	for _, p := range sites {
		all.Go(func() error {
			if err := l.configureNamed(p); err != nil {
				return err
			}
			return l.startNamed(ctx, p)
		})
	}
	return all.Wait()
}

// configureNamed writes the files of one server. The directory belongs to the
// server's user; the agent, whose user is another, may rewrite answers.conf and
// read the key of rndc through its group.
func (l *Lab) configureNamed(p Place) error {
	dir := l.at(p, "named")
	if err := own(dir, namedUser, postgresUser, 0o770); err != nil {
		return err
	}
	tsig, err := l.secret("tsig")
	if err != nil {
		return err
	}
	rndc, err := l.secret("rndc")
	if err != nil {
		return err
	}
	files := []struct{ name, group, text string }{
		{"rndc.key", postgresUser, "key \"rndc-key\" { algorithm hmac-sha256; secret \"" + rndc + "\"; };\n"},
		{"tsig.key", "", "key \"haechi-key.\" { algorithm hmac-sha256; secret \"" + tsig + "\"; };\n"},
		{"example.zone", "", l.zone()},
		{"named.conf", "", fmt.Sprintf(namedConf, dir, p.Addr(nameHost))},
	}
	for _, f := range files {
		if err := write(l.at(p, "named", f.name), namedUser, f.group, 0o640, f.text); err != nil {
			return err
		}
	}
	return nil
}

// zone is the zone as it is before haechi: every site answers for talk.
func (l *Lab) zone() string {
	ttl := 2
	if l.o.Profile == "fast" {
		ttl = 1
	}
	var b strings.Builder
	fmt.Fprintf(&b, "$TTL %d\n@ IN SOA ns-pangyo.example. hostmaster.example. ( 1 3600 600 86400 %d )\n", ttl, ttl)
	for _, p := range sites {
		fmt.Fprintf(&b, "@ 3600 IN NS ns-%[1]s.example.\nns-%[1]s 3600 IN A %[2]s\n", p, p.Addr(nameHost))
	}
	for _, p := range sites {
		fmt.Fprintf(&b, "talk IN A %s\n", p.Addr(gatewayHost))
	}
	return b.String()
}

// namedConf takes the directory and the address.
const namedConf = `// written by haechi-lab
include "%[1]s/rndc.key";
include "%[1]s/tsig.key";
controls { inet 127.0.0.1 port 953 allow { 127.0.0.1; } keys { "rndc-key"; }; };
options {
	directory "%[1]s";
	pid-file "%[1]s/named.pid";
	session-keyfile "%[1]s/session.key";
	lock-file none;
	listen-on { %[2]s; 127.0.0.1; };
	listen-on-v6 { none; };
	recursion no;
	dnssec-validation no;
	empty-zones-enable no;
	notify no;
	allow-transfer { key "haechi-key."; };
	include "%[1]s/answers.conf";
};
zone "example" {
	type primary;
	file "%[1]s/example.zone";
	allow-update { key "haechi-key."; };
};
`

// startNamed starts a server, locked, and waits until it answers to rndc.
func (l *Lab) startNamed(ctx context.Context, p Place) error {
	if err := write(l.answersFile(p), postgresUser, namedUser, 0o640, answersLocked); err != nil {
		return err
	}
	_, err := l.start(spawn{ns: l.NS(p), user: namedUser, dir: l.at(p, "named"), log: string(p) + "-named",
		args: []string{"/usr/sbin/named", "-g", "-n", "1", "-c", l.at(p, "named", "named.conf")}})
	if err != nil {
		return err
	}
	return until(ctx, 10*time.Second, func() error {
		_, err := l.command(spawn{ns: l.NS(p), args: append(l.rndc(p), "status")})
		return err
	})
}

// OpenNames lets the name servers of all sites answer everybody, as their
// agents do once a tower says that their zones are level.
func (l *Lab) OpenNames(ctx context.Context) error {
	for _, p := range sites {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := write(l.answersFile(p), postgresUser, namedUser, 0o640, answersOpen); err != nil {
			return err
		}
		if _, err := l.command(spawn{ns: l.NS(p), args: append(l.rndc(p), "reconfig")}); err != nil {
			return err
		}
	}
	return nil
}
