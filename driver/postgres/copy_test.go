package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/verify"
)

// folder is an origin: a data directory on this machine.
type folder struct {
	dir       string
	asked     int   // questions so far
	fails     int   // the question that fails, and all after it; 0: none
	sent      int64 // bytes of contents
	spaces    []string
	held      uint64
	torn      map[string]bool // files of which the first answer is torn
	backup    LSN
	eras      []era
	dropAfter string // a file that is gone once it was listed
	huge      string // a file that is listed as large as no disk is
}

var errSilent = again(errors.New("the source fell silent"))

func (o *folder) ask() error {
	if o.asked++; o.fails > 0 && o.asked >= o.fails {
		return errSilent
	}
	return nil
}

func (o *folder) tablespaces(context.Context) ([]string, error) { return o.spaces, o.ask() }
func (o *folder) startBackup(context.Context) (LSN, error)      { return o.backup, o.ask() }
func (o *folder) holds(context.Context) (uint64, error)         { return o.held, o.ask() }
func (o *folder) past() []era                                   { return o.eras }
func (o *folder) checksums() bool                               { return true }

func (o *folder) stopBackup(context.Context) (mark, error) {
	return mark{label: "START WAL LOCATION: 0/2000028\n"}, o.ask()
}

func (o *folder) list(context.Context) (out []copied, err error) {
	err = filepath.WalkDir(o.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == o.dir {
			return err
		}
		info, err := d.Info()
		rel, _ := filepath.Rel(o.dir, path)
		size := info.Size()
		if rel == o.huge {
			size = 1 << 50
		}
		out = append(out, copied{rel, size, d.IsDir()})
		return err
	})
	return out, errors.Join(err, o.ask())
}

func (o *folder) read(path string, at, n int64) []byte {
	raw, err := os.ReadFile(filepath.Join(o.dir, path))
	if err != nil || path == o.dropAfter {
		return nil
	}
	at = min(at, int64(len(raw)))
	return append([]byte{}, raw[at:min(at+n, int64(len(raw)))]...)
}

func (o *folder) bytes(_ context.Context, path string, at, n int64) ([]byte, error) {
	delete(o.torn, path)
	return o.read(path, at, n), o.ask()
}

func (o *folder) hashes(_ context.Context, path string, at []int64, n int64) (out [][]byte, err error) {
	for _, off := range at {
		raw := o.read(path, off, n)
		if raw == nil {
			out = append(out, nil)
			continue
		}
		sum := sha256.Sum256(raw)
		out = append(out, sum[:])
	}
	return out, o.ask()
}

func (o *folder) contents(_ context.Context, path string, at []int64, n int64) (out [][]byte, err error) {
	for _, off := range at {
		raw := o.read(path, off, n)
		o.sent += int64(len(raw))
		if o.torn[path] && len(raw) > 100 {
			raw[100] ^= 0xff
		}
		out = append(out, raw)
	}
	return out, o.ask()
}

// page is a whole page of a block, with a checksum.
func somePage(block uint32, fill byte) []byte {
	p := make([]byte, pageSize)
	for i := 24; i < pageSize; i++ {
		p[i] = fill
	}
	p[14] = 1 // it was used
	verify.SetSum(p, block)
	return p
}

