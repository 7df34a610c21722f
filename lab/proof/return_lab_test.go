//go:build lab

package proof

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/tower/web"
)

// A site that burned has power again while no tower of the others is there to look, and somebody who means
// well starts its database by hand, while clients still go to its address. Nothing is acknowledged there, and reads are answered
// only where the store lets them be old. Once it is looked at again it is stopped, read and brought back.
func TestOldPrimaryReturnsWhileNobodyLooks(t *testing.T) {
	for _, reads := range []string{"any", "fresh"} {
		t.Run(reads, func(t *testing.T) {
			w := raise(t, "fast", func(o *lab.Options) { o.Fresh = reads == "fresh" })
			if _, err := w.SQL(t.Context(), lab.Pangyo, "talk", "CREATE TABLE alone (n int PRIMARY KEY)"); err != nil {
				t.Fatal(err)
			}
			w.served(w.under(func() lab.Proof {
				fire := w.must(w.Fire(t.Context(), lab.Pangyo))
				w.ended(lab.Ansan, 30*time.Second, fire.At, string(plan.LoseSite), run.StatusDone)
				for _, q := range others(lab.Pangyo) {
					w.must(w.KillProcess(t.Context(), q, lab.RoleTower))
				}
				w.must(w.Rebuild(t.Context(), lab.Pangyo))
				w.must(w.StartDatabase(t.Context(), lab.Pangyo))
				w.oldAnswers(reads == "fresh")
				w.must(w.Heal(t.Context()))
				back := time.Now()
				for _, q := range others(lab.Pangyo) {
					w.must(w.StartProcess(t.Context(), q, lab.RoleTower))
				}
				w.shows(lab.Ansan, time.Minute, "that pangyo runs, or would, as a primary, and is none", func(n web.Now) bool {
					return says(n, "pangyo", "as a primary of talk-db")
				})
				w.ended(lab.Ansan, 30*time.Second, back, string(plan.FenceOld), run.StatusDone)
				w.whole(3 * time.Minute)
				return fire
			}, unmoved))
		})
	}
}

// oldAnswers looks at what the old primary in pangyo answers clients who know its address. Where reads
// have to be fresh its lines to the other sites are cut, too: only then can nobody tell it that it is old.
func (w world) oldAnswers(fresh bool) {
	w.Helper()
	reads := func() error {
		_, err := w.SQL(w.Context(), lab.Pangyo, "talk", "SELECT count(*) FROM messages")
		return err
	}
	if fresh {
		cut := w.must(w.CutSite(w.Context(), lab.Pangyo))
		w.eventually(10*time.Second, "reads end there", func() error {
			if reads() == nil {
				return fmt.Errorf("it answers")
			}
			return nil
		})
		w.Logf("reads ended %v after the cut", time.Since(cut.At).Round(time.Millisecond))
	} else if err := reads(); err != nil {
		w.Errorf("reads may be old, and are not answered: %v", err)
	}
	stop := w.pester(false)
	w.while(long(20*time.Second, 4*time.Second))
	said := stop()
	w.Logf("of its sends users heard %v", said)
	if said["acknowledged"] > 0 {
		w.Errorf("the old primary acknowledged %d sends", said["acknowledged"])
	}
	if said["refused"]+said["unconfirmed"] == 0 {
		w.Errorf("its gateway answered no send, so the test shows nothing: %v", said)
	}
	if fresh && reads() == nil {
		w.Error("it answers reads again")
	}
	if !fresh && w.rows(lab.Pangyo, "SELECT n FROM alone") == 0 {
		w.Error("nothing was written by it alone, so the test shows nothing")
	}
}

// Members were found to differ: nobody can move the primary home, and what differs is named. Who is right is for people
// to decide: nothing is changed.
func TestADifferenceForbidsFailback(t *testing.T) {
	w := raise(t, "fast")
	for _, sql := range []string{"CREATE TABLE shelf (id bigint PRIMARY KEY, body text)", "INSERT INTO shelf SELECT i, md5(i::text) FROM generate_series(1, 2000) i"} {
		if _, err := w.SQL(t.Context(), lab.Pangyo, "talk", sql); err != nil {
			t.Fatal(err)
		}
	}
	w.haechi("failover", "talk-db", "--to", "ansan")
	if found, err := w.compare(); err != nil || len(found) > 0 {
		t.Fatalf("before anything was planted: %v %v", found, err)
	}
	if said, err := w.Haechi(t.Context(), "failback", "talk-db", "--check"); err != nil || !strings.Contains(said, "possible, when a person says so") {
		t.Fatalf("before anything was planted: %v: %s", err, said)
	}
	w.must(w.LieMissing(t.Context(), lab.Pangyo, "shelf", "id = 500"))
	w.sound()
	since := time.Now()
	found, err := w.compare()
	if diff := cmp.Diff([]string{"pangyo missing talk: public.shelf 500"}, found); diff != "" || err == nil {
		t.Errorf("%v: %s", err, diff)
	}
	said, err := w.Haechi(t.Context(), "failback", "talk-db")
	if text := said + fmt.Sprint(err); err == nil || !strings.Contains(text, "found a difference") || !strings.Contains(text, "pangyo") || !strings.Contains(text, "nothing was changed") {
		t.Errorf("failback is to be refused because members differ: %v: %s", err, said)
	}
	all, err := w.runs(lab.Ansan, since)
	if err != nil || len(all) != 1 || all[0].Plan.Kind != plan.VerifyAll {
		t.Errorf("the runs since are %s (%v)", tell(all), err)
	}
	if p, err := w.primary(lab.Sites()...); err != nil || p != lab.Ansan {
		t.Errorf("the primary is %q (%v)", p, err)
	}
	if rows := w.rows(lab.Pangyo, "SELECT id FROM shelf WHERE id = 500"); rows != 0 {
		t.Error("somebody has decided who is right")
	}
}
