package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// operate does what an operator does with a new cluster, with the operator's
// certificate and the command that everybody has.
func (l *Lab) operate(ctx context.Context) error {
	if err := os.WriteFile(l.path("estate.yaml"), []byte(l.estateYAML()), 0o644); err != nil {
		return err
	}
	if err := l.configureOperator(); err != nil {
		return err
	}
	steps := [][]string{
		{"estate", "apply", l.path("estate.yaml")},
		{"adopt", "talk-db"},
		{"arm", "*"},
	}
	if l.o.Disarmed {
		steps = steps[:2]
	}
	for _, args := range steps {
		if err := l.patiently(ctx, args); err != nil {
			return err
		}
		l.say("operator: haechi %s", strings.Join(args, " "))
	}
	if l.o.Disarmed || !l.o.wants(RoleNamed) {
		return nil
	}
	for _, p := range sites {
		if err := until(ctx, 30*time.Second, func() error { return l.nameAnswers(ctx, p) }); err != nil {
			return fmt.Errorf("the name server in %s was not opened: %w", p, err)
		}
	}
	return nil
}

// nameAnswers asks the name server of a site as a user would. It starts locked, and is
// opened by a run of haechi once its zone was seen to be level.
func (l *Lab) nameAnswers(ctx context.Context, p Place) error {
	conn, err := l.DialIn(Users)(ctx, "udp", p.nameAddr())
	if err != nil {
		return err
	}
	defer conn.Close()
	q := new(dns.Msg).SetQuestion("talk.example.", dns.TypeA)
	a, _, err := (&dns.Client{Timeout: time.Second}).ExchangeWithConnContext(ctx, q, &dns.Conn{Conn: conn})
	if err == nil && a.Rcode != dns.RcodeSuccess {
		err = fmt.Errorf("it answers %s", dns.RcodeToString[a.Rcode])
	}
	return err
}

// configureOperator writes the file with which the operator's commands find the towers.
func (l *Lab) configureOperator() error {
	var towers []string
	for _, p := range sites {
		towers = append(towers, p.towerAddr())
	}
	return l.writeYAML(l.path("operator.yaml"), "root", map[string]any{"towers": towers, "tls": tlsFiles(l.path("operator"))})
}

// Haechi runs the haechi command as the operator, from where users are, and
// returns what it printed.
func (l *Lab) Haechi(ctx context.Context, args ...string) (string, error) {
	args = append([]string{l.program("haechi"), "--config", l.path("operator.yaml")}, args...)
	return l.commandWithin(ctx, spawn{ns: l.NS(Users), dir: l.o.Dir, args: args})
}

// Tower runs a command about a site's own tower on its host, as the user that it runs as: "init", "restore FILE".
func (l *Lab) Tower(ctx context.Context, p Place, args ...string) (string, error) {
	args = append([]string{l.programIn(p, "haechi"), "tower"}, append(args, "--config", l.at(p, "tower", "tower.yaml"))...)
	return l.commandWithin(ctx, spawn{ns: l.NS(p), user: towerUser, dir: l.at(p, "tower"), args: args})
}

// LoseDisk gives a site's tower, which must not run, an empty disk.
func (l *Lab) LoseDisk(p Place) (Proof, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if all, err := l.of(p, RoleTower); err != nil || len(all) > 0 {
		return Proof{}, fmt.Errorf("lose the disk of %s: it runs (%v)", p.tower(), err)
	}
	dir := l.at(p, "tower", "data")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Proof{}, err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return Proof{}, err
		}
	}
	return proof(time.Now(), "the disk of %s is empty; it held %d entries", p.tower(), len(entries)), nil
}

// patiently repeats a command while towers that have just started find each other.
func (l *Lab) patiently(ctx context.Context, args []string) error {
	return until(ctx, 30*time.Second, func() error {
		out, err := l.Haechi(ctx, args...)
		if err != nil {
			return fmt.Errorf("haechi %s: %w", strings.Join(args, " "), errors.Join(err, ctx.Err()))
		}
		for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
			l.say("    %s", line)
		}
		return nil
	})
}
