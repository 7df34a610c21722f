//go:build lab

package proof

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/tower/web"
)

// loseTower kills a site's tower and takes its disk.
func (w world) loseTower(p lab.Place) {
	w.Helper()
	w.must(w.KillProcess(w.Context(), p, lab.RoleTower))
	w.must(w.LoseDisk(p))
}

// A tower's disk is replaced, and once more, so fast that nobody misses it. It takes no vote for itself, is seated anew by
// the others each time, and then the loss of another one is borne.
func TestTowerWithANewDiskIsSeatedAnew(t *testing.T) {
	w := raise(t, "fast")
	for range 2 {
		since := time.Now()
		w.loseTower(lab.Anyang)
		w.must(w.StartProcess(t.Context(), lab.Anyang, lab.RoleTower))
		w.ended(lab.Pangyo, time.Minute, since, string(plan.Reseat), run.StatusDone)
		w.shows(lab.Anyang, 20*time.Second, "that it is one of the towers again", func(n web.Now) bool { return n.Quorum.Have && n.Estate.Version > 0 })
	}
	w.must(w.KillProcess(t.Context(), lab.Pangyo, lab.RoleTower))
	w.shows(lab.Anyang, 20*time.Second, "a majority without Pangyo's", func(n web.Now) bool { return n.Quorum.Have && n.Driver.Tower != "tower-pangyo" })
}

