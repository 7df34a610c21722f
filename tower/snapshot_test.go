package tower

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/etcd"
)

func someHead() SnapshotHead {
	return SnapshotHead{Release: plan.Release, Estate: "shop", Version: 3, Towers: []string{"tower-a"}, CA: []string{"aa"}, Line: 1, Term: 7,
		Epochs: map[estate.StoreID]uint64{"shop-db": 4}, Journal: journal.Head{Seq: 9, Hash: "h"}, At: time.Unix(1000, 0).UTC(), By: "kim", Tower: "tower-a"}
}

func written(t testing.TB, h SnapshotHead, records string) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, writeSnapshot(&b, h, func(w io.Writer) error { _, err := io.WriteString(w, records); return err }))
	return b.Bytes()
}

func TestSnapshotIsReadAsItWasWritten(t *testing.T) {
	for _, records := range []string{"", "one", strings.Repeat("\x00\n", 100000)} {
		raw := written(t, someHead(), records)
		var got bytes.Buffer
		h, err := readSnapshot(bytes.NewReader(raw), int64(len(raw)), &got)
		must(t, err)
		if diff := cmp.Diff(someHead(), h); diff != "" || got.String() != records {
			t.Fatalf("%s, %d bytes", diff, got.Len())
		}
	}
}

// Whatever is cut off or changed shows.
func TestNoDamageToASnapshotGoesUnseen(t *testing.T) {
	raw := written(t, someHead(), "some records of the towers")
	for n := range raw {
		if _, err := readSnapshot(bytes.NewReader(raw[:n]), int64(n), io.Discard); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("cut off after %d of %d bytes: %v", n, len(raw), err)
		}
		bad := bytes.Clone(raw)
		bad[n] ^= 1
		if _, err := readSnapshot(bytes.NewReader(bad), int64(len(bad)), io.Discard); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("byte %d changed: %v", n, err)
		}
	}
}

func FuzzReadSnapshot(f *testing.F) {
	f.Add(written(f, someHead(), "records"))
	f.Add([]byte("haechi-snapshot 1\n{}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var got bytes.Buffer
		h, err := readSnapshot(bytes.NewReader(raw), int64(len(raw)), &got)
		if err != nil {
			return
		}
		// What was believed is what writing it again gives, as far as the head says.
		again, err := readSnapshot(bytes.NewReader(written(t, h, got.String())), int64(len(written(t, h, got.String()))), io.Discard)
		if err != nil || !cmp.Equal(h, again) {
			t.Fatalf("%v\n%s", err, cmp.Diff(h, again))
		}
	})
}

// A code is of one restore of one snapshot, and says so when it was copied badly.
func TestACodeIsOfOneRestore(t *testing.T) {
	h := someHead()
	code, err := h.code("")
	must(t, err)
	for _, same := range []string{code, strings.ToUpper(code), " " + code + "\n"} {
		if got, err := h.code(same); err != nil || got != code {
			t.Errorf("%q: %q, %v", same, got, err)
		}
	}
	if again, err := h.code(""); err != nil || again == code {
		t.Errorf("two restores have the code %q, %v", again, err)
	}
	other := h
	other.At = other.At.Add(time.Second)
	if _, err := other.code(code); err == nil || !strings.Contains(err.Error(), "is no code of a restore of it") {
		t.Errorf("of another file: %v", err)
	}
	for i := range code {
		bad := []byte(code)
		bad[i] = map[bool]byte{true: 'b', false: 'a'}[bad[i] == 'a']
		for _, wrong := range []string{string(bad), code[:i], code[:i] + code[i+1:]} {
			if got, err := h.code(wrong); err == nil && wrong != "" && got != "" {
				t.Errorf("%q was taken for %q", wrong, code)
			}
		}
	}
}

// onHost is the configuration of the only tower of a cluster with a CA of its own.
func onHost(t *testing.T) Config {
	t.Helper()
	p := newPlace(t)
	addr := free(t)
	return Config{Name: "tower-a", Site: "a", Data: filepath.Join(t.TempDir(), "data"), Cluster: map[string]Seat{"tower-a": {Site: "a", Peer: addr, Etcd: free(t)}},
		Listen: Listen{Peer: addr}, TLS: p.files(pki.Tower, "tower-a"), Etcd: Etcd{Heartbeat: 40 * time.Millisecond, Election: 400 * time.Millisecond}}
}

