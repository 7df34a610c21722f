package tower

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/seats"
	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/web"
)

// seatedIn starts a tower as its program does: without data it waits until it is seated.
func (w *town) seatedIn(site string) <-chan *Node {
	ctx, cancel := context.WithCancel(w.t.Context())
	up := make(chan *Node, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n, err := seatAndStart(ctx, w.cfg[site], logged(w.t).With("tower", site), w.start)
		if err != nil && ctx.Err() == nil {
			w.t.Errorf("start %s: %v", site, err)
		}
		if n != nil {
			up <- n
		}
	}()
	w.t.Cleanup(func() { cancel(); <-done })
	return up
}

func (w *town) states(n *Node) string {
	all, err := n.agreedSeats(within(w.t), n.beliefs())
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, t := range all {
		out = append(out, string(t.ID)+" "+string(t.Is))
	}
	return strings.Join(out, ", ")
}

// A tower whose disk is new says so, takes no vote for itself, and is seated by the others: also the one that drove, which
// answers again before anybody takes it for dead.
func TestATowerThatLostItsDiskIsSeatedAnew(t *testing.T) {
	for name, drove := range map[string]bool{"ThatDrove": true, "AnotherThanTheDriver": false} {
		t.Run(name, func(t *testing.T) {
			w, d := threeUp(t)
			lost := string(d.cfg.Site)
			for s, n := range w.nodes {
				if !drove && n != d {
					lost = s
				}
			}
			w.losesItsDisk(lost)
			if got := w.nodes[lost].seat(); got != seats.Voter {
				t.Fatalf("it takes itself for %q", got)
			}
		})
	}
}

// losesItsDisk has the tower of a site start anew without data, and waits until it votes again.
func (w *town) losesItsDisk(site string) {
	t := w.t
	t.Helper()
	w.down(site)
	must(t, os.RemoveAll(w.cfg[site].etcd(nil).DataDir))
	up := w.seatedIn(site)
	select {
	case n := <-up:
		w.nodes[site] = n
		t.Cleanup(func() { w.down(site) })
	case <-within(t).Done():
		for s, n := range w.nodes {
			t.Errorf("the tower in %s believes that %s drives, and of seats %+v", s, n.beliefs().snap.Drive.Tower, n.seated(n.beliefs()))
		}
		t.Fatal("it was never seated")
	}
	until(t, "it votes again", func() bool { return w.states(w.driver()) == "tower-a voter, tower-b voter, tower-c voter" })
	until(t, "the run is over", func() bool {
		for _, r := range w.driver().Now().Runs {
			if r.Kind == string(plan.Reseat) {
				return r.Status == web.RunDone
			}
		}
		return false
	})
}

// A tower whose seat was given to another sets its data aside, and goes on as a new process that waits.
func TestATowerThatWasTakenOutSetsItsDataAside(t *testing.T) {
	w := newTown(t, "a", "b", "c")
	for _, s := range []string{"a", "b", "c"} {
		w.up(s)
	}
	w.driver()
	a, c := w.nodes["a"], w.nodes["c"]
	must(t, etcd.Remove(within(t), a.client, c.member.Status().ID))
	select {
	case why := <-c.Broken():
		if !errors.Is(why, ErrBroken) || !strings.Contains(why.Error(), "waits to be seated anew") {
			t.Fatal(why)
		}
	case <-within(t).Done():
		t.Fatal("it goes on")
	}
	dir := w.cfg["c"].etcd(nil).DataDir
	kept, err := filepath.Glob(dir + ".removed-*")
	must(t, err)
	if etcd.HasData(dir) || len(kept) != 1 || !etcd.HasData(kept[0]) {
		t.Fatalf("its data: %v", kept)
	}
	if c.quorum().Have {
		t.Fatal("it still takes itself for one of the towers")
	}
}

