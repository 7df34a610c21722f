package web

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// events reads a stream event by event.
type events struct {
	resp *http.Response
	in   *bufio.Reader
}

func open(t *testing.T, srv *httptest.Server, path string) *events {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return &events{resp, bufio.NewReader(resp.Body)}
}

// next returns the data of the next event, or the error that ended the stream.
func (e *events) next() (string, error) {
	for {
		line, err := e.in.ReadString('\n')
		if err != nil {
			return "", err
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			return data, nil
		}
	}
}

// ticking is a desk whose clock goes on by a second whenever it is asked.
func ticking(t *testing.T, change func(i int64, n *Now)) fakeDesk {
	base := story(t, "peace")
	var asked atomic.Int64
	return fakeDesk{NowFunc: func() Now {
		n, i := base, asked.Add(1)
		n.At = base.At.Add(time.Duration(i) * time.Second)
		if change != nil {
			change(i, &n)
		}
		return n
	}}
}

func TestStreamGivesNow(t *testing.T) {
	srv := httptest.NewServer(Page(t.Context(), ticking(t, nil), slog.New(slog.DiscardHandler)))
	t.Cleanup(srv.Close)
	e := open(t, srv, "/stream")
	if kind := e.resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("Content-Type %q", kind)
	}
	if line, err := e.in.ReadString('\n'); err != nil || line != "retry: 200\n" {
		t.Fatalf("the stream begins with %q, %v: a browser would wait seconds before it asks again", line, err)
	}
	var before Now
	for range 3 {
		data, err := e.next()
		if err != nil {
			t.Fatal(err)
		}
		var n Now
		if err := json.Unmarshal([]byte(data), &n); err != nil {
			t.Fatal(err)
		}
		if !n.At.After(before.At) || n.Headline.Text != "ALL SITES UP" {
			t.Fatalf("after %v came %v: %q", before.At, n.At, n.Headline.Text)
		}
		before = n
	}
}

// A page gets everything once, then only the sections that changed.
func TestStreamSendsWhatChanged(t *testing.T) {
	desk := ticking(t, func(i int64, n *Now) {
		if i > 1 {
			n.Profile = "default"
		}
	})
	srv := httptest.NewServer(Page(t.Context(), desk, slog.New(slog.DiscardHandler)))
	t.Cleanup(srv.Close)
	e := open(t, srv, "/stream?sections=1")
	if got := sectionsOf(t, e); len(got) < 9 || got["journal"] == "" {
		t.Fatalf("the first event has %d sections", len(got))
	}
	got := sectionsOf(t, e)
	if !strings.Contains(got["band"], "profile default") {
		t.Error("the change is not in the second event")
	}
	if _, again := got["journal"]; again {
		t.Error("the journal was sent again, and had not changed")
	}
}

func sectionsOf(t *testing.T, e *events) map[string]string {
	t.Helper()
	data, err := e.next()
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Sections map[string]string }
	if err := json.Unmarshal([]byte(data), &got); err != nil {
		t.Fatal(err)
	}
	return got.Sections
}

// A tower whose clock stands still sends nothing: the page must not look fresh.
func TestStreamIsSilentWhenTheTowerHangs(t *testing.T) {
	n := story(t, "peace")
	h := newHub(t.Context(), func() Now { return n }, func(Now) (map[string]string, error) { return nil, nil })
	h.every = time.Millisecond
	r, _ := h.join()
	defer h.leave(r)
	<-r.frames
	select {
	case f := <-r.frames:
		t.Errorf("a second frame of %v", f.at)
	case <-time.After(50 * time.Millisecond):
	}
}

// Who does not read is dropped; the others do not notice.
func TestSlowReaderIsDropped(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	desk := ticking(t, nil)
	h := newHub(ctx, desk.Now, func(Now) (map[string]string, error) { return nil, nil })
	h.every = time.Millisecond
	slow, _ := h.join()
	quick, _ := h.join()
	defer h.leave(quick)
	for range 10 * maxBehind {
		if _, open := <-quick.frames; !open {
			t.Fatal("the quick reader was dropped")
		}
	}
	seen := 0
	for range slow.frames { // ends because it was closed
		seen++
	}
	if seen > maxBehind {
		t.Errorf("%d frames were kept for a reader that does not read", seen)
	}
}

// A reader that takes nothing from its connection cannot hold the handler.
func TestStuckConnectionEnds(t *testing.T) {
	done := make(chan struct{})
	desk := ticking(t, func(_ int64, n *Now) { n.Tower = strings.Repeat("x", 1<<20) }) // more than the kernel buffers
	h := newHub(t.Context(), desk.Now, func(Now) (map[string]string, error) { return nil, nil })
	h.every, h.patience = time.Millisecond, 50*time.Millisecond
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.stream(w, r)
		close(done)
	}))
	t.Cleanup(srv.Close)
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the handler still waits for a reader that does not read")
	}
}

// Nobody looks when nobody reads, and the next reader starts it again.
func TestLooksOnlyForReaders(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	desk := ticking(t, nil)
	h := newHub(t.Context(), desk.Now, func(Now) (map[string]string, error) { return nil, nil })
	h.every = time.Millisecond
	for range 3 {
		r, ok := h.join()
		if !ok {
			t.Fatal("refused")
		}
		<-r.frames
		h.leave(r)
	}
}

func TestTooManyReaders(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	h := newHub(ctx, func() Now { return Now{} }, func(Now) (map[string]string, error) { return nil, nil })
	for range maxReaders {
		if _, ok := h.join(); !ok {
			t.Fatal("refused too early")
		}
	}
	w := httptest.NewRecorder()
	h.stream(w, httptest.NewRequest(http.MethodGet, "/stream", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d for one reader too many", w.Code)
	}
}