// newFolder is a source with a relation of 40 pages, another small one, and its own configuration.
func newFolder(t *testing.T) *folder {
	t.Helper()
	o := &folder{dir: t.TempDir(), torn: map[string]bool{}, backup: 0x2000028, eras: []era{{1, 0x300}, {2, 0}}}
	var rel []byte
	for b := range uint32(40) {
		rel = append(rel, somePage(b, byte(b))...)
	}
	for name, data := range map[string]string{"PG_VERSION": "15\n", "base/5/1259": string(rel), "base/5/1260": string(somePage(0, 7)), "base/5/empty": "",
		"global/pg_control": "control of the source", "global/1262": string(somePage(0, 1)), "pg_xact/0000": strings.Repeat("x", 300), "pg_wal/00000002.history": "1\t0/300\t\n",
		"pg_wal/000000020000000000000002": "log", "postgresql.conf": "port = 1 # the source's\n", "postgresql.auto.conf": "primary_conninfo = ''\n"} {
		write(t, filepath.Join(o.dir, name), data)
	}
	for _, d := range []string{"pg_wal/archive_status", "pg_notify", "pg_replslot/x"} {
		if err := os.MkdirAll(filepath.Join(o.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// back is a member that comes back, without a server.
type back struct {
	t     *testing.T
	u     *Unit
	m     *agent.Memory
	saved []memory
}

func newBack(t *testing.T, mem memory) *back {
	t.Helper()
	dir := t.TempDir()
	b := &back{t: t, saved: []memory{mem}}
	b.u = &Unit{set: Settings{Store: "talk-db", Member: "pangyo", Data: filepath.Join(dir, "data"), Passfile: filepath.Join(dir, "pass"), Socket: dir, Port: 5499, Log: filepath.Join(dir, "log")},
		local: &local{socket: dir, port: 5499}, log: slog.New(slog.DiscardHandler), secret: []byte("0123456789abcdef")}
	load := func() json.RawMessage { raw, _ := json.Marshal(b.now()); return raw }
	b.m = agent.NewMemory(func() uint64 { return 5 }, load, func(raw json.RawMessage) error {
		var next memory
		err := json.Unmarshal(raw, &next)
		b.saved = append(b.saved, next)
		return err
	})
	return b
}

func (b *back) now() memory { return b.saved[len(b.saved)-1] }

func (b *back) path(name string) string { return filepath.Join(b.u.set.Data, name) }

func (b *back) has(name string) bool {
	_, err := os.Lstat(b.path(name))
	return err == nil
}

func (b *back) text(name string) string {
	raw, _ := os.ReadFile(b.path(name))
	return string(raw)
}

// upstream is whom it comes back to.
var upstream = &agent.Upstream{Member: "ansan", Host: "10.0.0.2", Port: "5432", Credential: 4, Reign: 4}

// copy copies once, as an attempt does that finds what was remembered.
func (b *back) copy(o *folder) error { return b.copyAsked(o, time.Now()) }

// copyAsked does the same for whoever has asked at a time.
func (b *back) copyAsked(o *folder, at time.Time) error {
	a := &attempt{asked: at, order: agent.Order{Verb: agent.Rejoin, Reign: 4, Upstream: upstream}, taken: newTaken(0), cancel: func(error) {}, done: make(chan struct{})}
	j := &backJob{attempt: a, u: b.u, m: b.m, mem: b.now()}
	if j.mem.Rebuild == nil {
		j.mem.Rebuild = &rebuild{Stage: choosing, Kept: "r-1-pangyo", From: "ansan", Reign: 4}
	}
	err := j.copy(b.t.Context(), o)
	if len(a.corrupt) > 0 {
		err = errors.Join(err, fmt.Errorf("corrupt: %v", a.corrupt))
	}
	return err
}

// old gives it a data directory of before: most of it as the source's, something changed, something more.
func (b *back) old(o *folder) {
	for _, name := range []string{"PG_VERSION", "base/5/1259", "base/5/1260", "pg_xact/0000"} {
		raw, _ := os.ReadFile(filepath.Join(o.dir, name))
		write(b.t, b.path(name), string(raw))
	}
	f, err := os.OpenFile(b.path("base/5/1259"), os.O_RDWR, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	_, _ = f.WriteAt([]byte("written beyond the fork"), 20*pageSize+500)
	f.Close()
	write(b.t, b.path("base/5/1260"), string(somePage(0, 7))+string(somePage(1, 8)))
	for name, data := range map[string]string{"base/5/9999": "only here", "base/77/1": "a database that is gone", "pg_wal/000000010000000000000009": "beyond", "pg_replslot/s/state": "x",
		"global/pg_control": "control of before", "backup_label": "old", "postgresql.conf": "port = 5499 # own\n", "conf.d/a.conf": "x = 1\n", "server.key": "secret", "log/pg.log": "said"} {
		write(b.t, b.path(name), data)
	}
}

// level fails unless the member holds what the source holds, is a follower of it, and is what it was otherwise.
func (b *back) level(o *folder) {
	b.t.Helper()
	for _, name := range []string{"PG_VERSION", "base/5/1259", "base/5/1260", "base/5/empty", "global/1262", "global/pg_control", "pg_xact/0000", "pg_wal/00000002.history"} {
		want, _ := os.ReadFile(filepath.Join(o.dir, name))
		if b.text(name) != string(want) || !b.has(name) {
			b.t.Errorf("%s is not the source's", name)
		}
	}
	for _, name := range []string{"base/5/9999", "base/77", "pg_wal/000000010000000000000009", "pg_wal/000000020000000000000002", "pg_replslot/s", "global/pg_control.new", "recovery.signal"} {
		if b.has(name) {
			b.t.Errorf("%s is still there", name)
		}
	}
	if !b.has("standby.signal") || !b.has("pg_notify") || !b.has("pg_wal/archive_status") || b.text("backup_label") != "START WAL LOCATION: 0/2000028\n" {
		b.t.Error("it would not start as a standby from the backup")
	}
	if auto := b.text(autoConf); !strings.Contains(auto, "host=''10.0.0.2''") || strings.Contains(auto, "primary_conninfo = ''\n") {
		b.t.Errorf("it follows nobody:\n%s", auto)
	}
	mem := b.now()
	if mem.Role != asFollower || mem.Rebuild != nil || mem.Fenced || mem.Upstream == nil || *mem.Upstream != *upstream || mem.Reign != 0 {
		b.t.Errorf("remembered as %+v", mem)
	}
	if _, err := os.Stat(b.u.ownDir()); err == nil {
		b.t.Error("what was kept aside is still there")
	}
}

var fenced = memory{Role: asPrimary, Reign: 3, Fenced: true, List: []string{"ansan"}, Any: 1}

func TestACopyIntoNothing(t *testing.T) {
	o, b := newFolder(t), newBack(t, fenced)
	if err := b.copy(o); err != nil {
		t.Fatal(err)
	}
	b.level(o)
	// It had no configuration of its own, so it has the source's, under its own name and port.
	if auto := b.text(autoConf); !strings.Contains(b.text("postgresql.conf"), "the source's") || !strings.Contains(auto, "port = '5499'") || !strings.Contains(auto, "cluster_name = 'pangyo'") {
		t.Errorf("configuration:\n%s", auto)
	}
}

func TestACopyTakesOnlyWhatDiffers(t *testing.T) {
	o, b := newFolder(t), newBack(t, fenced)
	b.old(o)
	if err := b.copy(o); err != nil {
		t.Fatal(err)
	}
	b.level(o)
	if want := int64(chunk + pageSize); o.sent != want { // one chunk of 1259, and global/1262, which was not there
		t.Errorf("%d bytes were sent, want %d", o.sent, want)
	}
	if !strings.Contains(b.text("postgresql.conf"), "# own") || b.text("server.key") != "secret" || b.text("conf.d/a.conf") != "x = 1\n" || b.text("log/pg.log") != "said" {
		t.Error("its own files are not what they were")
	}
}

// Whenever the source falls silent: nobody could start what is there, the next attempt goes on with it, and the
// member is remembered to be broken until the end.
func TestACopyGoesOnAfterEachCut(t *testing.T) {
	whole := newFolder(t)
	if err := newBack(t, fenced).copy(whole); err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut <= whole.asked; cut++ {
		o, b := newFolder(t), newBack(t, fenced)
		b.old(o)
		o.fails = cut
		err := b.copy(o)
		if err == nil {
			break // with less to send it asks less often
		}
		if !passing(err) {
			t.Fatalf("cut %d: %v", cut, err)
		}
		if mem := b.now(); mem.Rebuild.broken() {
			if b.has("global/pg_control") || !b.has("standby.signal") || mem.Role != asPrimary || !mem.Fenced {
				t.Fatalf("cut %d: it could be started: %+v", cut, mem)
			}
		} else if b.text("global/pg_control") != "control of before" || !b.has("base/5/9999") {
			t.Fatalf("cut %d: something was rewritten and is not remembered", cut)
		}
		o.fails = 0
		if err := b.copy(o); err != nil {
			t.Fatalf("after cut %d: %v", cut, err)
		}
		b.level(o)
		if o.sent > 2*chunk+2*pageSize {
			t.Errorf("cut %d: %d bytes were sent", cut, o.sent)
		}
		if !strings.Contains(b.text("postgresql.conf"), "# own") {
			t.Errorf("cut %d: its configuration is lost", cut)
		}
	}
}

// While its run rests, or no tower is there, a copy is left off, and holds back no log on its source; then it goes on.
func TestACopyThatNobodyAsksAfterIsLeftOff(t *testing.T) {
	o, b := newFolder(t), newBack(t, fenced)
	b.old(o)
	err := b.copyAsked(o, time.Now().Add(-unasked-time.Second))
	if err == nil || !passing(err) || !strings.Contains(err.Error(), "it is left off") {
		t.Fatalf("%v", err)
	}
	if mem := b.now(); mem.Rebuild == nil || mem.Rebuild.Stage != byCopy || b.has("global/pg_control") || o.sent > 0 {
		t.Fatalf("it could be started, or went on: %+v", mem)
	}
	if err := b.copy(o); err != nil {
		t.Fatal(err)
	}
	b.level(o)
}

func TestAFullDiskIsSaidAndFreed(t *testing.T) {
	o, b := newFolder(t), newBack(t, fenced)
	b.old(o)
	if err := os.Remove(b.path("base/5/1259")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", b.path("pg_xact/0000x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(b.path("pg_xact/0000x"), b.path("pg_xact/0000")); err != nil {
		t.Fatal(err)
	}
	err := b.copy(o)
	if err == nil || !strings.Contains(err.Error(), "the disk of "+b.u.set.Data+" is full") || passing(err) {
		t.Fatal(err)
	}
	if b.has("base/5/1259") || !b.has("base/5/1260") {
		t.Error("what it made is still there, or what was there before is not")
	}
	if b.has("global/pg_control") || !b.now().Rebuild.broken() {
		t.Error("it could be started")
	}
	if err := os.Remove(b.path("pg_xact/0000")); err != nil {
		t.Fatal(err)
	}
	if err := b.copy(o); err != nil {
		t.Fatal(err)
	}
	b.level(o)
}

func TestACopyThatCannotFitIsNotBegun(t *testing.T) {
	o, b := newFolder(t), newBack(t, fenced)
	b.old(o)
	o.huge = "base/5/1260"
	err := b.copy(o)
	if err == nil || !strings.Contains(err.Error(), "make room") || b.text("global/pg_control") != "control of before" || b.now().Rebuild != nil {
		t.Errorf("%v", err)
	}
}

func TestTablespacesAreRefused(t *testing.T) {
	o, b := newFolder(t), newBack(t, fenced)
	b.old(o)
	o.spaces = []string{"fast"}
	if err := b.copy(o); err == nil || !strings.Contains(err.Error(), "tablespaces (fast)") || b.text("global/pg_control") != "control of before" {
		t.Errorf("%v", err)
	}
}

// A page that is torn since it is being written is read again; one that is wrong on the source is copied and said.
func TestPagesAreChecked(t *testing.T) {
	o, b := newFolder(t), newBack(t, fenced)
	o.torn["base/5/1260"] = true
	if err := b.copy(o); err != nil {
		t.Fatal(err)
	}
	b.level(o)
	o, b = newFolder(t), newBack(t, fenced)
	raw := somePage(0, 7)
	raw[5000] ^= 1
	write(t, filepath.Join(o.dir, "base/5/1260"), string(raw))
	if err := b.copy(o); err == nil || err.Error() != "corrupt: [base/5/1260 block 0]" {
		t.Errorf("%v", err)
	}
	if b.now().Rebuild != nil {
		t.Error("it did not come back")
	}
}

// What is dropped while it is copied is not there afterwards either.
func TestAFileThatIsDroppedMeanwhile(t *testing.T) {
	o, b := newFolder(t), newBack(t, fenced)
	b.old(o)
	o.dropAfter = "base/5/1260"
	if err := b.copy(o); err != nil {
		t.Fatal(err)
	}
	if b.has("base/5/1260") {
		t.Error("it is still there")
	}
}

// The log that a source keeps for a member is bounded, also where the member is slow.
func TestTheSourcesDiskComesFirst(t *testing.T) {
	o := newFolder(t)
	if err := keepsLog(t.Context(), o, "ansan"); err != nil {
		t.Fatal(err)
	}
	o.held = retained + 1
	if err := keepsLog(t.Context(), o, "ansan"); err == nil || !strings.Contains(err.Error(), "it is given up") || passing(err) {
		t.Errorf("%v", err)
	}
}

// A member that is being made anew is for no order but that, and a fence.
func TestNothingUsesAMemberThatIsBroken(t *testing.T) {
	mem := fenced
	mem.Rebuild = &rebuild{Stage: byCopy, From: "ansan", Reign: 4, Kept: "r-1-pangyo"}
	b := newBack(t, mem)
	b.old(newFolder(t))
	for _, v := range []agent.Verb{agent.Seal, agent.Unseal, agent.Follow, agent.Promote, agent.Start, agent.Stop} {
		o := agent.Order{Verb: v, Epoch: 5, Reign: 4, Self: "pangyo", Upstream: upstream, Sync: []string{"ansan"}, Any: 1}
		_, err := b.u.Do(t.Context(), o, b.m)
		refusal, ok := errors.AsType[*agent.Refusal](err)
		if !ok || refusal.Code != agent.Unsafe || !strings.Contains(err.Error(), "is being made anew by a copy") || len(b.saved) != 1 {
			t.Errorf("%s: %v", v, err)
		}
	}
	if f, err := b.u.Do(t.Context(), agent.Order{Verb: agent.Salvage, Epoch: 5, Self: "pangyo"}, b.m); err != nil || f["broken"] != byCopy || f["kept"] != "r-1-pangyo" {
		t.Errorf("salvage: %v %v", f, err)
	}
	if f, err := b.u.Look(t.Context(), agent.Order{Verb: agent.Status}, b.m); err != nil || f["broken"] != byCopy {
		t.Errorf("%v %v", f, err)
	}
	if _, err := b.u.Do(t.Context(), agent.Order{Verb: agent.Fence, Epoch: 5, Self: "pangyo"}, b.m); err != nil || !b.now().Rebuild.broken() || !b.now().Fenced {
		t.Errorf("fence: %v %+v", err, b.now())
	}
}

// One of which nothing was rewritten yet is what it was before, for every other order.
func TestAMemberThatIsOnlyLookedAtGivesWay(t *testing.T) {
	mem := memory{Role: asFollower, Upstream: &agent.Upstream{Member: "ansan", Host: "10.0.0.2", Port: "5432", Credential: 4, Reign: 4}, Rebuild: &rebuild{Stage: choosing}}
	b := newBack(t, mem)
	b.old(newFolder(t))
	write(t, b.path("standby.signal"), "")
	ended := make(chan struct{})
	a := &attempt{order: agent.Order{Verb: agent.Rejoin}, taken: newTaken(0), done: make(chan struct{})}
	a.cancel = func(why error) {
		if !errors.Is(why, errGivenUp) {
			t.Errorf("ended since %v", why)
		}
		close(a.done)
		close(ended)
	}
	b.u.back.now = a
	_, err := b.u.Do(t.Context(), agent.Order{Verb: agent.Seal, Epoch: 5, Reign: 4, Self: "pangyo"}, b.m)
	<-ended
	if err != nil || !b.now().Sealed || b.now().Rebuild != nil || b.u.back.current() != nil {
		t.Errorf("%v %+v", err, b.now())
	}
}

func TestAnOrderToRejoinIsRefused(t *testing.T) {
	with := func(f func(*agent.Order)) agent.Order {
		up := *upstream
		o := agent.Order{Verb: agent.Rejoin, Epoch: 5, Reign: 4, Self: "pangyo", Upstream: &up}
		f(&o)
		return o
	}
	for name, tt := range map[string]struct {
		mem memory
		o   agent.Order
		why string
	}{
		"OldUpstream":   {fenced, with(func(o *agent.Order) { o.Upstream.Reign, o.Upstream.Credential = 3, 3 }), "is of epoch 4"},
		"NoUpstream":    {fenced, with(func(o *agent.Order) { o.Upstream = nil }), "whom?"},
		"Itself":        {fenced, with(func(o *agent.Order) { o.Upstream.Member = "pangyo" }), "cannot follow itself"},
		"ThePrimary":    {memory{Role: asPrimary, Reign: 4}, with(func(*agent.Order) {}), "itself the primary"},
		"SealedByARun":  {memory{Role: asFollower, Sealed: true}, with(func(o *agent.Order) { o.Counted = true }), "let it go first"},
		"NotAnEpoch":    {fenced, with(func(o *agent.Order) { o.Epoch = 0 }), "needs an epoch"},
		"SomebodyElses": {fenced, with(func(o *agent.Order) { o.Self = "anyang" }), "the order is for anyang"},
	} {
		b := newBack(t, tt.mem)
		_, err := b.u.Do(t.Context(), tt.o, b.m)
		if _, ok := errors.AsType[*agent.Refusal](err); !ok || !strings.Contains(err.Error(), tt.why) || len(b.saved) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOwnFilesSurviveARewind(t *testing.T) {
	b := newBack(t, fenced)
	b.old(newFolder(t))
	if err := os.Symlink("/etc/ssl/key.pem", b.path("link.pem")); err != nil {
		t.Fatal(err)
	}
	write(t, b.path("core"), strings.Repeat("x", ownLimit+1))
	if err := b.u.keepOwn(); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadDir(b.u.ownDir())
	var names []string
	for _, e := range kept {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"conf.d", "link.pem", "postgresql.conf", "server.key"}, names); diff != "" || err != nil {
		t.Error(diff, err)
	}
	write(t, b.path("postgresql.conf"), "port = 1 # the source's\n")
	write(t, b.path("theirs.key"), "their secret")
	if err := os.RemoveAll(b.path("conf.d")); err != nil {
		t.Fatal(err)
	}
	if err := b.u.giveBackOwn(true); err != nil {
		t.Fatal(err)
	}
	link, _ := os.Readlink(b.path("link.pem"))
	if !strings.Contains(b.text("postgresql.conf"), "# own") || b.has("theirs.key") || b.text("conf.d/a.conf") != "x = 1\n" || link != "/etc/ssl/key.pem" {
		t.Error("it is not what it was")
	}
	if !b.has("base/5/9999") || !b.has("global/pg_control") {
		t.Error("files of the cluster are gone")
	}
}
