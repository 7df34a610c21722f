package etcd_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/state/etcdtest"
)

// until polls ok, and fails the test if it stays false.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for !ok() {
		select {
		case <-every.C:
		case <-ctx.Done():
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

// run starts a member; stop ends it once, at the end of the test at the latest.
func run(t testing.TB, c etcd.Config) (m *etcd.Member, stop func()) {
	t.Helper()
	m, err := etcd.Start(t.Context(), c)
	must(t, err)
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			must(t, m.Stop())
		}
	}
	t.Cleanup(stop)
	return m, stop
}

// has says whether a member finds a key, through elections that end meanwhile.
func has(t testing.TB, m *etcd.Member, key string) bool {
	t.Helper()
	for {
		got, err := m.Client().Get(within(t, 20*time.Second), key)
		if !errors.Is(err, rpctypes.ErrLeaderChanged) {
			must(t, err)
			return len(got.Kvs) == 1
		}
	}
}

// set writes a key, through elections that end meanwhile.
func set(t testing.TB, m *etcd.Member, key string) {
	t.Helper()
	for {
		_, err := m.Client().Put(within(t, 20*time.Second), key, "v")
		if !errors.Is(err, rpctypes.ErrLeaderChanged) {
			must(t, err)
			return
		}
	}
}

func list(t testing.TB, m *etcd.Member) []etcd.Seat {
	t.Helper()
	for {
		all, err := etcd.Seats(within(t, 20*time.Second), m.Client())
		if !errors.Is(err, rpctypes.ErrLeaderChanged) {
			must(t, err)
			return all
		}
	}
}

