package patroni

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/lab"
)

// Comeback is how a burned site's member came back under Patroni.
type Comeback struct {
	Settings string        `json:"settings"`
	Counted  time.Duration `json:"counted_ns"` // from its power until the leader's PostgreSQL calls it synchronous
	Said     []string      `json:"said"`       // by Patroni and pg_rewind there, of the rewind
	Planted  int           `json:"planted"`    // rows that it alone held
	Held     int           `json:"held"`       // of these, rows that any member holds afterwards
	Named    int           `json:"named"`      // of these, rows that any log of Patroni or PostgreSQL names
	Remains  []string      `json:"remains"`    // files in which bytes of such rows are left, all the same
}

// Return starts again what stands in a burned site whose machines have their power since an instant, and
// waits until its member counts. planted are the IDs of messages that it alone holds, author is in
// the text of each of them.
func (c *Cluster) Return(ctx context.Context, p lab.Place, since time.Time, planted []string, author string) (Comeback, error) {
	out := Comeback{Settings: c.settings.String(), Planted: len(planted)}
	log := filepath.Join(c.lab.Dir(), "log", string(p)+"-patroni.log")
	before, err := os.Stat(log)
	if err != nil {
		return out, err
	}
	if err := errors.Join(c.startVoter(p), c.start(p)); err != nil {
		return out, fmt.Errorf("patroni: return of %s: %w", p, err)
	}
	if _, err := c.lab.StartProcess(ctx, p, lab.RoleGateway); err != nil {
		return out, err
	}
	if err := until(ctx, 5*time.Minute, func(ctx context.Context) error { return c.counts(ctx, p) }); err != nil {
		return out, fmt.Errorf("patroni: return of %s: %w", p, err)
	}
	out.Counted = time.Since(since)
	text, err := os.ReadFile(log)
	if err != nil {
		return out, err
	}
	out.Said = ofTheRewind(string(text[before.Size():]))
	if out.Held, err = c.held(ctx, planted); err != nil {
		return out, err
	}
	if out.Named, err = c.named(planted); err != nil {
		return out, err
	}
	out.Remains, err = remains(c.lab.At(p, "pg"), author)
	return out, err
}

// counts says what is missing until the leader waits for a member.
func (c *Cluster) counts(ctx context.Context, p lab.Place) error {
	leader, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	rows, err := c.lab.SQL(ctx, leader, "postgres", "SELECT state, sync_state FROM pg_stat_replication WHERE application_name = '"+memberName(p)+"'")
	if err == nil && fmt.Sprint(rows) != "[[streaming sync]]" {
		err = fmt.Errorf("%s is %v, not streaming and sync", p, rows)
	}
	return err
}

// held counts the messages that any member holds.
func (c *Cluster) held(ctx context.Context, ids []string) (n int, err error) {
	for _, p := range lab.Sites() {
		rows, err := c.lab.SQL(ctx, p, "talk", "SELECT count(*) FROM messages WHERE id = ANY ('{"+strings.Join(ids, ",")+"}')")
		if err != nil {
			return 0, err
		}
		var here int
		if _, err := fmt.Sscan(rows[0][0], &here); err != nil {
			return 0, err
		}
		n = max(n, here)
	}
	return n, nil
}

// named counts the IDs that stand in any log.
func (c *Cluster) named(ids []string) (n int, err error) {
	files, err := filepath.Glob(filepath.Join(c.lab.Dir(), "log", "*.log"))
	if err != nil {
		return 0, err
	}
	var all strings.Builder
	for _, f := range files {
		if !strings.HasSuffix(f, "-patroni.log") {
			continue // the load's own knows its messages
		}
		text, err := os.ReadFile(f)
		if err != nil {
			return 0, err
		}
		all.Write(text)
	}
	for _, id := range ids {
		if strings.Contains(all.String(), id) {
			n++
		}
	}
	return n, nil
}

// rewinding are words of lines that are about a rewind.
var rewinding = []string{"rewind", "diverge", "imeline", "history", "crash recovery", "single user", "stdout=", "stderr="}

// mostSaid is how many lines of a log are quoted.
const mostSaid = 40

// ofTheRewind quotes what a log says of a rewind, each line once.
func ofTheRewind(log string) (out []string) {
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		about := slices.ContainsFunc(rewinding, func(word string) bool { return strings.Contains(line, word) })
		if about && !slices.Contains(out, line) && len(out) < mostSaid {
			out = append(out, line)
		}
	}
	return out
}

// remains are the files below a directory in which a text stands.
func remains(dir, text string) (out []string, err error) {
	return out, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) && path != dir { // a running server removes files
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil && strings.Contains(string(raw), text) {
			rest, _ := filepath.Rel(dir, path)
			out = append(out, rest)
		}
		return err
	})
}
