//go:build lab

package proof

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/tower/web"
)

// endsSafely waits until one member takes writes, or until the tower in a site says what is
// missing and what the way out is; then the site that burned gets its machines back, and that must do.
func (w world) endsSafely(burned, p lab.Place) {
	w.Helper()
	begun := time.Now()
	served := func() error {
		acked, err := w.acknowledges()
		if len(acked) == 1 {
			return nil
		}
		all, e := w.runs(p, time.Time{})
		return errors.Join(fmt.Errorf("%v acknowledge; %s", acked, tell(all)), err, e)
	}
	for time.Since(begun) < 15*time.Second {
		if served() == nil {
			w.Logf("service goes on by itself, %v later", time.Since(begun).Round(time.Millisecond))
			return
		}
		w.while(100 * time.Millisecond)
	}
	w.shows(p, 5*time.Second, "that service stands still, and why", func(n web.Now) bool {
		return n.Headline.Level == web.Bad && n.Stores[0].Writes != web.WritesAcknowledged
	})
	w.eventually(5*time.Second, "the journal, or the page where too few towers are left to write one, says what the way out is", func() error {
		if n, err := w.now(p); err == nil && !n.Quorum.Have && says(n, "bring the other towers back") {
			w.Log(brief(n))
			return nil
		}
		all, err := w.journalOf(p)
		for _, e := range all {
			if strings.Contains(e.Text, "the way out") || strings.Contains(e.Text, "a person is needed") || strings.Contains(e.Text, "haechi asks before") {
				w.Log(e.Text)
				return nil
			}
		}
		return errors.Join(errors.New("it does not"), err)
	})
	w.must(w.Rebuild(w.Context(), burned))
	if w.databaseRuns(burned) != nil { // one that was chosen and not promoted yet is started by nobody
		w.must(w.StartDatabase(w.Context(), burned))
	}
	answered := map[time.Time]bool{} // questions, by when they were put: what is asked again is answered again
	w.eventually(60*time.Second, "service goes on once the site is back", func() error {
		err := served()
		if err == nil {
			return nil
		}
		for _, r := range mustRuns(w, p, time.Time{}) {
			fresh := false
			for _, q := range r.Questions() {
				fresh, answered[q.At] = fresh || !answered[q.At], true
			}
			if r.Status() == run.StatusAsked && fresh {
				err = errors.Join(err, w.approveAs(p, r))
			}
		}
		return err
	})
}

// Row 19, first half: fire during an evacuation, in the site that is left, and in the one that takes
// over: before it is promoted, while it is, and before the former primary is back.
func TestFireDuringAnEvacuation(t *testing.T) {
	for _, c := range []struct {
		name string
		burn lab.Place
		at   func(run.Event, plan.Verb) bool
	}{
		{"WhereItComesFrom", lab.Pangyo, after(run.Ended, plan.Halt)},
		{"WhereItMayGo", lab.Ansan, after(run.Ended, plan.Seal)},
		{"WhereItMayGoPromoting", lab.Ansan, after(run.Began, plan.Promote)},
		{"WhereItMayGoPromoted", lab.Ansan, after(run.Ended, plan.Promote)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := raise(t, "fast")
			f := w.under(func() lab.Proof {
				var p lab.Proof
				_, _, reached := w.at(c.at, func(lab.Place) { p = w.must(w.Fire(t.Context(), c.burn)) })
				if !reached {
					t.Fatal("the run ended before")
				}
				w.endsSafely(c.burn, others(c.burn)[1])
				return p
			}, gone(c.burn), func(t *trial.Trial) { t.Patience = 60 * time.Second })
			w.served(f)
			w.eventually(4*time.Minute, "every run has ended, also one that brings the site back", func() error {
				for _, r := range mustRuns(w, others(c.burn)[0], time.Time{}) {
					if r.Closed == "" {
						return errors.New(tell([]tale{r}))
					}
				}
				return nil
			})
		})
	}
}

// after picks the events of one kind of the steps with one verb.
func after(kind run.EventKind, verb plan.Verb) func(run.Event, plan.Verb) bool {
	return func(ev run.Event, of plan.Verb) bool { return ev.Kind == kind && of == verb }
}

// Row 19, second half: a second fire during a failover, in the site that is about to take over.
func TestSecondFireDuringAFailover(t *testing.T) {
	w := raise(t, "fast")
	var next lab.Place
	f := w.under(func() lab.Proof {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		events := w.follow(ctx, lab.Anyang)
		p := w.must(w.Fire(t.Context(), lab.Pangyo))
		if next = chosen(events); next == "" {
			t.Fatal("nobody was chosen to take over within 20 s")
		}
		w.must(w.Fire(t.Context(), next))
		w.endsSafely(next, others(lab.Pangyo, next)[0])
		return p
	}, gone(lab.Pangyo), func(t *trial.Trial) { t.Patience = 90 * time.Second })
	w.served(f)
}

// chosen is the site that a run wants to promote, read from its events as soon as it says so; "" if none does.
func chosen(events <-chan run.Event) lab.Place {
	for ev := range events {
		if member := ev.Facts["chosen"]; ev.Kind == run.Ended && ev.Outcome == run.Done && member != "" {
			return lab.Place(member) // members are named after their sites
		}
	}
	return ""
}
