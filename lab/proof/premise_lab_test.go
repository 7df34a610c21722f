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
	"github.com/haechi/haechi/tower/web"
)

// Row 12: what makes an acknowledgement worth nothing is reported before the fire, and forbids a promotion by itself.
func TestUnsafeSettingsAreReportedAndForbidPromotion(t *testing.T) {
	w := raise(t, "fast")
	for _, c := range []struct{ name, set, back, says string }{
		{"RoleWithoutSynchronousCommit", "ALTER ROLE talk SET synchronous_commit = off", "ALTER ROLE talk RESET synchronous_commit", "synchronous_commit"},
		{"DatabaseWithoutSynchronousCommit", "ALTER DATABASE talk SET synchronous_commit = local", "ALTER DATABASE talk RESET synchronous_commit", "synchronous_commit"},
		{"FsyncOff", "ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET fsync = on", "fsync"},
		{"AnyoneMayAcknowledge", `ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'`, "", "*"},
	} {
		w.setting(c.set)
		var n web.Now
		for _, p := range lab.Sites() { // whichever tower is asked to arm
			n = w.shows(p, 15*time.Second, c.name+" as a premise that fails", func(n web.Now) bool {
				return strings.Contains(fmt.Sprint(n.Stores[0].Unmet), c.says)
			})
		}
		t.Log(n.Stores[0].Unmet)
		if _, err := w.Haechi(t.Context(), "arm", "*"); err == nil {
			t.Errorf("%s: arming is not refused", c.name)
		}
		if c.back != "" { // the last one stays
			w.setting(c.back)
			w.shows(lab.Ansan, 15*time.Second, "no premise that fails", func(n web.Now) bool { return len(n.Stores[0].Unmet) == 0 })
		}
	}
	p := w.must(w.KillProcess(t.Context(), lab.Pangyo, lab.RolePostgres))
	r := w.ended(lab.Ansan, 15*time.Second, p.At, "lose-store", run.StatusAsked)
	t.Log(r.Questions())
	w.always(4*time.Second, "nobody is promoted", func() error {
		if p, err := w.primary(lab.Sites()...); err == nil {
			return errors.New(string(p) + " is")
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
