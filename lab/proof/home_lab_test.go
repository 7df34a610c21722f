//go:build lab

package proof

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/tower/web"
)

// sentAway empties a site, so that it is for people to bring its users back.
func (w world) sentAway(p lab.Place) {
	w.Helper()
	if r := w.finishes(others(p)[0], w.order("evacuate", string(p)), time.Minute); r.Status() != run.StatusDone {
		w.Fatalf("evacuate %s: %s", p, r.Closed)
	}
	for _, q := range lab.Sites() {
		w.shows(q, 2*time.Minute, "every site up, and no run", func(n web.Now) bool { return allUp(n) && !slices.ContainsFunc(n.Runs, web.Run.Open) })
		w.sends(q, 10*time.Second, others(p)...)
	}
}

// serve lets a site answer users again, as a person does, and returns when that has begun.
func (w world) serve(p lab.Place) <-chan error {
	w.Helper()
	ended := make(chan error, 1)
	go func() {
		said, err := w.Haechi(w.Context(), "serve", string(p))
		if err != nil {
			err = fmt.Errorf("%w: %s", err, said)
		}
		ended <- err
	}()
	return ended
}

// gives says whether the name server of a site sends users to another.
func (w world) gives(server, p lab.Place) bool {
	got, err := w.names(server)
	return err == nil && slices.Contains(got, p)
}

// stage is how long a stage lasts at least, in the lab with the profile fast: a TTL of a second, and two
// seconds in which users are watched.
const stage = 3 * time.Second

// Users come back to a site by one name server first, then by more, then by all.
func TestUsersComeHomeInStages(t *testing.T) {
	w := raise(t, "fast")
	w.sentAway(lab.Pangyo)
	f := w.under(func() lab.Proof {
		began := time.Now()
		ended := w.serve(lab.Pangyo)
		seen := map[lab.Place]time.Time{}
		w.eventually(60*time.Second, "all name servers send users to pangyo", func() error {
			for _, q := range lab.Sites() {
				if seen[q].IsZero() && w.gives(q, lab.Pangyo) {
					seen[q] = time.Now()
				}
			}
			if len(seen) < len(lab.Sites()) {
				return fmt.Errorf("%v do", seen)
			}
			return nil
		})
		if err := <-ended; err != nil {
			t.Error(err)
		}
		last := time.Time{}
		for _, q := range []lab.Place{lab.Ansan, lab.Anyang, lab.Pangyo} {
			if !last.IsZero() && seen[q].Sub(last) < stage-stage/6 { // the one before may have been asked a moment late
				t.Errorf("the name server in %s sent users to pangyo %v after the one before: it did not wait for the look at those", q, seen[q].Sub(last))
			}
			last = seen[q]
		}
		return lab.Proof{At: began, What: "haechi serve pangyo"}
	}, unmoved)
	w.served(f)
	for _, q := range lab.Sites() {
		w.shows(q, 5*time.Second, "that users are sent everywhere", func(n web.Now) bool {
			return len(n.Sites) > 0 && !slices.ContainsFunc(n.Missing, func(l web.Lack) bool { return l.Kind == situation.LackAnswers })
		})
	}
}

// Users who fare badly are called back at once, by the run itself, which says why.
func TestUsersAreCalledBackFromASiteThatIsNotWell(t *testing.T) {
	w := raise(t, "fast")
	w.sentAway(lab.Pangyo)
	f := w.under(func() lab.Proof {
		p := w.must(w.KillProcess(w.Context(), lab.Pangyo, lab.RoleGateway))
		err := <-w.serve(lab.Pangyo)
		if err == nil || !strings.Contains(err.Error(), "talk in pangyo refuses") {
			t.Errorf("the run does not say why: %v", err)
		}
		return p
	}, unmoved, func(t *trial.Trial) {
		t.After = func(ctx context.Context) error { // every site is judged through talk in the end
			for _, q := range lab.Sites() {
				w.sends(q, 5*time.Second, others(lab.Pangyo)...)
			}
			_, err := w.StartProcess(ctx, lab.Pangyo, lab.RoleGateway)
			return err
		}
	})
	w.served(f)
	w.ended(lab.Ansan, 10*time.Second, f.At, "serve", run.StatusFailed)
	w.shows(lab.Ansan, 20*time.Second, "talk in pangyo up", func(n web.Now) bool {
		return !slices.ContainsFunc(n.Sites, func(s web.Site) bool {
			return slices.ContainsFunc(s.Targets, func(x web.Target) bool { return x.Kind == "gateway" && x.State != "up" })
		})
	})
	if err := <-w.serve(lab.Pangyo); err != nil {
		t.Fatal(err)
	}
	for _, q := range lab.Sites() {
		w.sends(q, 5*time.Second, lab.Sites()...)
	}
}

// The site burns while its users come home: whoever was sent there is sent away again, by every server.
func TestFireWhileUsersComeHome(t *testing.T) {
	moments, draw := world{T: t}.moments()
	for n := range moments {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := raise(t, "fast")
			w.sentAway(lab.Pangyo)
			wait := time.Duration(draw.Int64N(int64(3 * stage)))
			f := w.under(func() lab.Proof {
				_ = w.serve(lab.Pangyo) // it is superseded, or its tower burns
				w.eventually(10*time.Second, "users begin to come home", func() error {
					if !w.gives(lab.Ansan, lab.Pangyo) {
						return fmt.Errorf("the name server in ansan sends nobody to pangyo")
					}
					return nil
				})
				w.while(wait)
				w.Logf("fire %v after the first stage began", wait)
				return w.must(w.Fire(w.Context(), lab.Pangyo))
			}, gone(lab.Pangyo), func(t *trial.Trial) { t.Patience = time.Minute })
			w.served(f)
			w.ended(lab.Ansan, 20*time.Second, f.At, "lose-site", run.StatusDone)
			for _, q := range others(lab.Pangyo) {
				w.sends(q, 10*time.Second, others(lab.Pangyo)...)
			}
		})
	}
}
