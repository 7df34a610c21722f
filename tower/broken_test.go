package tower

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/web"
)

func TestATowerWithAFullDiskIsStartedAnewWhenThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		began := time.Now()
		time.AfterFunc(time.Hour, func() { free.Store(etcd.LeastFree) })
		if !awaitRoom(t.Context(), free.Load, restFor, roomEvery) {
			t.Fatal("it gave up")
		}
		if took := time.Since(began); took < time.Hour || took > time.Hour+2*roomEvery {
			t.Fatalf("it went on after %v", took)
		}

		began = time.Now() // it was not the disk
		if !awaitRoom(t.Context(), free.Load, restFor, roomEvery) || time.Since(began) != restFor {
			t.Fatalf("it went on after %v", time.Since(began))
		}

		free.Store(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if awaitRoom(ctx, free.Load, restFor, roomEvery) {
			t.Fatal("it went on without room")
		}
	})
}

// Each way in which a member gives up has its own remedy.
func TestAMemberThatGaveUpSaysWhatHelps(t *testing.T) {
	c := Config{Name: "tower-a", Data: "/var/lib/haechi"}
	roomy := etcd.Status{FreeBytes: 10 * etcd.LeastFree}
	for _, x := range []struct {
		s         etcd.Status
		f         gaveUp
		do, never string
	}{
		{roomy, gaveUp{why: "older", oldCopy: true}, "mv /var/lib/haechi/etcd /var/lib/haechi/etcd.old", "room"},
		{etcd.Status{}, gaveUp{why: "older", oldCopy: true}, "mv /var/lib/haechi/etcd ", "room"},
		{roomy, gaveUp{why: "write wal: no space left on device"}, "make room on the disk", "mv "},
		{etcd.Status{}, gaveUp{why: "failed to commit"}, "make room on the disk", "mv "},
		{roomy, gaveUp{why: "failed to read"}, "starts anew by itself", "room"},
		{roomy, gaveUp{why: "taken out", removed: true}, "nothing", "room"},
		{roomy, gaveUp{}, "bring the other towers back", "room"},
		{etcd.Status{HasLeader: true}, gaveUp{}, "make room", "mv "},
	} {
		if f := judgeMember(c, x.s, x.f); f.Level == web.Fine || !strings.Contains(f.Do, x.do) || strings.Contains(f.Do, x.never) {
			t.Errorf("%+v: %+v", x.f, f)
		}
	}
	if f := judgeMember(c, etcd.Status{HasLeader: true, FreeBytes: 10 * etcd.LeastFree}, gaveUp{}); f.Level != web.Fine || f.Do != "" {
		t.Errorf("of one that is well: %+v", f)
	}
}

// A tower whose disk was restored from an older copy would find the same again: it says what to do, and is not started anew.
func TestAnOldCopyOfADiskIsNotStartedAgainAndAgain(t *testing.T) {
	w := newTown(t, "a", "b", "c")
	for _, s := range []string{"a", "b", "c"} {
		w.up(s)
	}
	dir, old := w.cfg["c"].etcd(nil).DataDir, filepath.Join(t.TempDir(), "old")
	d := w.driver()
	w.down("c")
	must(t, os.CopyFS(old, os.DirFS(dir)))
	c := w.up("c")
	for range 20 {
		_, err := w.nodes["a"].store.Note(within(t), journal.Entry{Kind: "note", Text: "written since"})
		must(t, err)
	}
	until(t, "it has what was written since", func() bool { return c.member.Status().Applied >= d.member.Status().Applied })
	w.down("c")
	must(t, os.RemoveAll(dir))
	must(t, os.CopyFS(dir, os.DirFS(old)))

	c, err := w.start(w.cfg["c"], logged(t))
	must(t, err)
	t.Cleanup(func() { _ = c.Stop() }) // what gave up cannot be stopped in good order
	until(t, "it gives up", c.member.OldCopy)
	if !response.Idle(c.alive()) {
		t.Errorf("it says %v of itself: the others would go on waiting for what it drives", c.alive())
	}
	c.watchMember(within(t))
	select {
	case why := <-c.Broken():
		t.Fatalf("it is to be started anew: %v", why)
	default:
	}
	if !slices.ContainsFunc(c.own(time.Now()), func(f web.Finding) bool {
		return f.Level == web.Bad && strings.Contains(f.Text, "restored from a copy") && strings.Contains(f.Do, "mv "+dir)
	}) {
		t.Fatalf("it does not say what to do: %+v", c.own(time.Now()))
	}
}

func TestRunSaysWhyItCannotStart(t *testing.T) {
	c := newPlace(t).config()
	c.Listen.Page = "127.0.0.1:1x"
	if err := Run(t.Context(), c, logged(t)); err == nil || errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "listen.page") {
		t.Fatalf("err = %v", err)
	}
}
