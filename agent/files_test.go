package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/pki"
)

// Files makes the fake a unit that keeps some.
func (f *fakeUnit) Files() string { return f.files }

func textOf(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }

func fileOf(name, text string) File {
	sum := sha256.Sum256([]byte(text))
	return File{Unit: "db", Name: name, Bytes: int64(len(text)), SHA256: hex.EncodeToString(sum[:])}
}

// keeping is a world whose unit keeps files.
func keeping(t *testing.T) (*world, *Client) {
	w := newWorld(t)
	w.unit.files = filepath.Join(t.TempDir(), "kept")
	return w, w.client(w.files(w.ca, pki.Tower, "tower-1"), "db-1")
}

func TestWhatIsDepositedIsFetched(t *testing.T) {
	w, c := keeping(t)
	text := strings.Repeat("0123456789", 50_000)
	f := fileOf("r-000012-a.salvage", text)
	for range 2 { // the second time it is there
		check(t, c.Deposit(t.Context(), 3, f, textOf(text)))
	}
	var got bytes.Buffer
	check(t, c.Fetch(t.Context(), f, &got))
	if got.String() != text {
		t.Errorf("%d bytes came back", got.Len())
	}
	left, err := os.ReadDir(w.unit.files)
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// Nothing that was kept is replaced, nothing that is not whole is kept, and a name is never a path.
func TestDepositsThatAreRefused(t *testing.T) {
	w, c := keeping(t)
	check(t, c.Deposit(t.Context(), 3, fileOf("kept", "first"), textOf("first")))
	_, err := c.Call(t.Context(), order(Seal, 5, 1))
	check(t, err)
	wrong := fileOf("wrong", "text")
	wrong.SHA256 = fileOf("", "another").SHA256
	for what, c2 := range map[string]struct {
		f    File
		term uint64
		text string
		says string
	}{
		"another file of the name": {fileOf("kept", "other"), 5, "other", "another file"},
		"another sha256":           {wrong, 5, "text", "sha256"},
		"an old term":              {fileOf("old", "text"), 4, "text", "term 5 has spoken"},
		"no such unit":             {File{Unit: "other", Name: "x", Bytes: 1, SHA256: wrong.SHA256}, 5, "t", "404"},
		"no sha256":                {File{Unit: "db", Name: "x", Bytes: 1}, 5, "t", "sha256"},
		"a path":                   {fileOf("../state.json", "{}"), 5, "{}", "404"},
		"hidden":                   {fileOf(".kept", "{}"), 5, "{}", "404"},
		"the directory":            {fileOf("..", "{}"), 5, "{}", "Redirect"},
		"more than there is room":  {File{Unit: "db", Name: "x", Bytes: maxFile + 1, SHA256: wrong.SHA256}, 5, "t", "up to"},
	} {
		err := c.Deposit(t.Context(), c2.term, c2.f, textOf(c2.text))
		if err == nil || !strings.Contains(err.Error(), c2.says) {
			t.Errorf("%s: %v, want %q in it", what, err, c2.says)
		}
	}
	left, err := os.ReadDir(w.unit.files)
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestAHeldHostKeepsNothing(t *testing.T) {
	w, c := keeping(t)
	check(t, os.WriteFile(w.hold, nil, 0o600))
	err := c.Deposit(t.Context(), 3, fileOf("x", "x"), textOf("x"))
	if r, ok := errors.AsType[*Refused](err); !ok || r.Answer.Code != Held {
		t.Errorf("%v", err)
	}
}

// What was changed on the holder's disk does not pass for what was kept.
func TestADamagedFileIsNotFetched(t *testing.T) {
	w, c := keeping(t)
	f := fileOf("kept", "first")
	check(t, c.Deposit(t.Context(), 3, f, textOf("first")))
	check(t, os.WriteFile(filepath.Join(w.unit.files, "kept"), []byte("fIrst"), 0o600))
	if err := c.Fetch(t.Context(), f, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%v", err)
	}
	if err := c.Fetch(t.Context(), fileOf("missing", ""), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("%v", err)
	}
}

func TestOnlyTowersFetchAndDeposit(t *testing.T) {
	w, _ := keeping(t)
	c := w.client(w.files(w.ca, pki.Person, "kim"), "db-1")
	if err := c.Deposit(t.Context(), 3, fileOf("x", "x"), textOf("x")); err == nil {
		t.Error("a person deposited")
	}
	if err := c.Fetch(t.Context(), fileOf("x", "x"), &bytes.Buffer{}); err == nil {
		t.Error("a person fetched")
	}
}

// A deposit that stands still ends, and leaves nothing behind.
func TestADepositThatStandsStillEnds(t *testing.T) {
	w, c := keeping(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stuck, _ := io.Pipe()
	if err := c.Deposit(ctx, 3, fileOf("x", "text"), stuck); err == nil || ctx.Err() != nil {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(w.unit.files); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

// What an agent that died in the middle of a deposit left is taken away by the next one, and nothing else is.
func TestABrokenOffDepositIsSweptAtTheStart(t *testing.T) {
	dir := t.TempDir()
	stay := []string{"r-000012-a.salvage", ".a.reading-123", ".r-000012-a.salvage.new-", ".r-000012-a.salvage.new-1x", "r-000012-a.salvage.new-123", "..new-1"}
	gone := []string{".r-000012-a.salvage.new-123", ".x.new-0"}
	for _, name := range append(gone, stay...) {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600))
	}
	check(t, os.Mkdir(filepath.Join(dir, ".dir.new-1"), 0o700))
	check(t, os.Symlink(filepath.Join(dir, stay[0]), filepath.Join(dir, ".link.new-1")))
	_, err := NewServer(filepath.Join(t.TempDir(), "state.json"), "", map[string]Unit{"db": &fakeUnit{files: dir}}, slog.New(slog.DiscardHandler))
	check(t, err)
	left, err := os.ReadDir(dir)
	check(t, err)
	var names []string
	for _, f := range left {
		names = append(names, f.Name())
	}
	want := append([]string{".dir.new-1", ".link.new-1"}, stay...)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("left: %v, want %v", names, want)
	}
}

// tending is a unit that is looked after.
type tending struct {
	fakeUnit
	began, ended chan bool
}

func (u *tending) Tend(ctx context.Context, m *Memory, may func() bool) {
	if err := m.Save(1); err == nil {
		panic("it saved")
	}
	u.began <- may()
	<-ctx.Done()
	u.ended <- may()
}

func TestAUnitIsTendedWhileTheAgentServes(t *testing.T) {
	u := &tending{began: make(chan bool, 1), ended: make(chan bool, 1)}
	w := serving(t, u)
	if may := <-u.began; !may {
		t.Error("the host is not held")
	}
	check(t, os.WriteFile(w.hold, nil, 0o600))
	w.stop()
	select {
	case may := <-u.ended:
		if may {
			t.Error("the host is held")
		}
	default:
		t.Error("the agent did not wait for it")
	}
}
