package agent

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
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
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ca: filepath.Join(t.TempDir(), "ca"), unit: &fakeUnit{}}
	check(t, pki.NewCA(w.ca))
	conf, err := pki.ServerTLS(w.files(w.ca, pki.Agent, "db-1"), pki.Only(pki.Tower))
	check(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	w.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	s := host(t, t.TempDir(), w.unit)
	s.log = slog.New(slog.DiscardHandler)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l, conf) }()
	t.Cleanup(func() {
		cancel()
		check(t, <-done)
	})
	return w
}

func (w *world) files(ca string, kind pki.Kind, name string) pki.Files {
	w.t.Helper()
	f, err := pki.Issue(ca, pki.Identity{Kind: kind, Name: name}, filepath.Join(w.t.TempDir(), "tls"), []net.IP{net.IPv4(127, 0, 0, 1)}, nil, time.Hour)
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

func TestOnlyTowersAreAnswered(t *testing.T) {
	w := newWorld(t)
	other := filepath.Join(t.TempDir(), "other")
	check(t, pki.NewCA(other))
	for name, f := range map[string]pki.Files{
		"an agent":            w.files(w.ca, pki.Agent, "db-2"),
		"an observer":         w.files(w.ca, pki.Observer, "isp-a"),
		"a person":            w.files(w.ca, pki.Person, "someone"),
		"another CA's tower":  w.files(other, pki.Tower, "tower-1"),
		"its own certificate": w.files(w.ca, pki.Agent, "db-1"),
	} {
		if name == "another CA's tower" {
			f.CA = filepath.Join(w.ca, "ca.pem")
		}
		if _, err := w.client(f, "db-1").Call(t.Context(), order(Fence, 9, 9)); err == nil {
			t.Errorf("%s was obeyed", name)
		}
	}
	if len(w.unit.acts) > 0 {
		t.Errorf("acts %+v", w.unit.acts)
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

func TestHalfARequestHoldsNobodyUp(t *testing.T) {
	w := newWorld(t)
	conf, err := pki.ClientTLS(w.files(w.ca, pki.Tower, "tower-1"), pki.Named(pki.Agent, "db-1"))
	check(t, err)
	conf.NextProtos = []string{"h2"}
	half, err := tls.Dial("tcp", w.addr, conf)
	check(t, err)
	defer half.Close()
	fmt.Fprint(half, "PRI * HTTP/2.0\r\n\r\nSM") // and no more
	_ = bufio.NewReader(half)
	if _, err := w.client(w.files(w.ca, pki.Tower, "tower-2"), "db-1").Call(t.Context(), order(Seal, 1, 1)); err != nil {
		t.Error(err)
	}
}