// A spare stands by: it is a learner, and says that it has no vote.
func TestASpareStandsBy(t *testing.T) {
	w := newTown(t, "a", "b", "c", "d")
	if err := Init(t.Context(), w.cfg["d"]); !errors.Is(err, ErrStandsBy) {
		t.Fatalf("init of a spare: %v", err)
	}
	must(t, etcd.Unprepare(w.cfg["d"].etcd(nil).DataDir)) // as the fixture has it
	for _, s := range []string{"a", "b", "c"} {
		w.up(s)
	}
	up := w.seatedIn("d")
	d := w.driver()
	w.apply(d, w.estate())
	until(t, "it is seen to wait", func() bool {
		return slices.ContainsFunc(d.seated(d.beliefs()), func(t seats.Tower) bool { return t.ID == "tower-d" && t.Waits })
	})
	_, err := d.Start(within(t), "kim", web.Ask{Kind: plan.Reseat, Subject: plan.Towers})
	must(t, err)
	select {
	case n := <-up:
		w.nodes["d"] = n
		t.Cleanup(func() { w.down("d") })
	case <-within(t).Done():
		t.Fatal("it was never seated")
	}
	until(t, "it is a learner", func() bool {
		return strings.HasSuffix(w.states(d), "tower-d learner") && w.nodes["d"].seat() == seats.Learner
	})
}

// snapshot copies a town's records into a file.
func (w *town) snapshot(n *Node) string {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "snapshot")
	f, err := os.Create(file)
	must(w.t, err)
	must(w.t, n.Snapshot(within(w.t), "kim", f))
	must(w.t, f.Close())
	return file
}

func kim(why string) Person { return Person{By: "kim", Why: why} }

// restore makes the data of some towers of a snapshot, the first of them drawing the code.
func (w *town) restore(file string, sites ...string) (code string) {
	w.t.Helper()
	for _, s := range sites {
		_, got, err := Restore(w.t.Context(), w.cfg[s], Restoration{File: file, Code: code}, kim("the disks burned"))
		must(w.t, err)
		code = got
	}
	return code
}

// A snapshot is restored twice. The tower that still holds what the first restore made is no part of what the second
// one makes: the two go other ways, though they began with the same records and the same voters.
func TestTwoRestoresOfOneSnapshotAreTwoClusters(t *testing.T) {
	w := newTown(t, "a", "b", "c")
	all := []string{"a", "b", "c"}
	for _, s := range all {
		w.up(s)
	}
	d := w.driver()
	w.apply(d, w.estate())
	file := w.snapshot(d)
	lose := func(sites ...string) {
		for _, s := range sites {
			must(t, os.RemoveAll(w.cfg[s].Data))
		}
	}
	begun := func(n *Node) {
		until(t, "a new line has begun", func() bool { return n.store.Snapshot().Line.Number == 2 && !n.store.Foreign() })
	}
	for _, s := range all {
		w.down(s)
	}
	lose(all...)
	code := w.restore(file, "a", "b")
	if _, _, err := Restore(t.Context(), w.cfg["b"], Restoration{File: file}, kim("again")); err == nil || !strings.Contains(err.Error(), "restored with --code "+code) {
		t.Fatalf("where it was restored already: %v", err)
	}
	if _, _, err := Restore(t.Context(), w.cfg["c"], Restoration{File: file, Code: "aaaa-bbbb-cccc"}, kim("a slip")); err == nil || etcd.HasData(w.cfg["c"].etcd(nil).DataDir) {
		t.Fatalf("with a code that is none: %v", err)
	}
	_, _, err := Restore(t.Context(), w.cfg["c"], Restoration{File: file, Code: code}, kim("the disks burned"))
	must(t, err)
	for _, s := range all {
		w.up(s)
	}
	for _, n := range w.nodes {
		begun(n)
	}
	first := w.nodes["c"].store.Cluster()
	for _, s := range all {
		w.down(s)
	}

	lose("a", "b")
	if second := w.restore(file, "a", "b"); second == code {
		t.Fatal("two restores drew one code")
	}
	a, b := w.up("a"), w.up("b")
	begun(a)
	begun(b)
	if got := a.store.Cluster(); got == first || got != b.store.Cluster() {
		t.Fatalf("the first restore made cluster %s, the second %s and %s", first, got, b.store.Cluster())
	}
	c := w.up("c")
	until(t, "both sides say that they were restored apart", func() bool {
		says := func(n *Node, of, do string) bool {
			return slices.ContainsFunc(n.lineFindings(), func(f web.Finding) bool {
				return f.Subject == of && strings.Contains(f.Text, "restored apart") && strings.Contains(f.Do, do)
			})
		}
		return says(a, "tower-c", "on its host: stop it") && says(c, "tower-a", "stop tower-c, mv ")
	})
	if c.quorum().Have || c.store.Cluster() != first || !a.quorum().Have {
		t.Fatalf("c has a quorum: %v, cluster %s; a has one: %v", c.quorum().Have, c.store.Cluster(), a.quorum().Have)
	}
	must(t, a.Waive(within(t), "kim", "ns-a", "there is no such host"))
	until(t, "the majority drives all the same", func() bool { return a.isDriving() || b.isDriving() })
	if _, err := a.drive(within(t)); err != nil {
		refusedAs(t, err, web.NotDriver, "drives")
	}
}

