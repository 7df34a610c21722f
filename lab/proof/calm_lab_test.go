//go:build lab

package proof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
	w.served(f)
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
	w.served(f)
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
		if out, err := w.Haechi(t.Context(), "doctor"); err == nil || !strings.Contains(err.Error(), "tower") {
			t.Errorf("haechi doctor says nothing of it: %q, %v", out, err)
		}
		w.pageSaysSo()
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

// pageSaysSo fails the test unless the page's one address says that nobody answers.
func (w world) pageSaysSo() {
	w.Helper()
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.ServePage(ctx, on) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			w.Error(err)
		}
	}()
	resp, err := http.Get("http://" + on.Addr().String() + "/")
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusBadGateway || !strings.Contains(string(said), "nobody answers") {
		w.Errorf("the page does not say that nobody answers: %s %q, %v", resp.Status, said, err)
	}
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
		for _, file := range []string{"", w.At(lab.Pangyo, "tower", "tower.yaml"), w.At(lab.Pangyo, "agent", "agent.yaml")} {
			args := []string{"doctor"}
			if file != "" { // on that host, without any tower
				args = append(args, "--config", file)
			}
			if out, err := w.Haechi(t.Context(), args...); err == nil || !strings.Contains(out, "expired") {
				t.Errorf("haechi %v does not say that certificates have expired: %q, %v", args, out, err)
			}
		}
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

// Row 17, third part: the disk of every etcd member is full, first so that it may go wrong, then so that it has.
func TestFullDisksOfEtcdHarmNobody(t *testing.T) {
	w := raise(t, "default")
	f := w.under(func() lab.Proof {
		var p lab.Proof
		for _, q := range lab.Sites() {
			p = w.must(w.DiskFull(t.Context(), q, lab.RoleTower))
		}
		w.tells("make room on the disk of", func(n web.Now) bool { return says(n, "make room on the disk of") })
		w.choke()
		w.tells("its etcd member has stopped", func(n web.Now) bool { return !n.Quorum.Have && says(n, "etcd", "stopped") })
		w.always(long(60*time.Second, 8*time.Second), "nothing moves", func() error {
			_, err := w.primary(lab.Pangyo)
			return err
		})
		w.must(w.Heal(t.Context()))
		for _, q := range lab.Sites() {
			w.shows(q, 60*time.Second, "everything as it was", func(n web.Now) bool {
				return allUp(n) && n.Quorum.Have && len(n.Armed) > 0 && len(n.Stores) == 1 && len(n.Stores[0].Unmet) == 0
			})
		}
		return p
	}, unmoved)
	w.unharmed(f)
	w.stays(lab.Pangyo, f.At)
}

// tells waits until the page of a tower shows something, and checks that status and doctor say it too.
func (w world) tells(words string, shows func(web.Now) bool) {
	w.Helper()
	w.shows(lab.Ansan, 20*time.Second, words, shows)
	for _, verb := range []string{"status", "doctor"} {
		w.eventually(10*time.Second, "haechi "+verb+" says "+words, func() error {
			if out, err := w.Haechi(w.Context(), verb); !strings.Contains(out, words) {
				return fmt.Errorf("it says %q (%v)", out, err)
			}
			return nil
		})
	}
}

// choke writes to the etcd members, whose disks are full, until each of them has stopped.
func (w world) choke() {
	w.Helper()
	most := time.Now().Add(60 * time.Second)
	for _, p := range lab.Sites() {
		c := w.etcd(w.Context(), p)
		for stopped := false; !stopped; {
			ctx, cancel := context.WithTimeout(w.Context(), time.Second)
			_, err := c.Put(ctx, "/proof/ballast", strings.Repeat("x", 1<<20))
			cancel()
			n, e := w.now(p)
			if stopped = e == nil && says(n, "its etcd member has stopped"); time.Now().After(most) {
				w.Fatalf("etcd in %s goes on, its disk being full: %s (%v)", p, brief(n), errors.Join(err, e))
			}
		}
		w.Logf("etcd in %s has stopped", p)
		if err := c.Close(); err != nil {
			w.Error(err)
		}
	}
}