func seats(t testing.TB, m *etcd.Member) (out string) {
	t.Helper()
	all := list(t, m)
	var words []string
	for _, s := range all {
		word := s.Name
		if word == "" {
			word = "invited"
		}
		if s.Learner {
			word += " learner"
		}
		words = append(words, word)
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func seatOf(t testing.TB, m *etcd.Member, c etcd.Config) etcd.Seat {
	t.Helper()
	all := list(t, m)
	i := slices.IndexFunc(all, func(s etcd.Seat) bool { return s.Addr == c.InitialCluster[c.Name] })
	if i < 0 {
		t.Fatalf("%s has no seat: %v", c.Name, all)
	}
	return all[i]
}

func promote(t testing.TB, m *etcd.Member, id uint64) {
	t.Helper()
	until(t, "the learner has caught up", func() bool {
		err := etcd.Promote(within(t, 20*time.Second), m.Client(), id)
		if !errors.Is(err, etcd.ErrBehind) {
			must(t, err)
		}
		return err == nil
	})
}

// A member whose disk was lost has forgotten what it agreed to. It waits, and comes back as another one.
func TestADiskThatWasLost(t *testing.T) {
	all := cluster(t, 3)
	a, _ := run(t, all[0])
	run(t, all[1])
	_, stopC := run(t, all[2])
	put(t, a)
	until(t, "all have started", func() bool { return seats(t, a) == "tower-1, tower-2, tower-3" })
	was := seatOf(t, a, all[2])
	stopC()
	must(t, os.RemoveAll(all[2].DataDir))

	_, err := etcd.Start(t.Context(), all[2])
	if !errors.Is(err, etcd.ErrNoSeat) || !strings.Contains(err.Error(), "seated anew") {
		t.Fatalf("without its data: %v", err)
	}
	ctx := within(t, 20*time.Second)
	must(t, etcd.Remove(ctx, a.Client(), was.ID))
	must(t, etcd.Remove(ctx, a.Client(), was.ID)) // what is done does no harm
	if _, err := etcd.Start(t.Context(), all[2]); !errors.Is(err, etcd.ErrNoSeat) || !strings.Contains(err.Error(), "no seat for it yet") {
		t.Fatalf("after it was taken out: %v", err)
	}
	must(t, all[0].Invite(ctx, a.Client(), all[2].InitialCluster["tower-3"]))
	if got := seats(t, a); got != "invited learner, tower-1, tower-2" {
		t.Fatal(got)
	}
	c, _ := run(t, all[2])
	now := seatOf(t, a, all[2])
	if now.ID == was.ID {
		t.Fatal("it came back under its old identity")
	}
	promote(t, a, now.ID)
	until(t, "it votes", func() bool { return seats(t, a) == "tower-1, tower-2, tower-3" })
	if !has(t, c, "k") {
		t.Fatal("it does not hold what was written before")
	}
}

// Nobody answers: what looks like a first start may be a lost disk in a site whose network is not back yet.
func TestWithoutDataAndWithoutAnAnswerItWaits(t *testing.T) {
	c := cluster(t, 3)[0]
	must(t, os.RemoveAll(c.DataDir))
	if _, err := etcd.Start(t.Context(), c); !errors.Is(err, etcd.ErrNoSeat) || !strings.Contains(err.Error(), "none of the others answers") {
		t.Fatalf("err = %v", err)
	}
	if etcd.HasData(c.DataDir) {
		t.Fatal("it made data of its own")
	}
}

func TestAFirstStartIsOne(t *testing.T) {
	c := etcdtest.Config(t)
	m, stop := run(t, c)
	put(t, m)
	stop()
	if err := etcd.Prepare(c.DataDir); err == nil {
		t.Fatal("a directory with data was prepared for a first start")
	}
	must(t, os.RemoveAll(filepath.Join(c.DataDir, "member")))
	if _, err := etcd.Start(t.Context(), c); !errors.Is(err, etcd.ErrNoSeat) {
		t.Fatalf("the mark of the first start outlived it: %v", err)
	}
}

func TestASpareDoesNotStartAsAVoter(t *testing.T) {
	all := cluster(t, 3)
	all[2].Voters = []string{"tower-1", "tower-2"}
	if _, err := etcd.Start(t.Context(), all[2]); !errors.Is(err, etcd.ErrNoSeat) || !strings.Contains(err.Error(), "none of those that vote at first") {
		t.Fatalf("err = %v", err)
	}
}

// An old voter that comes back after it was taken out is told, and nothing that it holds counts.
func TestAVoterThatWasTakenOut(t *testing.T) {
	all := cluster(t, 3)
	a, _ := run(t, all[0])
	run(t, all[1])
	c, stopC := run(t, all[2])
	put(t, a)
	until(t, "all have started", func() bool { return seats(t, a) == "tower-1, tower-2, tower-3" })
	stopC()
	must(t, etcd.Remove(within(t, 20*time.Second), a.Client(), seatOf(t, a, all[2]).ID))
	put(t, a)

	c, _ = run(t, all[2])
	select {
	case <-c.Failed():
	case <-time.After(30 * time.Second):
		t.Fatal("it was never told")
	}
	if !c.Removed() || c.OldCopy() || !strings.Contains(c.Failure(), "taken this tower out") || c.HasLeader() {
		t.Fatalf("removed %v, %q, leader %v", c.Removed(), c.Failure(), c.HasLeader())
	}
	if _, err := c.Client().Get(t.Context(), "k", clientv3.WithSerializable()); err == nil {
		t.Fatal("it goes on answering")
	}
	to, err := etcd.SetAside(all[2].DataDir, "removed", time.Now())
	must(t, err)
	if !etcd.HasData(to) || etcd.HasData(all[2].DataDir) {
		t.Fatal("its data was not set aside")
	}
}

// copied is a file with what a member holds.
func copied(t testing.TB, write func(*bytes.Buffer) error) string {
	t.Helper()
	var b bytes.Buffer
	must(t, write(&b))
	file := filepath.Join(t.TempDir(), "copy")
	must(t, os.WriteFile(file, b.Bytes(), 0o600))
	return file
}

func TestRestoreMakesAnotherCluster(t *testing.T) {
	ctx := within(t, 60*time.Second)
	c := etcdtest.Config(t)
	m, stop := run(t, c)
	put(t, m)
	before, err := etcd.ClusterID(ctx, m.Client())
	must(t, err)
	file := copied(t, func(b *bytes.Buffer) error { return etcd.Copy(ctx, m.Client(), b) })
	stop()

	if err := etcd.Restore(c, file, "new"); err == nil || !strings.Contains(err.Error(), "holds data already") {
		t.Fatalf("over data that is there: %v", err)
	}
	c.DataDir = filepath.Join(t.TempDir(), "etcd")
	must(t, etcd.Restore(c, file, "new"))
	m, _ = run(t, c)
	put(t, m)
	after, err := etcd.ClusterID(ctx, m.Client())
	must(t, err)
	if before == after || m.Status().Cluster != after {
		t.Fatalf("cluster %x, then %x", before, after)
	}
}

func TestWhatCannotBeRestoredLeavesNothing(t *testing.T) {
	ctx := within(t, 60*time.Second)
	c := etcdtest.Config(t)
	m, stop := run(t, c)
	put(t, m)
	file := copied(t, func(b *bytes.Buffer) error { return etcd.Copy(ctx, m.Client(), b) })
	stop()
	whole, err := os.ReadFile(file)
	must(t, err)
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for name, content := range map[string][]byte{"Truncated": whole[:len(whole)/2], "NoHash": whole[:len(whole)-32], "Empty": nil, "Flipped": flipped} {
		t.Run(name, func(t *testing.T) {
			must(t, os.WriteFile(file, content, 0o600))
			c.DataDir = filepath.Join(t.TempDir(), "etcd")
			if err := etcd.Restore(c, file, "new"); err == nil {
				t.Fatal("restored")
			}
			left, err := os.ReadDir(filepath.Dir(c.DataDir))
			must(t, err)
			if len(left) != 0 {
				t.Fatalf("it left %v", left)
			}
		})
	}
}

// One of three goes on by itself, with all that it had heard of; the others, when they come back, are no
// part of it, and it is none of theirs.
func TestOneGoesOnAlone(t *testing.T) {
	ctx := within(t, 90*time.Second)
	all := cluster(t, 3)
	a, stopA := run(t, all[0])
	_, stopB := run(t, all[1])
	_, stopC := run(t, all[2])
	put(t, a)
	set(t, a, "last")
	stopA()
	stopB()
	stopC()

	file := copied(t, func(b *bytes.Buffer) error { return etcd.Alone(ctx, all[0], b) })
	left, err := os.ReadDir(filepath.Dir(all[0].DataDir))
	must(t, err)
	if slices.ContainsFunc(left, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".alone") }) {
		t.Fatalf("its copy was left: %v", left)
	}
	alone := all[0]
	alone.Voters = []string{"tower-1"}
	_, err = etcd.SetAside(alone.DataDir, "before", time.Now())
	must(t, err)
	must(t, etcd.Restore(alone, file, "alone"))
	m, _ := run(t, alone)
	if !has(t, m, "last") || seats(t, m) != "tower-1" {
		t.Fatalf("last: %v, %s", has(t, m, "last"), seats(t, m))
	}

	b, _ := run(t, all[1])
	c, _ := run(t, all[2])
	put(t, b)
	set(t, m, "only")
	for _, other := range []*etcd.Member{b, c} {
		if has(t, other, "only") || other.Status().Cluster == m.Status().Cluster {
			t.Fatal("two clusters have mixed")
		}
	}
	if len(m.Status().Seats) != 1 {
		t.Fatalf("seats: %v", m.Status().Seats)
	}
}