// All disks are lost: the towers go on from a snapshot, disarmed, and nobody drives before the agents were
// asked, or a person has waived them by name.
func TestRestoreOfAllTowers(t *testing.T) {
	w := newTown(t, "a", "b", "c")
	for _, s := range []string{"a", "b", "c"} {
		w.up(s)
	}
	d := w.driver()
	w.apply(d, withStore(w.estate(), 1))
	must(t, d.Arm(within(t), "kim", "a"))
	file := w.snapshot(d)
	term, _ := d.driving()
	h, err := ReadSnapshot(file, io.Discard)
	must(t, err)
	if h.Estate != "test" || h.Term != term.Term || h.By != "kim" || h.Version != 1 {
		t.Fatalf("%+v", h)
	}
	if _, _, err := Restore(t.Context(), w.cfg["a"], Restoration{File: file}, kim("a test")); err == nil || !strings.Contains(err.Error(), "holds data") {
		t.Fatalf("over a tower that runs: %v", err)
	}
	w.down("c")
	must(t, os.RemoveAll(w.cfg["c"].Data))
	if _, _, err := Restore(t.Context(), w.cfg["c"], Restoration{File: file}, kim("a test")); err == nil || !strings.Contains(err.Error(), "another tower runs") {
		t.Fatalf("beside towers that run: %v", err)
	}
	for _, s := range []string{"a", "b"} {
		w.down(s)
		must(t, os.RemoveAll(w.cfg[s].Data))
	}
	w.restore(file, "a", "b", "c")
	for _, s := range []string{"a", "b", "c"} {
		w.up(s)
	}
	n := w.nodes["a"]
	until(t, "a new line has begun", func() bool { return n.store.Snapshot().Line.Number == 2 })
	s := n.store.Snapshot()
	if len(s.Armed) != 0 || s.Line.Kind != state.Restored || s.Line.By != "kim" || len(s.Line.Unasked) != 4 {
		t.Fatalf("armed %v, line %+v", s.Armed, s.Line)
	}
	until(t, "it says whom it waits for", func() bool { // what it found last may still be of the line before
		_, err = n.Start(within(t), "kim", web.Ask{Kind: plan.Evacuate, Subject: "a"})
		return err == nil || strings.Contains(err.Error(), "nobody drives before these agents were asked")
	})
	refusedAs(t, err, web.Unmet, "nobody drives before these agents were asked")
	refusedAs(t, n.Waive(within(t), "kim", "nowhere", "gone"), web.NotFound, "nobody waits for")
	for _, host := range s.Line.Unasked {
		must(t, n.Waive(within(t), "kim", string(host), "there is no such host"))
	}
	drives, _ := w.driver().driving()
	if drives.Term <= term.Term+4*1000 {
		t.Fatalf("term %d after %d and four agents that nobody asked", drives.Term, term.Term)
	}
	entries, err := n.Journal(within(t), 1, 0)
	must(t, err)
	must(t, journal.Verify(entries))
	if !slices.ContainsFunc(entries, func(e journal.Entry) bool {
		return strings.Contains(e.Text, "kim restored the towers' records from the snapshot of test that kim took at") && strings.Contains(e.Text, "the disks burned")
	}) {
		t.Fatal("the journal does not say from what it goes on")
	}
	if _, err := os.Stat(w.cfg["a"].turnFile()); !os.IsNotExist(err) {
		until(t, "the word for the first start is gone", func() bool { _, err := os.Stat(w.cfg["a"].turnFile()); return os.IsNotExist(err) })
	}
}

