package postgres

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// ReplicationRole is the role by which members receive from each other.
const ReplicationRole = "haechi_replication"

// Settings are one member's, from the agent's file.
type Settings struct {
	Kind       string `yaml:"kind"`
	Store      string `yaml:"store"`
	Member     string `yaml:"member"`
	Bin        string `yaml:"bin"`         // directory of postgres and pg_controldata
	Data       string `yaml:"data"`        // the data directory
	Config     string `yaml:"config"`      // directory of postgresql.conf, where it is not the data directory
	Socket     string `yaml:"socket"`      // directory of the unix socket
	Port       int    `yaml:"port"`        //
	Passfile   string `yaml:"passfile"`    // outside the data directory
	SecretFile string `yaml:"secret_file"` // the store's root secret, the same on every member's host
	Log        string `yaml:"log"`         // where a started server writes
	Mandate    string `yaml:"mandate"`     // how a mandate to acknowledge alone is ended: nft; empty: there is none
}

// Kind is what an agent's file calls such a unit.
const Kind = "postgres"

// Programs are those that the member's agent starts.
func (s Settings) Programs() []string {
	var out []string
	for _, p := range []string{"postgres", "pg_controldata", "pg_rewind", "pg_waldump"} {
		out = append(out, filepath.Join(s.Bin, p))
	}
	return out
}

// byNFT is a mandate that is an element of an nftables set, with a timeout.
const byNFT = "nft"

var nameOK = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// Validate says everything that is wrong at once.
func (s Settings) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{field}, args...)...))
	}
	for _, f := range []struct{ name, value string }{{"store", s.Store}, {"member", s.Member}} {
		if !nameOK.MatchString(f.value) {
			bad(f.name, "%q: letters, digits and _ . - only, beginning with a letter or digit", f.value)
		}
	}
	paths := []struct{ name, value string }{{"bin", s.Bin}, {"data", s.Data}, {"socket", s.Socket},
		{"passfile", s.Passfile}, {"secret_file", s.SecretFile}, {"log", s.Log}}
	if s.Config != "" {
		paths = append(paths, struct{ name, value string }{"config", s.Config})
	}
	for _, f := range paths {
		if !filepath.IsAbs(f.value) || strings.ContainsAny(f.value, "\n\r\x00") {
			bad(f.name, "%q must be an absolute path", f.value)
		}
	}
	if s.Port < 1 || s.Port > 65535 {
		bad("port", "%d is not a port", s.Port)
	}
	if s.Mandate != "" && s.Mandate != byNFT {
		bad("mandate", "%q: the only way to end one is %s; leave it out where the member must never acknowledge alone", s.Mandate, byNFT)
	}
	if s.Holds(s.Passfile) || s.Holds(s.SecretFile) {
		bad("passfile, secret_file", "must stand outside the data directory: a copy of the data must not carry them to another member")
	}
	return errors.Join(errs...)
}

// Holds says whether path lies in the data directory, also by way of symbolic links.
func (s Settings) Holds(path string) bool {
	rel, err := filepath.Rel(resolve(s.Data), resolve(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// resolve follows the symbolic links of as much of path as is there.
func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil || path == filepath.Dir(path) {
		return real
	}
	return filepath.Join(resolve(filepath.Dir(path)), filepath.Base(path))
}