// What root restores, the tower reads as the user that its directory belongs to.
func TestWhatRootMadeBelongsToTheTower(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	must(t, os.MkdirAll(filepath.Join(data, "etcd", "member"), 0o700))
	must(t, os.WriteFile(filepath.Join(data, "etcd", "member", "db"), nil, 0o600))
	if os.Geteuid() == 0 {
		must(t, os.Chown(data, 65534, 65534))
	}
	must(t, handOver(data, filepath.Join(data, "etcd")))
	want, err := ownerOf(data)
	must(t, err)
	for _, path := range []string{"etcd", "etcd/member", "etcd/member/db"} {
		if got, err := ownerOf(filepath.Join(data, path)); err != nil || got.Uid != want.Uid || got.Gid != want.Gid {
			t.Errorf("%s belongs to %d, the directory to %d; %v", path, got.Uid, want.Uid, err)
		}
	}
}

// A tower that cannot read its data does not take them for lost.
func TestDataThatCannotBeReadAreNotTakenForLost(t *testing.T) {
	cfg := onHost(t)
	must(t, os.MkdirAll(cfg.Data, 0o700))
	must(t, os.WriteFile(cfg.etcd(nil).DataDir, nil, 0o600)) // root can read any directory, and this is none
	if err := await(within(t), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "its data") {
		t.Errorf("%v", err)
	}
}

// Whoever asks a tower that waits for a seat is told so, by HTTP/2 as by HTTP/1.
func TestATowerThatWaitsSaysSo(t *testing.T) {
	cfg := onHost(t)
	cfg.Listen.Page = free(t)
	conf, err := pki.ClientTLS(cfg.TLS.pki(), pki.Only(pki.Tower))
	must(t, err)
	for range 5 { // it was a matter of which listener came first
		stop, err := sayThatItWaits(cfg, logged(t))
		must(t, err)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}}
		for _, url := range []string{"https://" + cfg.Listen.Peer, "http://" + cfg.Listen.Page} {
			if resp, err := client.Get(url + "/api/v1/now"); err != nil {
				t.Errorf("%s: %v", url, err)
			} else if resp.Body.Close(); resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s: %s", url, resp.Status)
			}
		}
		client.CloseIdleConnections()
		stop()
	}
}

func TestSnapshotsThatAreRefusedChangeNothing(t *testing.T) {
	cfg := onHost(t)
	ca, err := pki.Authorities(cfg.TLS.pki())
	must(t, err)
	head := func(change func(*SnapshotHead)) []byte {
		h := someHead()
		h.CA = ca
		change(&h)
		return written(t, h, "no records of etcd")
	}
	whole := head(func(*SnapshotHead) {})
	for name, c := range map[string]struct {
		raw  []byte
		says string
	}{
		"Truncated":      {whole[:len(whole)-10], "cut off or changed"},
		"Empty":          {nil, "0 bytes"},
		"SomethingElse":  {bytes.Repeat([]byte("x"), 1000), "does not begin with"},
		"NewerFormat":    {bytes.Replace(whole, []byte("haechi-snapshot 1\n"), []byte("haechi-snapshot 2\n"), 1), "its format is 2"},
		"NewerRelease":   {head(func(h *SnapshotHead) { h.Release = plan.Release + 1 }), "written by a newer one"},
		"AnotherCluster": {head(func(h *SnapshotHead) { h.CA, h.Estate = []string{"ff"}, "other" }), "of another cluster: other"},
		"NotRecords":     {whole, "make the data of tower-a"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "snapshot")
			must(t, os.WriteFile(file, c.raw, 0o600))
			_, _, err := Restore(t.Context(), cfg, Restoration{File: file}, kim("a test"))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("err = %v\nit should say %q", err, c.says)
			}
			left, _ := os.ReadDir(cfg.Data)
			if len(left) > 0 || etcd.HasData(cfg.etcd(nil).DataDir) {
				t.Fatalf("it left %v", left)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "snapshot")
	must(t, os.WriteFile(file, whole, 0o600))
	if _, _, err := Restore(t.Context(), cfg, Restoration{File: file}, Person{By: "kim"}); err == nil || !strings.Contains(err.Error(), "both are needed") {
		t.Fatalf("nobody said why: %v", err)
	}
}
