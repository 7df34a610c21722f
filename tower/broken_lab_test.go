//go:build lab

package tower

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/haechi/haechi/pki"
)

// asTower is set where this program is run as a tower with that file.
const asTower = "HAECHI_TEST_TOWER"

func TestMain(m *testing.M) {
	if file := os.Getenv(asTower); file != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		cfg, err := ReadConfig(file)
		if err == nil {
			err = Run(ctx, cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)))
		}
		fmt.Fprintln(os.Stderr, "ended:", err)
		return
	}
	os.Exit(m.Run())
}

// TestFullDisk fills the disk of a real tower. It goes on showing, and says what is wrong; when there is
// room it drives again by itself, as the same process for whoever supervises it.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	must(t, syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=160m"))
	t.Cleanup(func() { must(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
	w := newTown(t, "a")
	c := w.cfg["a"]
	c.Data = disk
	must(t, Init(t.Context(), c)) // it is the first of a new cluster
	own, err := yaml.Marshal(c)
	must(t, err)
	file := filepath.Join(t.TempDir(), "tower.yaml")
	must(t, os.WriteFile(file, own, 0o600))
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asTower+"="+file)
	var said bytes.Buffer
	cmd.Stderr = &said
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})

	now := func() string { return get(http.DefaultClient, "http://"+c.Listen.Page+"/now.json") }
	until(t, "the tower drives", func() bool { return strings.Contains(now(), `"term": 1`) })
	person := w.person(t, c.Name)
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	api := "https://" + c.Listen.Peer + "/api/v1/"
	text, says := w.estate(), ""
	t.Cleanup(func() { t.Logf("the last answer was %.300s", says) })
	until(t, "etcd gives up, and the tower shows it", func() bool {
		says = send(person, api+"estate", strings.Replace(text, "sites: {a: {}, b: {}, c: {}}", "sites:\n  a: {}\n  b: {}\n  c: {}\n"+large(), 1))
		return strings.Contains(now(), "its etcd member has stopped")
	})
	if says = get(person, api+"doctor"); !strings.Contains(says, "no space left") || !strings.Contains(says, "starts anew by itself") {
		t.Errorf("doctor says %s", says)
	}
	must(t, os.Remove(ballast))
	until(t, "the tower drives again", func() bool { return strings.Contains(now(), `"term": 2`) })
	must(t, cmd.Process.Signal(syscall.Signal(0)))
}

// person is a client with an operator's certificate.
func (w *town) person(t *testing.T, tower string) *http.Client {
	t.Helper()
	f, err := pki.Issue(w.ca, pki.Identity{Kind: pki.Person, Name: "operator", Roles: []string{pki.Operator}}, t.TempDir(), nil, nil, 0)
	must(t, err)
	conf, err := pki.ClientTLS(f, pki.Named(pki.Tower, tower))
	must(t, err)
	return &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{TLSClientConfig: conf}}
}

func get(c *http.Client, url string) string {
	resp, err := c.Get(url)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}

func send(c *http.Client, url, estate string) string {
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	part, _ := m.CreateFormFile("file", "estate.yaml") // a buffer takes everything
	_, _ = io.WriteString(part, estate)
	_ = m.Close()
	resp, err := c.Post(url, m.FormDataContentType(), &body)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(resp.Body)
	return string(said)
}

// large are sites with long titles, others each time.
func large() string {
	var out strings.Builder
	for site := range 30 {
		title := make([]byte, 4000)
		for i := range title {
			title[i] = 'a' + byte(rand.IntN(26))
		}
		fmt.Fprintf(&out, "  x%d: {title: %s}\n", site, title)
	}
	return out.String()
}

// fill writes until nothing fits any more.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	for _, size := range []int{1 << 20, 4096, 1} {
		b := make([]byte, size)
		for {
			if _, err := f.Write(b); errors.Is(err, syscall.ENOSPC) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}
