//go:build lab

package proof

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/lab/wan"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/web"
)

// Row 9: the primary lives, and too few others are left to acknowledge; alone: refuse.
func TestTooFewOthersMakeWritesWait(t *testing.T) {
	w := raise(t, "fast")
	f := w.under(func() lab.Proof {
		p := w.downFor(others(lab.Pangyo)...)
		w.shows(lab.Pangyo, 5*time.Second, "that writes wait", func(n web.Now) bool {
			return n.Stores[0].Writes == web.WritesWaiting && n.Headline.Level == web.Bad
		})
		w.eventually(20*time.Second, "the journal says why nothing is done", func() error {
			all, err := w.journalOf(lab.Pangyo)
			for _, e := range all {
				if e.Kind == "decision" && strings.Contains(e.Text, "alone: refuse") {
					t.Log(e.Text)
					return nil
				}
			}
			return fmt.Errorf("it does not (%v)", err)
		})
		if acked, _ := w.acknowledges(); len(acked) > 0 {
			t.Errorf("%v acknowledge", acked)
		}
		for _, q := range others(lab.Pangyo) {
			w.must(w.Continue(t.Context(), q, lab.RoleAgent))
		}
		w.shows(lab.Pangyo, 40*time.Second, "that writes are acknowledged again", func(n web.Now) bool {
			return n.Stores[0].Writes == web.WritesAcknowledged && len(n.Stores[0].Unmet) == 0
		})
		return p
	}, unmoved)
	w.served(f)
	w.stays(lab.Pangyo, f.At)
}

// downFor kills the databases of some sites, while their agents stand still: they would have them started again at once.
func (w world) downFor(sites ...lab.Place) (first lab.Proof) {
	w.Helper()
	for _, p := range sites {
		w.must(w.Stop(w.Context(), p, lab.RoleAgent))
	}
	for _, p := range sites {
		if dead := w.must(w.KillProcess(w.Context(), p, lab.RolePostgres)); first.At.IsZero() {
			first = dead
		}
	}
	return first
}

// Row 10, first half: a reader's lock blocks replay on a follower when the site of the primary burns.
func TestBlockedReplayIsReportedAndTheSealHolds(t *testing.T) {
	w := raise(t, "fast")
	w.must(w.ReaderLock(t.Context(), lab.Ansan))
	w.shows(lab.Anyang, 10*time.Second, "that replay is blocked", func(n web.Now) bool {
		return n.Stores[0].Members[0].ReplayBlocked || says(n, "ansan", "replay")
	})
	f := w.under(func() lab.Proof { return w.must(w.Fire(t.Context(), lab.Pangyo)) }, gone(lab.Pangyo))
	w.served(f)
	w.eventually(20*time.Second, "the run ends well", func() error {
		for _, r := range mustRuns(w, lab.Ansan, f.At) {
			if r.Status() != run.StatusDone {
				return errors.New(tell([]tale{r}))
			}
		}
		return nil
	})
	if len(f.Judged) != 2 {
		t.Errorf("both members must hold everything in the end: %v, %v", f.Judged, f.Trouble)
	}
}

// Row 10, second half: a follower is far behind (1 GB in full, else 200 MB).
func TestFollowerFarBehindIsReportedAndNotChosen(t *testing.T) {
	w := raise(t, "fast")
	megabytes := 200
	if long(1, 0) == 1 {
		megabytes = 1000
	}
	rate := int64(2 << 20) // bits a second
	if _, err := w.WAN().Set(t.Context(), wan.Change{Direction: wan.Direction{From: string(lab.Pangyo), To: string(lab.Anyang)}, Rate: &rate}); err != nil {
		t.Fatal(err)
	}
	w.fill(megabytes + megabytes/20) // some of it arrives meanwhile
	w.shows(lab.Ansan, 20*time.Second, "how far a follower is behind", func(n web.Now) bool {
		return n.Stores[0].Members[1].LagBytes > int64(megabytes)<<20*9/10 && says(n, "anyang is", "behind pangyo")
	})
	f := w.under(func() lab.Proof { return w.must(w.Fire(t.Context(), lab.Pangyo)) }, gone(lab.Pangyo), func(t *trial.Trial) { t.Patience = 2 * time.Minute })
	w.served(f) // what the other one lacks has to be copied before anybody is told that a write is safe
	if p, err := w.primary(lab.Ansan); err != nil {
		t.Errorf("the one that holds the most is ansan; %s, %v", p, err)
	}
}

// Row 11: too few members answer the seal.
func TestTooFewSealedAreUnsealedAtOnce(t *testing.T) {
	w := raise(t, "fast")
	f := w.under(func() lab.Proof {
		p := w.must(w.Stop(t.Context(), lab.Pangyo, lab.RolePostgres))
		w.while(time.Until(p.At.Add(300 * time.Millisecond))) // so that nobody knows yet that it will not answer
		w.must(w.Stop(t.Context(), lab.Anyang, lab.RoleAgent))
		sealed := w.sealedFor(lab.Ansan, 20*time.Second)
		t.Logf("ansan was sealed for %v", sealed.Round(time.Millisecond))
		w.must(w.Continue(t.Context(), lab.Pangyo, lab.RolePostgres))
		r := w.ended(lab.Ansan, 10*time.Second, p.At, "lose-store", run.StatusAsked)
		t.Logf("%s asks: %v", r.ID, r.Questions())
		if sealed > time.Second {
			t.Error("it must be let go within 1 s")
		}
		w.eventually(10*time.Second, "writes go on", func() error {
			acked, err := w.acknowledges()
			if len(acked) != 1 || acked[0] != lab.Pangyo {
				return fmt.Errorf("%v acknowledge (%v)", acked, err)
			}
			return nil
		})
		w.shows(lab.Ansan, 5*time.Second, "what a person is asked", func(n web.Now) bool { return says(n, "seal") })
		w.must(w.Continue(t.Context(), lab.Anyang, lab.RoleAgent))
		return p
	}, unmoved)
	w.served(f)
	w.stays2(lab.Pangyo)
}

