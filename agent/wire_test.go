package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/haechi/haechi/pki"
)

// world is a CA, an agent that serves, and the means to call it as anybody.
type world struct {
	t    *testing.T
	ca   string
	addr string
	unit *fakeUnit
	hold string
	log  lines // the agent's
	stop func()
}

// lines takes a log, a line a time.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// half an order.
const half = `{"version":1,"verb":"fence","unit":"db","term":9,`

func newWorld(t *testing.T) *world {
	t.Helper()
	unit := &fakeUnit{}
	w := serving(t, unit)
	w.unit = unit
	return w
}

// serving is a world around any unit.
func serving(t *testing.T, unit Unit) *world {
	t.Helper()
	w := &world{t: t, ca: filepath.Join(t.TempDir(), "ca"), log: make(lines, 100)}
	check(t, pki.NewCA(w.ca))
	conf, err := pki.ServerTLS(w.files(w.ca, pki.Agent, "db-1"), pki.Only(pki.Tower))
	check(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	w.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	dir := t.TempDir()
	w.hold = filepath.Join(dir, "hold")
	s := host(t, dir, unit)
	s.log, s.patience = slog.New(slog.NewTextHandler(w.log, nil)), 200*time.Millisecond
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l, conf) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		check(t, <-done)
	})
	t.Cleanup(w.stop)
	return w
}

// A status says when the certificate ends that the agent shows now.
func TestStatusTellsTheCertificatesEnd(t *testing.T) {
	w := newWorld(t)
	tower := w.files(w.ca, pki.Tower, "tower-a")
	a, err := w.client(tower, "db-1").Call(t.Context(), Order{Version: 1, Verb: Status, Unit: "db"})
	check(t, err)
	end, err := time.Parse(time.RFC3339, a.Facts[FactEnds])
	if left := time.Until(end); err != nil || left < 50*time.Minute || left > time.Hour {
		t.Fatalf("%v: %v", a.Facts, err)
	}
}

func (w *world) files(ca string, kind pki.Kind, name string) pki.Files {
	w.t.Helper()
	return w.issue(ca, kind, name, time.Hour)
}

func (w *world) issue(ca string, kind pki.Kind, name string, validity time.Duration) pki.Files {
	w.t.Helper()
	f, err := pki.Issue(ca, pki.Identity{Kind: kind, Name: name}, filepath.Join(w.t.TempDir(), "tls"), []net.IP{net.IPv4(127, 0, 0, 1)}, nil, validity)
	check(w.t, err)
	return f
}

func (w *world) client(f pki.Files, host string) *Client {
	w.t.Helper()
	c, err := NewClient(host, w.addr, f)
	check(w.t, err)
	w.t.Cleanup(c.Close)
	return c
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestATowerIsAnsweredOverOneConnection(t *testing.T) {
	w := newWorld(t)
	c := w.client(w.files(w.ca, pki.Tower, "tower-1"), "db-1")
	a, err := c.Call(t.Context(), order(Seal, 3, 4))
	check(t, err)
	if a.Term != 3 || a.Epoch != 4 || a.Facts["did"] != "seal" {
		t.Errorf("%+v", a)
	}
	_, err = c.Call(t.Context(), order(Seal, 2, 4))
	r, ok := errors.AsType[*Refused](err)
	if !ok || r.Answer.Code != OldTerm || !Unchanged(err) {
		t.Errorf("old term: %v", err)
	}
}

// Whoever is not a tower of our CA is refused by name, in the agent's log, and nothing is done.
func TestOnlyTowersAreAnswered(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	check(t, pki.NewCA(other))
	for name, c := range map[string]struct {
		show func(*world) pki.Files // nil: no certificate
		says string
	}{
		"no certificate":     {nil, "client didn't provide a certificate"},
		"another CA's tower": {func(w *world) pki.Files { return w.files(other, pki.Tower, "tower-1") }, "certificate of another CA: CN=tower/tower-1"},
		"an expired tower":   {func(w *world) pki.Files { return w.issue(w.ca, pki.Tower, "tower-1", -time.Minute) }, "certificate has expired: CN=tower/tower-1"},
		"an observer":        {func(w *world) pki.Files { return w.files(w.ca, pki.Observer, "isp-a") }, "(haechi://observer/isp-a) cannot be used as a tower's"},
		"a person":           {func(w *world) pki.Files { return w.files(w.ca, pki.Person, "someone") }, "(haechi://person/someone) cannot be used as a tower's"},
		"another agent":      {func(w *world) pki.Files { return w.files(w.ca, pki.Agent, "db-2") }, "(haechi://agent/db-2) cannot be used as a tower's"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			conf := &tls.Config{InsecureSkipVerify: true}
			if c.show != nil {
				var err error
				conf, err = pki.ClientTLS(c.show(w), nil)
				check(t, err)
				conf.VerifyConnection = nil // let the agent be the one that refuses
			}
			client := newClient("db-1", w.addr, conf)
			defer client.Close()
			if _, err := client.Call(t.Context(), order(Fence, 9, 9)); err == nil {
				t.Error("was obeyed")
			}
			if line := <-w.log; !strings.Contains(line, "level=WARN") || !strings.Contains(line, c.says) {
				t.Errorf("%s\ndoes not warn of %q", line, c.says)
			}
			if len(w.unit.acts) > 0 {
				t.Errorf("acts %+v", w.unit.acts)
			}
		})
	}
}