// All three towers lose their disks, after a move that the snapshot does not know of. What they guard goes on; restored
// they are disarmed, promote nothing, and are above what the agents have seen.
func TestAllTowersLoseTheirDisks(t *testing.T) {
	w := raise(t, "fast")
	file := filepath.Join(t.TempDir(), "records")
	if out, err := w.Haechi(t.Context(), "tower", "snapshot", file); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if out, err := w.Haechi(t.Context(), "failover", "talk-db", "--to", "ansan"); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	before := w.shows(lab.Ansan, 2*time.Minute, "the move, and no run", func(n web.Now) bool {
		return n.Stores[0].Primary == "ansan" && !slices.ContainsFunc(n.Runs, web.Run.Open)
	})
	figures := w.under(func() lab.Proof {
		var last lab.Proof
		for _, p := range lab.Sites() {
			w.loseTower(p)
		}
		as := []string{"--first"}
		for _, p := range lab.Sites() {
			out, err := w.Tower(t.Context(), p, append([]string{"restore", w.readable(file, p), "--by", "the proof", "--why", "all disks lost"}, as...)...)
			if err != nil {
				t.Fatalf("%s: %v", out, err)
			}
			if _, rest, first := strings.Cut(string(out), "--code "); first {
				code, _, _ := strings.Cut(rest, " ")
				as = []string{"--code", code}
			}
		}
		for _, p := range lab.Sites() {
			last = w.must(w.StartProcess(t.Context(), p, lab.RoleTower))
		}
		return last
	}, unmoved)
	w.served(figures)
	n := w.shows(lab.Pangyo, 30*time.Second, "that agents were asked, and that it is disarmed", func(n web.Now) bool {
		return n.Driver.Tower != "" && len(n.Armed) == 0 && n.Driver.Term > before.Driver.Term && n.Stores[0].Epoch == 0
	})
	w.always(5*time.Second, "nothing is moved because of it", func() error {
		if p, err := w.primary(lab.Sites()...); err != nil || p != lab.Ansan {
			return fmt.Errorf("the primary is in %s: %v", p, err)
		}
		return nil
	})
	estate, err := os.ReadFile(filepath.Join(w.Dir(), "estate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	now := w.readable(filepath.Join(t.TempDir(), "estate.yaml"), lab.Pangyo)
	if err := os.WriteFile(now, []byte(strings.Replace(string(estate), "primary: pangyo", "primary: ansan", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"estate", "apply", now}, {"adopt", "talk-db"}, {"arm", "*"}} {
		w.eventually(30*time.Second, strings.Join(args, " "), func() error { _, err := w.Haechi(t.Context(), args...); return err })
	}
	after := w.shows(lab.Pangyo, 20*time.Second, "the store under a new epoch", func(n web.Now) bool {
		return n.Stores[0].Epoch > before.Stores[0].Epoch && n.Stores[0].Primary == "ansan"
	})
	t.Logf("term %d, then %d; epoch %d, then %d", before.Driver.Term, n.Driver.Term, before.Stores[0].Epoch, after.Stores[0].Epoch)
}

// readable is a copy of a file that a site's tower may read; of one that is not there yet, where to put it.
func (w world) readable(file string, p lab.Place) string {
	w.Helper()
	to := filepath.Join(w.At(p, "tower"), filepath.Base(file))
	raw, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return to
	}
	if err == nil {
		err = os.WriteFile(to, raw, 0o644)
	}
	if err != nil {
		w.Fatal(err)
	}
	return to
}

// Two of three sites burn for good. The tower that is left goes on alone by a person's word; the others come
// back, a majority of the old cluster, and start nothing.
func TestOneSiteIsLeft(t *testing.T) {
	w := raise(t, "fast")
	since := time.Now()
	w.must(w.Fire(t.Context(), lab.Pangyo))
	w.ended(lab.Ansan, time.Minute, since, string(plan.LoseSite), run.StatusDone)
	w.must(w.Fire(t.Context(), lab.Ansan))
	before := w.shows(lab.Anyang, 20*time.Second, "no quorum", func(n web.Now) bool { return !n.Quorum.Have })
	w.must(w.KillProcess(t.Context(), lab.Anyang, lab.RoleTower))
	if out, err := w.Tower(t.Context(), lab.Anyang, "recover", "--lost", "pangyo", "--lost", "ansan", "--by", "the proof", "--why", "two sites burned", "--yes", "tower-anyang"); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	w.must(w.StartProcess(t.Context(), lab.Anyang, lab.RoleTower))
	w.shows(lab.Anyang, 30*time.Second, "that it goes on alone, disarmed, above all that was seen", func(n web.Now) bool {
		return n.Quorum.Have && n.Driver.Tower == "tower-anyang" && len(n.Armed) == 0 && n.Driver.Term > before.Driver.Term
	})
	for _, p := range others(lab.Anyang) {
		w.must(w.Rebuild(t.Context(), p))
	}
	for _, p := range others(lab.Anyang) {
		w.shows(p, 30*time.Second, "that it was given up", func(n web.Now) bool { return !n.Quorum.Have && says(n, "the towers go on without this one") })
	}
	w.shows(lab.Anyang, 10*time.Second, "who goes by old records", func(n web.Now) bool { return says(n, "goes by older records") })
	w.givesOutMore(before.Stores[0].Epoch + 1)
}

// givesOutMore has the store moved by the tower in Anyang, however that ends: the epoch that it is moved under must be
// above those that may have been given out by towers of which it knows nothing.
func (w world) givesOutMore(than uint64) {
	w.Helper()
	if w.databaseRuns(lab.Ansan) != nil {
		w.must(w.StartDatabase(w.Context(), lab.Ansan))
	}
	since := time.Now()
	var opened tale
	w.eventually(time.Minute, "a move is opened", func() error {
		p, err := w.primary(others(lab.Pangyo)...)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second) // it follows the run, which may ask people something
		defer cancel()
		said, err := w.Haechi(ctx, "failover", "talk-db", "--to", string(others(lab.Pangyo, p)[0]))
		all, unread := w.runs(lab.Anyang, since)
		if i := slices.IndexFunc(all, func(r tale) bool { return r.Plan.Kind == plan.Failover }); i >= 0 {
			opened = all[i]
			return nil
		}
		return fmt.Errorf("%s: %w", said, errors.Join(err, unread, errors.New("no run was opened")))
	})
	if got := opened.Epochs["talk-db"]; got <= than {
		w.Errorf("run %s moves the store under epoch %d, which may have been given out before: it must be above %d", opened.ID, got, than)
	}
}

// A tower comes back with an older copy of its disk: it has forgotten what it agreed to. It stops, counts for nothing, and
// says what to do; that done, it is seated anew.
func TestTowerWithAnOldDiskIsHealedByTheWayItPrints(t *testing.T) {
	w := raise(t, "fast")
	disk, copied := w.At(lab.Anyang, "tower", "data"), t.TempDir()
	w.must(w.KillProcess(t.Context(), lab.Anyang, lab.RoleTower))
	shell(t, "cp", "-a", disk+"/.", copied)
	w.must(w.StartProcess(t.Context(), lab.Anyang, lab.RoleTower))
	w.sound()
	for range 10 {
		w.haechi("hold", "--why", "so that something is agreed")
		w.haechi("hold", "--release")
	}
	w.lead(lab.Pangyo)
	w.must(w.KillProcess(t.Context(), lab.Anyang, lab.RoleTower))
	w.must(w.LoseDisk(lab.Anyang))
	shell(t, "cp", "-a", copied+"/.", disk)
	since := time.Now()
	w.must(w.StartProcess(t.Context(), lab.Anyang, lab.RoleTower))
	n := w.shows(lab.Anyang, 30*time.Second, "that its disk is of an older copy, and what to do", func(n web.Now) bool {
		return !n.Quorum.Have && says(n, "restored from a copy", "stop the tower, mv ", "seated anew")
	})
	move := regexp.MustCompile(`stop the tower, mv (\S+) (\S+), start it`).FindStringSubmatch(fmt.Sprint(n.Warnings))
	if move == nil {
		t.Fatalf("it does not say what to move: %s", brief(n))
	}
	w.must(w.KillProcess(t.Context(), lab.Anyang, lab.RoleTower))
	shell(t, "mv", move[1], move[2])
	w.must(w.StartProcess(t.Context(), lab.Anyang, lab.RoleTower))
	w.ended(lab.Pangyo, time.Minute, since, string(plan.Reseat), run.StatusDone)
	w.shows(lab.Anyang, 20*time.Second, "that it is one of the towers again", func(n web.Now) bool { return n.Quorum.Have && n.Estate.Version > 0 })
	w.sound()
	w.stays(lab.Pangyo, since)
}

// shell runs a program that has to end well.
func shell(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// oldRelease is the commit before whose towers and agents work with those of this one.
const oldRelease = "70dfeb8"

// A run that a tower of the release before has begun is ended by this one; then the rest is upgraded, tower by
// tower and agent by agent, and a site burns.
func TestTwoReleasesWorkTogether(t *testing.T) {
	old := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "../../scripts/build-at", oldRelease, old).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// The release before asks more of slow database hosts than this one; in profile default they can bear it.
	w := raise(t, "default", func(o *lab.Options) {
		o.Others = map[string]string{}
		for _, p := range lab.Sites() {
			o.Others[string(p)+"/haechi"], o.Others[string(p)+"/haechi-agent"] = old, old
		}
	})
	driver := w.driver(lab.Sites()...)
	for _, p := range others(driver) {
		w.upgrade(p, lab.RoleTower)
	}
	w.sound()
	figures := w.under(func() lab.Proof {
		var killed lab.Proof
		follows := func(ev run.Event, v plan.Verb) bool { return ev.Kind == run.Began && v == plan.Follow }
		kill := func(driver lab.Place) { killed = w.must(w.KillProcess(t.Context(), driver, lab.RoleTower)) }
		_, id, reached := w.at(follows, kill)
		// The release before gives a seal less time than a slow machine needs, and takes its run back then.
		for tries := 1; !reached && tries < 8; tries++ {
			w.sound()
			_, id, reached = w.at(follows, kill)
		}
		if !reached {
			t.Fatal("no run had such a step")
		}
		if r := w.finishes(others(driver)[0], id, time.Minute); r.Status() != run.StatusDone {
			t.Fatalf("run %s that the release before began is %s: %s", id, r.Status(), r.Closed)
		}
		return killed
	}, func(tr *trial.Trial) {
		if tr.System = (silent{}); slow {
			tr.Clients, tr.Rate = 4, 20 // each session of a primary that ends takes of the time that the release before gives a seal
		}
	})
	w.served(figures)
	if err := w.Use(t.Context(), driver, "haechi", ""); err != nil {
		t.Fatal(err)
	}
	w.must(w.StartProcess(t.Context(), driver, lab.RoleTower))
	w.upgrade(lab.Ansan, lab.RoleAgent) // one agent of this release, two of the one before
	w.shows(lab.Ansan, 2*time.Minute, "no run", func(n web.Now) bool { return n.Quorum.Have && !slices.ContainsFunc(n.Runs, web.Run.Open) })
	p, err := w.primary(lab.Sites()...)
	if err != nil {
		t.Fatal(err)
	}
	w.served(w.under(func() lab.Proof { return w.must(w.Fire(t.Context(), p)) }, gone(p)))
}

// upgrade has a site's tower or agent start anew as this release's.
func (w world) upgrade(p lab.Place, role lab.Role) {
	w.Helper()
	name := map[lab.Role]string{lab.RoleTower: "haechi", lab.RoleAgent: "haechi-agent"}[role]
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	if err := w.Use(ctx, p, name, ""); err != nil {
		w.Fatal(err)
	}
	w.must(w.KillProcess(ctx, p, role))
	w.must(w.StartProcess(ctx, p, role))
}