// Row 11, once more: the primary stays dead, and the member that did not answer comes back.
func TestTooFewSealedAreTriedAgainOnceTheyAreBack(t *testing.T) {
	w := raise(t, "fast")
	f := w.under(func() lab.Proof {
		p := w.must(w.Stop(t.Context(), lab.Pangyo, lab.RolePostgres))
		w.while(time.Until(p.At.Add(300 * time.Millisecond))) // so that nobody knows yet that it will not answer
		w.must(w.Stop(t.Context(), lab.Anyang, lab.RoleAgent))
		r := w.ended(lab.Ansan, 20*time.Second, p.At, "lose-store", run.StatusAsked)
		t.Logf("%s asks: %v", r.ID, r.Questions())
		w.must(w.Continue(t.Context(), lab.Anyang, lab.RoleAgent))
		w.ended(lab.Ansan, 20*time.Second, p.At, "lose-store", run.StatusTaken)
		w.ended(lab.Ansan, 20*time.Second, p.At, "lose-store", run.StatusDone)
		return p
	}, gone(lab.Pangyo))
	w.served(f)
}

// Row 11, and a member that was never away: it was only slow to answer, as on a busy disk.
func TestSlowMembersAreAskedAgain(t *testing.T) {
	w := raise(t, "default") // 2 s of silence count, and a seal has 0.65 s: one may be too slow and never silent
	f := w.under(func() lab.Proof {
		p := w.must(w.Stop(t.Context(), lab.Pangyo, lab.RolePostgres))
		w.while(time.Until(p.At.Add(1800 * time.Millisecond)))
		w.must(w.Stop(t.Context(), lab.Anyang, lab.RoleAgent))
		r := w.ended(lab.Ansan, 20*time.Second, p.At, "lose-store", run.StatusAsked)
		w.must(w.Continue(t.Context(), lab.Anyang, lab.RoleAgent))
		t.Logf("%s asks: %v", r.ID, r.Questions())
		w.ended(lab.Ansan, 20*time.Second, p.At, "lose-store", run.StatusTaken)
		w.ended(lab.Ansan, 20*time.Second, p.At, "lose-store", run.StatusDone)
		return p
	}, gone(lab.Pangyo))
	w.served(f)
}

// fill has the primary write so many megabytes of log, acknowledged by whoever is quick.
func (w world) fill(megabytes int) {
	w.Helper()
	begun := time.Now()
	if _, err := w.SQL(w.Context(), lab.Pangyo, "talk", "CREATE TABLE ballast (t text); ALTER TABLE ballast ALTER t SET STORAGE EXTERNAL"); err != nil {
		w.Fatal(err)
	}
	for left := megabytes; left > 0; left -= 50 {
		if _, err := w.SQL(w.Context(), lab.Pangyo, "talk", fmt.Sprintf("INSERT INTO ballast SELECT repeat('x', 1000000) FROM generate_series(1, %d)", min(left, 50))); err != nil {
			w.Fatal(err)
		}
	}
	w.Logf("about %d MB of log were written in %v", megabytes, time.Since(begun).Round(time.Millisecond))
}

// approveAs has as many people approve a run as it asks.
func (w world) approveAs(p lab.Place, r tale) error {
	w.Logf("%s asks: %v", r.ID, r.Questions())
	people := 0
	for _, q := range r.Questions() {
		people = max(people, q.People)
	}
	for i := range people {
		if err := w.approves(fmt.Sprintf("approver-%d", i+1), p, r.ID); err != nil {
			return err
		}
	}
	return nil
}

// approves has one person approve a run.
func (w world) approves(who string, p lab.Place, id run.ID) error {
	dir := filepath.Join(w.Dir(), who)
	files, err := pki.Issue(filepath.Join(w.Dir(), "ca"), pki.Identity{Kind: pki.Person, Name: who, Roles: []string{pki.Approver, pki.Viewer}}, dir, nil, nil, 0)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("towers: [%q]\ntls: {ca: %s, cert: %s, key: %s}\n", p.TowerAddr(), files.CA, files.Cert, files.Key)
	config := filepath.Join(dir, "operator.yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	return w.In(lab.Users, func() error {
		out, err := exec.Command(w.Program("haechi"), "--config", config, "run", "approve", string(id)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s approves %s: %w: %s", who, id, err, out)
		}
		w.Logf("%s: %s", who, out)
		return nil
	})
}

// stays2 fails the test unless p is primary under the first epoch.
func (w world) stays2(p lab.Place) {
	w.Helper()
	w.shows(p, 20*time.Second, "the primary where it was", func(n web.Now) bool {
		return n.Stores[0].Primary == string(p) && n.Stores[0].Epoch == 1 && n.Stores[0].Writes == web.WritesAcknowledged
	})
}

// sealedFor watches a member from when it stops receiving by order until it may receive again.
func (w world) sealedFor(p lab.Place, most time.Duration) time.Duration {
	w.Helper()
	sealed := func() (bool, error) {
		rows, err := w.SQL(w.Context(), p, "postgres", "SHOW primary_conninfo")
		return err == nil && rows[0][0] == "", err
	}
	w.eventually(most, string(p)+" is sealed", func() error {
		yes, err := sealed()
		if err == nil && !yes {
			err = fmt.Errorf("it is not")
		}
		return err
	})
	return w.eventually(most, string(p)+" is let go", func() error {
		yes, err := sealed()
		if err == nil && yes {
			err = fmt.Errorf("it is not")
		}
		return err
	})
}
