package tower

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/tower/executor"
	"github.com/haechi/haechi/tower/web"
)

// threeUp is a town of three towers that run and are armed, and the one that drives.
func threeUp(t *testing.T) (*town, *Node) {
	t.Helper()
	w := newTown(t, "a", "b", "c")
	for _, s := range []string{"a", "b", "c"} {
		w.up(s)
	}
	d := w.driver()
	w.apply(d, w.estate())
	must(t, d.Arm(within(t), "operator", "*"))
	return w, d
}

// One of three towers drives. Where another claims, the first can write nothing any more; where the
// one that drives is gone, another claims by itself, and a run goes on.
func TestThreeTowersHaveOneDriver(t *testing.T) {
	leavesNothing(t)
	w, first := threeUp(t)

	old, _ := first.driving()
	var second *Node
	for _, n := range w.nodes {
		if n != first {
			second = n
		}
	}
	_, err := second.Start(within(t), "operator", web.Ask{Kind: plan.Evacuate, Subject: "a"})
	refusedAs(t, err, web.NotDriver, first.cfg.Name+" drives")

	d, err := second.claim(within(t), old)
	must(t, err)
	if d.Term != old.Term+1 {
		t.Fatalf("it claimed term %d after %d", d.Term, old.Term)
	}
	if _, err := first.claim(within(t), old); err == nil {
		t.Fatal("two claims of one term succeeded")
	}
	err = first.book.Append(within(t), old.Term, []run.Event{{Run: "r-000001", Seq: 1, Kind: run.Opened, Plan: &plan.Plan{}}}, executor.Change{})
	if !errors.Is(err, executor.ErrDeposed) {
		t.Fatalf("the deposed tower appends: %v", err)
	}
	until(t, "the first knows that it is deposed", func() bool { return !first.isDriving() })

	// The evacuation is in the middle of its step when its tower dies.
	hung := make(chan struct{})
	w.hang(hung)
	var id run.ID
	until(t, "whoever drives starts it", func() bool { // where the machine is starved a third may have claimed meanwhile
		second = w.driver()
		from := "a"
		if second.cfg.Name == "tower-a" {
			from = "b" // its site dies with it, and that would supersede the evacuation
		}
		id, err = second.Start(within(t), "operator", web.Ask{Kind: plan.Evacuate, Subject: from})
		return err == nil
	})
	<-hung
	w.down(strings.TrimPrefix(second.cfg.Name, "tower-"))
	third := w.driver()
	if now, _ := third.driving(); now.Term <= d.Term {
		t.Fatalf("term %d after %d", now.Term, d.Term)
	}
	if r := closed(t, third, id); r.Status != web.RunDone {
		t.Fatalf("run = %+v", r)
	}
}

// A tower that hears nobody takes its own site's answers out of its own servers; when the
// others are back it brings the servers level, and the journal gets what was done meanwhile.
func TestAnIsolatedTowerWithdrawsAndRejoins(t *testing.T) {
	w := newTown(t, "a", "b", "c")
	for _, s := range []string{"a", "b", "c"} {
		w.up(s)
	}
	w.apply(w.driver(), w.estate())
	must(t, w.nodes["b"].Arm(within(t), "operator", "*"))
	a := w.nodes["a"]
	until(t, "a knows that it may act, and hears the others", func() bool {
		b := a.beliefs()
		return len(b.snap.Armed) == 1 && len(b.now.Cut) == 0 && len(b.now.Sites["b"].Because) > 0 && len(b.views) == 3
	})
	w.down("b")
	w.down("c")
	until(t, "the answers of a are out at its own server", func() bool { return w.world.Is("withdraw talk.example. @a") && a.isolation.withdrawn(a.beliefs()) })
	spool := filepath.Join(w.cfg["a"].Data, "spool.jsonl")
	if _, err := os.Stat(spool); err != nil {
		t.Fatal(err)
	}
	if a.quorum().Have {
		t.Fatal("one of three has a quorum")
	}
	_, err := a.JournalHead(within(t))
	refusedAs(t, err, web.NoQuorum, "journal")
	_, err = a.Start(within(t), "operator", web.Ask{Kind: plan.Evacuate, Subject: "a"})
	if err == nil {
		t.Fatal("it started a run without a quorum")
	}

	w.up("b")
	until(t, "the spool is handed over", func() bool { return len(a.isolation.spool.held()) == 0 })
	if _, err := os.Stat(spool); !os.IsNotExist(err) {
		t.Fatalf("the spool is still there: %v", err)
	}
	if !w.world.Is("level ns-a @a") {
		t.Fatalf("it answers without having been brought level: %v", w.world.Effects())
	}
	entries, err := a.Journal(within(t), 1, 0)
	must(t, err)
	var texts []string
	for _, e := range entries {
		if e.Kind == "spool" {
			texts = append(texts, e.Text)
		}
	}
	if all := strings.Join(texts, "\n"); !strings.Contains(all, "tower-a, alone: local-a-1: opened, cut-users a") || !strings.Contains(all, "local-a-2: opened, level-dns ns-a") {
		t.Fatalf("the journal says:\n%s", all)
	}
}
