//go:build lab

package proof

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/tower/web"
)

// Row 12: what makes an acknowledgement worth nothing is reported before the fire, and forbids a promotion by itself.
func TestUnsafeSettingsAreReportedAndForbidPromotion(t *testing.T) {
	type variant struct{ name, set, back, says string }
	for _, c := range some(t, []variant{
		{"RoleWithoutSynchronousCommit", "ALTER ROLE talk SET synchronous_commit = off", "ALTER ROLE talk RESET synchronous_commit", "synchronous_commit"},
		{"DatabaseWithoutSynchronousCommit", "ALTER DATABASE talk SET synchronous_commit = local", "ALTER DATABASE talk RESET synchronous_commit", "synchronous_commit"},
		{"FsyncOff", "ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET fsync = on", "fsync is off"},
	}) {
		t.Run(c.name, func(t *testing.T) {
			w := raise(t, "fast")
			w.unsafe(c.set, c.says)
			w.setting(c.back)
			w.shows(lab.Ansan, 15*time.Second, "no premise that fails", func(n web.Now) bool { return len(n.Stores[0].Unmet) == 0 })
			w.unsafe(c.set, c.says)
			p := w.must(w.KillProcess(t.Context(), lab.Pangyo, lab.RolePostgres))
			w.asksInstead(p, "lose-store", c.says)
		})
	}
	// The fire itself, under load. Nobody is promoted; the site gets its machines back, and nothing is lost.
	t.Run("AnyoneMayAcknowledge", func(t *testing.T) {
		w := raise(t, "fast")
		w.unsafe(`ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'`, "*")
		f := w.under(func() lab.Proof {
			p := w.must(w.Fire(t.Context(), lab.Pangyo))
			w.asksInstead(p, "lose-site", "*")
			w.must(w.Rebuild(t.Context(), lab.Pangyo))
			if w.databaseRuns(lab.Pangyo) != nil {
				w.must(w.StartDatabase(t.Context(), lab.Pangyo))
			}
			return p
		}, unmoved, func(t *trial.Trial) { t.Patience = 60 * time.Second })
		w.served(f)
	})
}

// unsafe has the primary take a setting, and checks that every tower reports it and that arming is
// refused because of it, whichever tower is asked.
func (w world) unsafe(set, says string) {
	w.Helper()
	w.setting(set)
	for _, p := range lab.Sites() {
		n := w.shows(p, 15*time.Second, set+" as a premise that fails", func(n web.Now) bool {
			return strings.Contains(fmt.Sprint(n.Stores[0].Unmet), says)
		})
		w.Log(n.Stores[0].Unmet)
	}
	_, err := w.Haechi(w.Context(), "arm", "*")
	if text := fmt.Sprint(err); err == nil || !strings.Contains(text, "a premise of automatic promotion does not hold") || !strings.Contains(text, says) {
		w.Errorf("arming is to be refused because of %s: %v", says, err)
	}
}

// asksInstead checks that after a fault a person is asked, with the premise in the question, and that nobody is promoted.
func (w world) asksInstead(p lab.Proof, kind, says string) {
	w.Helper()
	r := w.ended(lab.Ansan, 15*time.Second, p.At, kind, run.StatusAsked)
	asked := fmt.Sprint(r.Questions())
	w.Log(asked)
	if !strings.Contains(asked, "no automatic promotion") || !strings.Contains(asked, says) {
		w.Errorf("the question does not name the premise %s: %s", says, asked)
	}
	w.always(4*time.Second, "nobody is promoted", func() error {
		if p, err := w.primary(lab.Sites()...); err == nil {
			return errors.New(string(p) + " is")
		}
		for _, r := range mustRuns(w, lab.Ansan, p.At) {
			for _, ev := range r.events {
				if ev.Kind == run.Began && r.Plan.Steps[ev.Step-1].Component == "talk-db" { // names may leave
					return fmt.Errorf("step %d of %s began: %s", ev.Step, r.ID, tell([]tale{r}))
				}
			}
		}
		return nil
	})
}

// setting has the primary in pangyo take a setting.
func (w world) setting(sql string) {
	w.Helper()
	for _, q := range []string{sql, "SELECT pg_reload_conf()"} {
		if _, err := w.SQL(w.Context(), lab.Pangyo, "postgres", q); err != nil {
			w.Fatal(err)
		}
	}
}