func TestAloneNeedsData(t *testing.T) {
	if err := etcd.Alone(context.Background(), etcdtest.Config(t), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "holds no data") {
		t.Fatalf("err = %v", err)
	}
}

// A disk that was restored from an older copy has forgotten what it agreed to. It stops and says what to do.
func TestAnOldCopyOfADisk(t *testing.T) {
	all := cluster(t, 3)
	a, _ := run(t, all[0])
	run(t, all[1])
	_, stop := run(t, all[2])
	put(t, a)
	until(t, "all have started", func() bool { return seats(t, a) == "tower-1, tower-2, tower-3" })
	stop()
	old := filepath.Join(t.TempDir(), "old")
	must(t, os.CopyFS(old, os.DirFS(all[2].DataDir)))
	c, stop := run(t, all[2])
	for range 20 {
		put(t, a)
	}
	until(t, "it has what was written since", func() bool { return c.Status().Applied >= a.Status().Applied })
	stop()
	must(t, os.RemoveAll(all[2].DataDir))
	must(t, os.CopyFS(all[2].DataDir, os.DirFS(old)))

	c, err := etcd.Start(t.Context(), all[2])
	must(t, err)
	t.Cleanup(func() { _ = c.Stop() }) // what gave up cannot be stopped in good order
	select {
	case <-c.Failed():
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on as if nothing were missing")
	}
	if why := c.Failure(); c.Removed() || !c.OldCopy() || !strings.Contains(why, "restored from a copy") {
		t.Fatalf("removed %v, old copy %v, %q", c.Removed(), c.OldCopy(), why)
	}
}