// One is left and goes on alone. The two that were given up come back together, a majority of the old
// cluster, and start nothing.
func TestOneTowerGoesOnAlone(t *testing.T) {
	w, d := threeUp(t)
	term, _ := d.driving()
	if _, err := Recover(t.Context(), w.cfg["a"], kim("a test"), nil, time.Now()); err == nil || !strings.Contains(err.Error(), "stop it first") {
		t.Fatalf("while it runs: %v", err)
	}
	w.down("a")
	if _, err := MayRecover(t.Context(), w.cfg["a"]); err == nil || !strings.Contains(err.Error(), "a majority") {
		t.Fatalf("while the others are there: %v", err)
	}
	w.down("b")
	w.down("c")
	if _, err := Recover(t.Context(), w.cfg["a"], Person{By: "kim"}, nil, time.Now()); err == nil {
		t.Fatal("nobody said why")
	}
	if _, err := Recover(t.Context(), w.cfg["a"], kim("a test"), []estate.SiteID{"a"}, time.Now()); err == nil || !strings.Contains(err.Error(), "own site") {
		t.Fatalf("its own site given up: %v", err)
	}
	kept, err := Recover(t.Context(), w.cfg["a"], kim("two sites burned"), []estate.SiteID{"b", "c"}, time.Now())
	must(t, err)
	if !etcd.HasData(kept) {
		t.Fatalf("what it held before is not at %s", kept)
	}
	a := w.up("a")
	until(t, "a new line has begun", func() bool { return a.store.Snapshot().Line.Kind == state.Recovered })
	must(t, a.Waive(within(t), "kim", "ns-a", "there is no such host"))
	until(t, "it drives", a.isDriving)
	if now, _ := a.driving(); now.Term <= term.Term+1000 {
		t.Fatalf("term %d after %d", now.Term, term.Term)
	}

	b, c := w.up("b"), w.up("c")
	until(t, "those that were given up know it", func() bool { return !b.quorum().Have && !c.quorum().Have && b.outlived() != "" && c.outlived() != "" })
	until(t, "they are a majority of the old cluster", func() bool { return b.member.HasLeader() && c.member.HasLeader() })
	if b.quorum().Have || c.quorum().Have || b.isDriving() || c.isDriving() {
		t.Fatal("a majority of those that were given up goes on")
	}
	_, err = b.Start(within(t), "kim", web.Ask{Kind: plan.Evacuate, Subject: "b"})
	if no, ok := errors.AsType[*web.Refused](err); !ok || no.Code != web.NoQuorum {
		t.Fatalf("an order to one that was given up: %v", err)
	}
	until(t, "the page of the one that goes on says so", func() bool {
		return slices.ContainsFunc(a.lineFindings(), func(f web.Finding) bool { return f.Subject == "tower-b" && strings.Contains(f.Text, "older records") })
	})
}

func TestWithoutAWordSomebodyRestored(t *testing.T) {
	got, err := readTurn(filepath.Join(t.TempDir(), "none"))
	if err != nil || got.Kind != state.Restored {
		t.Fatalf("%+v, %v", got, err)
	}
	bad := filepath.Join(t.TempDir(), "turn.json")
	must(t, os.WriteFile(bad, []byte("{"), 0o600))
	if _, err := readTurn(bad); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Fatalf("err = %v", err)
	}
}
