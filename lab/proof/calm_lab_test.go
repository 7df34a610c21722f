//go:build lab

package proof

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/web"
)

// calm complains of a verdict about a site or of a run.
func (w world) calm(p lab.Place, since time.Time) error {
	n, err := w.now(p)
	if err != nil {
		return err
	}
	for _, s := range n.Sites {
		if s.State != "up" && s.State != "suspect" {
			return fmt.Errorf("%s is %s: %v", s.ID, s.State, s.Because)
		}
	}
	return w.noRuns(p, since)
}

// Row 15, first half: every line of one site is dark for a second and a half.
func TestShortBlackoutIsNoVerdict(t *testing.T) {
	w := raise(t, "default")
	f := w.under(func() lab.Proof {
		p := w.must(w.Blackout(t.Context(), lab.Pangyo, 1500*time.Millisecond))
		w.always(5*time.Second, "no verdict", func() error { return w.calm(lab.Ansan, p.At) })
		return p
	}, unmoved)
	w.served(f, 10)
	w.stays(lab.Pangyo, f.At)
}

// Row 15, second half: all towers are stunned for a second and a half.
func TestStunnedTowersMakeNoVerdict(t *testing.T) {
	w := raise(t, "default")
	f := w.under(func() lab.Proof {
		var p lab.Proof
		for _, q := range lab.Sites() {
			p = w.must(w.Stop(t.Context(), q, lab.RoleTower))
		}
		w.while(time.Until(p.At.Add(1500 * time.Millisecond)))
		for _, q := range lab.Sites() {
			w.must(w.Continue(t.Context(), q, lab.RoleTower))
		}
		w.always(5*time.Second, "no verdict", func() error { return w.calm(lab.Ansan, p.At) })
		return p
	}, unmoved)
	if f.LongestPause > 1 {
		t.Errorf("writes paused for %.2f s", f.LongestPause)
	}
	w.stays(lab.Pangyo, f.At)
}

// Row 16: 200 ms and 5 % loss on one link, and both cores busy.
func TestBadLinkAndBusyCoresMakeNoFalseVerdict(t *testing.T) {
	w := raise(t, "default")
	f := w.under(func() lab.Proof {
		for i := range 2 {
			busy, err := w.StartJob(lab.Job{Place: lab.Users, Log: fmt.Sprintf("users-busy-%d", i), Args: []string{"/bin/sh", "-c", "while :; do :; done"}})
			if err != nil {
				t.Fatal(err)
			}
			defer busy.Kill()
		}
		p := w.must(w.Slow(t.Context(), lab.Pangyo, lab.Ansan, 200*time.Millisecond, 0.05))
		w.always(long(10*time.Minute, 40*time.Second), "no false verdict", func() error { return w.calm(lab.Anyang, p.At) })
		w.must(w.Heal(t.Context()))
		return p
	}, unmoved)
	w.served(f, 15)
	w.stays(lab.Pangyo, f.At)
}

// unharmed fails the test if clients noticed anything.
func (w world) unharmed(f trial.Figures) {
	w.Helper()
	if f.LongestPause > 1 || f.AllServed == trial.Never || f.AllServed > 5 {
		w.Errorf("clients noticed: the longest pause was %.2f s, all were served after %.2f s", f.LongestPause, f.AllServed)
	}
}

// Row 17, first part: all towers are gone.
func TestNoTowerAtAllHarmsNobody(t *testing.T) {
	w := raise(t, "default")
	f := w.under(func() lab.Proof {
		var p lab.Proof
		for _, q := range lab.Sites() {
			p = w.must(w.KillProcess(t.Context(), q, lab.RoleTower))
		}
		out, err := w.Haechi(t.Context(), "status")
		if err == nil || !strings.Contains(err.Error(), "tower") {
			t.Errorf("haechi status says nothing of it: %q, %v", out, err)
		}
		t.Log(err)
		w.while(time.Until(p.At.Add(long(10*time.Minute, 30*time.Second))))
		for _, q := range lab.Sites() {
			w.must(w.StartProcess(t.Context(), q, lab.RoleTower))
		}
		w.shows(lab.Ansan, 60*time.Second, "everything as it was", func(n web.Now) bool { return allUp(n) && n.Quorum.Have && len(n.Stores[0].Unmet) == 0 })
		return p
	}, unmoved)
	w.unharmed(f)
	w.stays(lab.Pangyo, f.At)
}

// Row 17, second part: all of haechi's certificates have expired.
func TestExpiredCertificatesHarmNobody(t *testing.T) {
	w := raise(t, "default")
	f := w.under(func() lab.Proof {
		p := lab.Proof{At: time.Now(), What: "all certificates of towers, agents, observers and people have expired"}
		w.issue(-time.Hour)
		w.must(p, nil)
		for _, q := range lab.Sites() {
			w.shows(q, 20*time.Second, "that certificates have expired", func(n web.Now) bool { return says(n, "certificate", "expired") })
		}
		out, err := w.Haechi(t.Context(), "status")
		if err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("haechi status does not say that certificates have expired: %q, %v", out, err)
		}
		t.Log(err)
		w.always(long(60*time.Second, 10*time.Second), "nothing moves", func() error {
			if _, err := w.primary(lab.Pangyo); err != nil {
				return err
			}
			return nil
		})
		w.issue(0)
		w.shows(lab.Ansan, 60*time.Second, "everything as it was", func(n web.Now) bool { return allUp(n) && n.Quorum.Have && !says(n, "certificate", "expired") })
		return p
	}, unmoved)
	w.unharmed(f)
	w.stays(lab.Pangyo, f.At)
}

// issue gives everybody a new certificate, in place.
func (w world) issue(validity time.Duration) {
	w.Helper()
	if err := w.Certify(validity); err != nil {
		w.Fatal(err)
	}
	if _, err := pki.Expiry(pki.FilesIn(filepath.Join(w.Dir(), "operator"))); err != nil {
		w.Fatal(err)
	}
}

// Row 17, third part: the disk of every etcd member is full.
func TestFullDisksOfEtcdHarmNobody(t *testing.T) {
	w := raise(t, "default")
	f := w.under(func() lab.Proof {
		var p lab.Proof
		for _, q := range lab.Sites() {
			p = w.must(w.DiskFull(t.Context(), q, lab.RoleTower))
		}
		for _, q := range lab.Sites() {
			w.shows(q, 20*time.Second, "that its disk is full", func(n web.Now) bool { return says(n, "disk") })
		}
		out, err := w.Haechi(t.Context(), "status")
		if err != nil || !strings.Contains(out, "disk") {
			t.Errorf("haechi status says nothing of the disk: %q, %v", out, err)
		}
		if out, err := w.Haechi(t.Context(), "doctor"); !strings.Contains(fmt.Sprint(out, err), "disk") {
			t.Errorf("haechi doctor says nothing of the disk: %q, %v", out, err)
		}
		w.always(long(60*time.Second, 8*time.Second), "nothing moves", func() error {
			_, err := w.primary(lab.Pangyo)
			return err
		})
		w.must(w.Heal(t.Context()))
		return p
	}, unmoved)
	w.unharmed(f)
}
