package wan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// Status is what a router says of itself.
type Status struct {
	Since    time.Time      `json:"since"`
	Realtime string         `json:"realtime"` // "SCHED_RR 20", or why not
	Late     LatenessStatus `json:"late"`     // sent minus due, of every packet since the last reset
	Strays   uint64         `json:"strays"`   // packets that no line leads to
	Failed   uint64         `json:"failed"`   // packets that the kernel did not take
	Lines    []LineStatus   `json:"lines"`
}

// Changed says when a change came into force. No packet that the change
// forbids was delivered after At.
type Changed struct {
	At time.Time `json:"at"`
}

// Set makes all changes at one instant, between two packets, or none.
func (r *Router) Set(ctx context.Context, changes []Change) (Changed, error) {
	var out Changed
	var failed error
	err := r.ask(ctx, func() {
		if failed = r.net.Set(changes); failed != nil {
			return
		}
		out.At = r.wall(r.now())
		if r.capture != nil {
			r.capture.Mark(out.At, describe(changes))
		}
	})
	return out, errors.Join(err, failed)
}

func describe(changes []Change) string {
	var out []string
	for _, c := range changes {
		b, err := json.Marshal(c)
		if err != nil {
			b = []byte(err.Error())
		}
		out = append(out, string(b))
	}
	return strings.Join(out, " ")
}

// Status reads the counters at one instant. Reset begins lateness anew afterwards.
func (r *Router) Status(ctx context.Context, reset bool) (Status, error) {
	var s Status
	err := r.ask(ctx, func() {
		s = Status{Since: r.base, Late: r.late.Status(), Strays: r.net.Strays(), Failed: r.failed, Lines: r.net.Lines()}
		if reset {
			r.late = Lateness{}
		}
	})
	return s, err
}

// Capture begins to write every delivered packet to path; an empty path ends it.
func (r *Router) Capture(ctx context.Context, path string) error {
	var next, old *Capture
	if path != "" {
		var err error
		if next, err = NewCapture(path); err != nil {
			return err
		}
	}
	if err := r.ask(ctx, func() { old, r.capture = r.capture, next }); err != nil {
		return err
	}
	if old == nil {
		return nil
	}
	missing, err := old.Close()
	if missing > 0 {
		err = errors.Join(err, fmt.Errorf("capture: %d packets or marks are missing, the disk was too slow", missing))
	}
	return err
}

// ask runs f on the router's thread and waits for it.
func (r *Router) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	r.hand(func() { f(); close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wan: the router did not answer: %w", context.Cause(ctx))
	}
}

// Handler is the control API, for a socket that only the lab can reach.
func (r *Router) Handler(realtime string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, q *http.Request) {
		s, err := r.Status(q.Context(), q.URL.Query().Has("reset"))
		s.Realtime = realtime
		reply(w, s, err)
	})
	mux.HandleFunc("POST /links", func(w http.ResponseWriter, q *http.Request) {
		var changes []Change
		if err := json.NewDecoder(q.Body).Decode(&changes); err != nil {
			http.Error(w, "links: "+err.Error(), http.StatusBadRequest)
			return
		}
		at, err := r.Set(q.Context(), changes)
		reply(w, at, err)
	})
	mux.HandleFunc("POST /capture", func(w http.ResponseWriter, q *http.Request) {
		err := r.Capture(q.Context(), q.URL.Query().Get("path"))
		reply(w, struct{}{}, err)
	})
	return mux
}

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the caller is gone: nothing to tell it
}

// Client speaks to a router over its control socket.
type Client struct{ http http.Client }

// NewClient speaks to the router that listens on the unix socket.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConns: 2}}}
}

// Set makes all changes at one instant, or none.
func (c *Client) Set(ctx context.Context, changes ...Change) (Changed, error) {
	body, err := json.Marshal(changes)
	if err != nil {
		return Changed{}, fmt.Errorf("wan: %w", err)
	}
	var out Changed
	return out, c.do(ctx, http.MethodPost, "/links", string(body), &out)
}

// Status reads the counters; reset begins lateness anew afterwards.
func (c *Client) Status(ctx context.Context, reset bool) (Status, error) {
	path := "/status"
	if reset {
		path += "?reset"
	}
	var out Status
	return out, c.do(ctx, http.MethodGet, path, "", &out)
}

// Capture begins to write every delivered packet to path; an empty path ends it.
func (c *Client) Capture(ctx context.Context, path string) error {
	var out struct{}
	return c.do(ctx, http.MethodPost, "/capture?path="+path, "", &out)
}

func (c *Client) do(ctx context.Context, method, path, body string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://wan"+path, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("wan: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("wan: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end or not wanted
	if resp.StatusCode != http.StatusOK {
		var b [512]byte
		n, _ := resp.Body.Read(b[:])
		return fmt.Errorf("wan: %s", strings.TrimSpace(string(b[:n])))
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("wan: answer: %w", err)
	}
	return nil
}
