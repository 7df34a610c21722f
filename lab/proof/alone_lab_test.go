//go:build lab

package proof

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/tower/web"
)

// alone is an estate in which a primary may go on without its followers.
func alone(o *lab.Options) { o.Alone = true }

// Row 9, alone: allow: both followers' databases die. Writes go on under a journaled mandate, which is renewed
// for longer than it lasts, ends by itself when the followers are back, and loses nothing.
func TestPrimaryGoesOnAloneUnderAMandate(t *testing.T) {
	w := raise(t, "fast", alone)
	f := w.under(func() lab.Proof {
		p := w.downFor(others(lab.Pangyo)...)
		w.ended(lab.Pangyo, 20*time.Second, p.At, "go-alone", run.StatusDone)
		goesOn := func() error { return w.more(lab.Pangyo, time.Second) }
		w.eventually(10*time.Second, "messages are acknowledged", goesOn)
		w.always(driver.Mandate+2*time.Second, "messages are acknowledged for as long as the mandate is renewed", goesOn)
		w.shows(lab.Ansan, 3*time.Second, "that it is alone", func(n web.Now) bool {
			return n.Stores[0].Alone && n.Stores[0].Writes == web.WritesAlone && n.Stores[0].Epoch == 1
		})
		if table := w.filter(lab.Pangyo); !strings.Contains(table, "expires") {
			t.Errorf("the kernel in pangyo knows of no mandate: %q", table)
		}
		for _, q := range others(lab.Pangyo) {
			w.must(w.StartDatabase(t.Context(), q))
			w.must(w.Continue(t.Context(), q, lab.RoleAgent))
		}
		w.ended(lab.Pangyo, 30*time.Second, p.At, "end-alone", run.StatusDone)
		w.shows(lab.Pangyo, 20*time.Second, "that others acknowledge again", func(n web.Now) bool {
			return n.Stores[0].Writes == web.WritesAcknowledged && !n.Stores[0].Alone && len(n.Stores[0].Unmet) == 0
		})
		if table := w.filter(lab.Pangyo); strings.Contains(table, "haechi_") {
			t.Errorf("the table is still there: %s", table)
		}
		return p
	}, unmoved)
	w.served(f)
	w.stays(lab.Pangyo, f.At)
}

// The primary that went on alone dies: nobody is promoted, and people are told what is at stake.
func TestPrimaryThatIsAloneIsNotReplaced(t *testing.T) {
	w := raise(t, "fast", alone)
	p := w.downFor(others(lab.Pangyo)...)
	w.ended(lab.Pangyo, 20*time.Second, p.At, "go-alone", run.StatusDone)
	w.eventually(10*time.Second, "one more is written", func() error {
		_, err := w.SQL(t.Context(), lab.Pangyo, "talk", "CREATE TABLE IF NOT EXISTS only_here (n int)")
		return err
	})
	w.must(w.KillProcess(t.Context(), lab.Pangyo, lab.RolePostgres))
	for _, q := range others(lab.Pangyo) {
		w.must(w.StartDatabase(t.Context(), q))
		w.must(w.Continue(t.Context(), q, lab.RoleAgent))
	}
	w.eventually(20*time.Second, "the journal says that nobody is promoted, and why", func() error {
		all, err := w.journalOf(lab.Ansan)
		for _, e := range all {
			if e.Kind == "decision" && strings.Contains(e.Text, "acknowledge") && strings.Contains(e.Text, "alone") && e.At.After(p.At) && strings.Contains(e.Text, "bring it back") {
				t.Log(e.Text)
				return nil
			}
		}
		return fmt.Errorf("it does not (%v)", err)
	})
	w.always(5*time.Second, "nobody is promoted", func() error {
		for _, q := range others(lab.Pangyo) {
			if yes, err := w.IsPrimary(t.Context(), q); err == nil && yes {
				return fmt.Errorf("%s is primary", q)
			}
		}
		return nil
	})
	// The one that was alone comes back as it was, under the same mandate, and ends it.
	w.must(w.StartDatabase(t.Context(), lab.Pangyo))
	w.ended(lab.Ansan, 40*time.Second, p.At, "end-alone", run.StatusDone)
	if _, err := w.SQL(t.Context(), lab.Pangyo, "talk", "INSERT INTO only_here VALUES (1)"); err != nil {
		t.Error(err)
	}
}

// more complains unless messages are written for a while.
func (w world) more(p lab.Place, d time.Duration) error {
	count := func() (string, error) {
		rows, err := w.SQL(w.Context(), p, "talk", "SELECT count(*) FROM messages")
		return fmt.Sprint(rows), err
	}
	before, err := count()
	if err != nil {
		return err
	}
	w.while(d)
	after, err := count()
	if err == nil && before == after {
		err = fmt.Errorf("there are %s, and no more %v later", after, d)
	}
	return err
}

// filter is what the packet filter in a place is told.
func (w world) filter(p lab.Place) string {
	w.Helper()
	out, err := exec.CommandContext(w.Context(), "ip", "netns", "exec", w.NS(p), "nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		w.Errorf("%v: %s", err, out)
	}
	return string(out)
}
