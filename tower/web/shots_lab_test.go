//go:build lab

package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestScreenshots renders every page of the storybook, light and dark, as PNG into
// out/page, to be looked at by people.
func TestScreenshots(t *testing.T) {
	out, err := filepath.Abs("../../out/page")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range stories(t) {
		if only := os.Getenv("STORY"); only != "" && only != name {
			continue
		}
		told, begun := story(t, name), time.Now()
		living := fakeDesk{NowFunc: func() Now {
			n := told
			n.At = told.At.Add(time.Since(begun))
			return n
		}}
		for scheme, setting := range map[string]string{"light": "1", "dark": "0"} {
			shoot(t, living, "/", filepath.Join(out, name+"-"+scheme+".png"), setting, wide, 0)
			if name == "done" || name == "returning" || name == "returned" { // before, during and after a return
				kept := living.living()
				shoot(t, kept, "/stores", filepath.Join(out, "stores-"+name+"-"+scheme+".png"), setting, wide, 0)
				shoot(t, kept, "/stores", filepath.Join(out, "stores-"+name+"-"+scheme+"-phone.png"), setting, phone, 0)
			}
		}
	}
	// A tower that is gone: the same page, a little later, must say that it is old.
	gone := fakeDesk{NowFunc: func() Now { return story(t, "peace") }}
	shoot(t, gone, "/", filepath.Join(out, "stale-light.png"), "1", wide, 7*time.Second)
}

// Sizes of windows.
const (
	wide  = "1600,1500"
	phone = "420,2400"
)

// shoot has a browser load the page, wait, and draw it.
func shoot(t *testing.T, d Desk, path, file, scheme, window string, wait time.Duration) {
	t.Helper()
	page := Page(t.Context(), d, slog.New(slog.DiscardHandler))
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wait > 0 && r.URL.Path == "/stream" {
			time.AfterFunc(time.Second, func() { _ = srv.Listener.Close(); srv.CloseClientConnections() })
		}
		page.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := []string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars",
		"--user-data-dir=" + t.TempDir(), "--window-size=" + window, "--blink-settings=preferredColorScheme=" + scheme, "--screenshot=" + file,
	}
	if wait > 0 {
		args = append(args, fmt.Sprintf("--virtual-time-budget=%d", wait.Milliseconds()))
	}
	_ = os.Remove(file)
	said, err := exec.CommandContext(ctx, "chromium", append(args, srv.URL+path)...).CombinedOutput()
	if info, missing := os.Stat(file); err != nil || missing != nil || info.Size() < 10_000 {
		t.Fatalf("%s: %v %v\n%s", file, err, missing, said)
	}
}
