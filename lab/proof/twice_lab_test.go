//go:build lab

package proof

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/tower/web"
)

// settled waits until one member takes writes, and no run is under way that needs nobody's word.
func (w world) settled(most time.Duration, among ...lab.Place) {
	w.Helper()
	w.eventually(most, "service goes on", func() error {
		acked, err := w.acknowledges()
		if len(acked) == 1 {
			return nil
		}
		all, _ := w.runs(among[0], time.Time{})
		return errors.Join(fmt.Errorf("%v acknowledge; %s", acked, tell(all)), err)
	})
}

// Row 19, first half: fire during an evacuation, in the site that is left and in the one that takes over.
func TestFireDuringAnEvacuation(t *testing.T) {
	for _, c := range []struct {
		name string
		burn lab.Place
		at   int
	}{{"WhereItComesFrom", lab.Pangyo, 4}, {"WhereItMayGo", lab.Ansan, 6}} {
		t.Run(c.name, func(t *testing.T) {
			w := raise(t, "fast")
			f := w.under(func() lab.Proof {
				var p lab.Proof
				_, _, reached := w.at(c.at, func(lab.Place) { p = w.must(w.Fire(t.Context(), c.burn)) })
				if !reached {
					t.Fatal("the run ended before")
				}
				w.settled(40*time.Second, others(c.burn)...)
				return p
			}, gone(c.burn), func(t *trial.Trial) { t.Patience = 60 * time.Second })
			w.served(f, 60)
			w.eventually(20*time.Second, "every run has ended", func() error {
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

// Row 19, second half: a second fire during a failover, in the site that is about to take over.
func TestSecondFireDuringAFailover(t *testing.T) {
	w := raise(t, "fast")
	f := w.under(func() lab.Proof {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		events := w.follow(ctx, lab.Anyang)
		p := w.must(w.KillProcess(t.Context(), lab.Pangyo, lab.RolePostgres))
		for ev := range events {
			if ev.Kind == run.Ended && ev.Outcome == run.Done { // the seal is done
				t.Logf("%s step %d ended: %v", ev.Run, ev.Step, ev.Facts)
				break
			}
		}
		w.must(w.Fire(t.Context(), lab.Ansan))
		w.while(3 * time.Second)
		n, err := w.now(lab.Anyang)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(brief(n))
		if n.Stores[0].Writes == web.WritesAcknowledged {
			return p
		}
		if n.Headline.Level != web.Bad {
			t.Error("writes stand still and the headline does not say so")
		}
		w.must(w.Rebuild(t.Context(), lab.Ansan))
		w.settled(60*time.Second, lab.Anyang)
		return p
	}, gone(lab.Pangyo), func(t *trial.Trial) { t.Patience = 90 * time.Second })
	w.served(f, 120)
}
