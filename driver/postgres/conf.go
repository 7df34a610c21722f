package postgres

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/haechi/haechi/agent"
)

// autoConf is the file that ALTER SYSTEM writes and that wins over postgresql.conf. The
// agent edits it itself: one way for a running and a stopped server, and fsynced.
const autoConf = "postgresql.auto.conf"

// setConf makes the given settings stand in the file, keeps all others, and says
// whether anything changed. It does not wait for the disk.
func setConf(data string, set map[string]string) (bool, error) {
	path := filepath.Join(data, autoConf)
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return false, fmt.Errorf("configuration: %w", err)
	}
	next, err := editConf(string(old), set)
	if err != nil {
		return false, err
	}
	if next == string(old) {
		return false, nil
	}
	return true, agent.Replace(path, []byte(next), 0o600)
}

// editConf replaces settings in the text of a configuration file. A setting that already
// stands once as wanted leaves the text as it is.
func editConf(text string, set map[string]string) (string, error) {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if _, ours := set[confKey(line)]; !ours {
			out.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	if out.Len() == 0 {
		out.WriteString("# Written by ALTER SYSTEM and by haechi-agent; do not edit.\n")
	}
	for _, k := range slices.Sorted(maps.Keys(set)) {
		if strings.ContainsAny(set[k], "\n\r\x00") {
			return "", fmt.Errorf("configuration: %s must stand on one line", k)
		}
		fmt.Fprintf(&out, "%s = '%s'\n", k, escape(set[k]))
	}
	return out.String(), nil
}

// confKey is the setting that a line is about, in lower case; empty for a comment.
func confKey(line string) string {
	line = strings.TrimSpace(line)
	end := strings.IndexAny(line, "= \t#")
	if end < 0 {
		end = len(line)
	}
	return strings.ToLower(line[:end])
}

// escape writes a value for between single quotes, as ALTER SYSTEM does.
func escape(v string) string {
	return strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(v)
}

// syncNames is the list of synchronous members as PostgreSQL wants it. The list names
// each member; what would let anybody acknowledge, or nobody, is refused by [checkList].
func syncNames(number int, members []string) string {
	if len(members) == 0 {
		return ""
	}
	quoted := make([]string, len(members))
	for i, m := range members {
		quoted[i] = `"` + m + `"`
	}
	slices.Sort(quoted)
	return fmt.Sprintf("ANY %d (%s)", number, strings.Join(quoted, ","))
}

// checkList refuses a list that would not protect writes.
func checkList(self string, number int, members []string) error {
	if number < 1 {
		return agent.Refuse(agent.Unsafe, "a rule of %d members is none at all", number)
	}
	if len(members) == 0 {
		return agent.Refuse(agent.Unsafe, "an empty list of synchronous members: every commit would be acknowledged by one machine alone")
	}
	for _, m := range members {
		if m == "*" {
			return agent.Refuse(agent.Unsafe, "* in the list of synchronous members: anybody who connects could acknowledge")
		}
		if !nameOK.MatchString(m) {
			return agent.Refuse(agent.BadOrder, "%q is not a member's name", m)
		}
		if m == self {
			return agent.Refuse(agent.Unsafe, "%s cannot acknowledge for itself", m)
		}
	}
	return nil
}

// conninfo says how self receives from an upstream. It holds no secret.
func conninfo(self, passfile string, u agent.Upstream) string {
	pairs := []string{"user", ReplicationRole, "host", u.Host, "port", u.Port, "application_name", self,
		"passfile", passfile, "sslmode", "prefer", "connect_timeout", "2", "tcp_user_timeout", "5000",
		"keepalives_idle", "2", "keepalives_interval", "1", "keepalives_count", "3"}
	var out []string
	for i := 0; i < len(pairs); i += 2 {
		v := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(pairs[i+1])
		out = append(out, fmt.Sprintf("%s='%s'", pairs[i], v))
	}
	return strings.Join(out, " ")
}

// passLine is the one line of a passfile: the credential, for this upstream only.
func passLine(u agent.Upstream, password string) string {
	esc := strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace
	return strings.Join([]string{esc(u.Host), esc(u.Port), "*", ReplicationRole, password}, ":") + "\n"
}
