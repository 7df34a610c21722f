package lab

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/haechi/haechi/lab/talk"
	"github.com/haechi/haechi/pki"
)

// Program is one of haechi's own programs, as the lab's processes run it.
func (l *Lab) Program(name string) string { return l.program(name) }

// At is a file or directory of one place, below the lab's directory.
func (l *Lab) At(p Place, parts ...string) string { return l.at(p, parts...) }

// Own makes a directory, or gives a file, to a user of the operating system.
func Own(path, user string, mode os.FileMode) error { return own(path, user, "", mode) }

// WriteFor writes a small file for a user of the operating system.
func WriteFor(path, user string, mode os.FileMode, text string) error {
	return write(path, user, "", mode, text)
}

// Wanted is what a lab without haechi needs to know to raise the same databases
// by another manager: the same settings, rules and roles.
type Wanted struct {
	Bin         string            // where PostgreSQL's programs stand
	Address     string            // of the member, host:port
	Data        string            // data directory
	Socket      string            // directory of the local socket
	Settings    map[string]string // postgresql.conf, without what names the member
	HBA         []string          // lines of pg_hba.conf
	Ident       []string          // lines of pg_ident.conf
	Roles       []string          // statements that make users and talk's database, one by one
	Replication string            // password of haechi_replication
}

// Wanted returns what the member of a site is like in this lab.
func (l *Lab) Wanted(p Place) (Wanted, error) {
	password, err := l.secret("replication-first")
	if err != nil {
		return Wanted{}, fmt.Errorf("lab: %w", err)
	}
	w := Wanted{
		Bin: postgresBin, Address: p.postgresAddr(), Data: l.data(p), Socket: l.socket(p),
		Settings: map[string]string{}, HBA: lines(postgresHBA), Ident: lines(postgresIdent), Roles: l.roles(), Replication: password,
	}
	for _, line := range lines(postgresConf) {
		name, value, ok := strings.Cut(line, " = ")
		if value = strings.ReplaceAll(strings.Trim(value, "'"), "%%", "%"); ok && !strings.Contains(line, "%s") && name != "port" {
			w.Settings[name] = value
		}
	}
	return w, nil
}

// lines are the lines of a file that say something.
func lines(text string) []string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		if line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// AddTalk makes talk's tables in the member of a site, where [Options.Only] left
// databases to somebody else, and starts talk's gateways.
func (l *Lab) AddTalk(ctx context.Context, primary Place) error {
	if err := talk.Migrate(ctx, l.DSN(primary, "talk")); err != nil {
		return err
	}
	return l.raiseGateways(ctx)
}

// Operator is the certificate of the person who may give haechi orders.
func (l *Lab) Operator() pki.Files { return pki.FilesIn(l.path("operator")) }