func TestAnotherHostsAgentIsNotBelieved(t *testing.T) {
	w := newWorld(t)
	_, err := w.client(w.files(w.ca, pki.Tower, "tower-1"), "db-7").Call(t.Context(), order(Fence, 9, 9))
	if !errors.Is(err, ErrUnreached) || !Unchanged(err) || len(w.unit.acts) > 0 {
		t.Errorf("%v", err)
	}
}

func TestNobodyThereIsUnreachedAndNoAnswerIsUnknown(t *testing.T) {
	w := newWorld(t)
	c := w.client(w.files(w.ca, pki.Tower, "tower-1"), "db-1")
	gone := newClient("db-1", "127.0.0.1:1", &tls.Config{})
	if _, err := gone.Call(t.Context(), order(Seal, 1, 1)); !errors.Is(err, ErrUnreached) {
		t.Errorf("nobody listens: %v", err)
	}
	entered := make(chan struct{})
	w.unit.do = func(ctx context.Context, _ Order, _ *Memory) (map[string]string, error) {
		close(entered)
		<-ctx.Done() // ends with the caller
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if _, err := c.Call(ctx, order(Seal, 1, 1)); err == nil || Unchanged(err) {
		t.Errorf("cancelled while it was carried out: %v", err)
	}
}

func TestBadRequestsChangeNothing(t *testing.T) {
	w := newWorld(t)
	conf, err := pki.ClientTLS(w.files(w.ca, pki.Tower, "tower-1"), pki.Named(pki.Agent, "db-1"))
	check(t, err)
	h := newClient("db-1", w.addr, conf).http
	for name, body := range map[string]string{
		"not JSON":       "seal everything",
		"half":           half,
		"unknown key":    `{"version":1,"verb":"seal","unit":"db","term":1,"epoch":1,"path":"/etc/passwd"}`,
		"too large":      `{"version":1,"verb":"seal","unit":"` + strings.Repeat("x", maxBody) + `"}`,
		"negative epoch": `{"version":1,"verb":"seal","unit":"db","term":1,"epoch":-1}`,
	} {
		resp, err := h.Post("https://"+w.addr+"/v1/order", "application/json", strings.NewReader(body))
		check(t, err)
		raw, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.Contains(string(raw), string(BadOrder)) {
			t.Errorf("%s: %s %s", name, resp.Status, raw)
		}
	}
	for method, path := range map[string]string{http.MethodGet: "/v1/order", http.MethodPost: "/"} {
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+w.addr+path, nil)
		check(t, err)
		resp, err := h.Do(req)
		check(t, err)
		resp.Body.Close()
		if resp.StatusCode < 400 {
			t.Errorf("%s %s: %s", method, path, resp.Status)
		}
	}
	if len(w.unit.acts) > 0 {
		t.Errorf("acts %+v", w.unit.acts)
	}
}

func TestOnlyLooksComeOverHTTP1(t *testing.T) {
	w := newWorld(t)
	l, err := NewLooker("db-1", w.addr, w.files(w.ca, pki.Tower, "tower-1"))
	check(t, err)
	defer l.Close()
	for range 2 {
		if _, err := l.Call(t.Context(), Order{Version: 1, Verb: Status, Unit: "db"}); err != nil {
			t.Errorf("a look: %v", err)
		}
	}
	_, err = l.Call(t.Context(), order(Seal, 1, 1))
	if r, ok := errors.AsType[*Refused](err); !ok || r.Answer.Code != BadOrder {
		t.Errorf("an act: %v", err)
	}
	if len(w.unit.acts) > 0 {
		t.Errorf("acts %+v", w.unit.acts)
	}
}

// Half an order is none, however it stays half: it is answered so, holds nobody up and does nothing.
func TestHalfAnOrderIsNone(t *testing.T) {
	w := newWorld(t)
	conf, err := pki.ClientTLS(w.files(w.ca, pki.Tower, "tower-1"), pki.Named(pki.Agent, "db-1"))
	check(t, err)
	h := newClient("db-1", w.addr, conf).http
	begun, rest := io.Pipe() // whose end never comes
	defer rest.Close()
	go io.WriteString(rest, half)
	type answer struct {
		text string
		err  error
	}
	late := make(chan answer, 1)
	go func() {
		resp, err := h.Post("https://"+w.addr+"/v1/order", "application/json", begun)
		if err != nil {
			late <- answer{"", err}
			return
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		late <- answer{string(raw), err}
	}()
	if _, err := w.client(w.files(w.ca, pki.Tower, "tower-2"), "db-1").Call(t.Context(), order(Seal, 1, 1)); err != nil {
		t.Errorf("another tower's order: %v", err)
	}
	if a := <-late; a.err != nil || !strings.Contains(a.text, string(BadOrder)) || !strings.Contains(a.text, "the order cannot be read: i/o timeout") {
		t.Errorf("%+v", a)
	}
	if len(w.unit.acts) != 1 || w.unit.acts[0].Verb != Seal {
		t.Errorf("acts %+v", w.unit.acts)
	}
}
