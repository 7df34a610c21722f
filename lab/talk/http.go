package talk

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// How long the gateway works on a request.
const (
	sendWithin  = 800 * time.Millisecond // then the client is told to come back, before it gives this address up
	readWithin  = 2 * time.Second
	heartbeat   = time.Second // an empty line to readers, so that they know a dead stream
	writeWithin = 2 * time.Second
	pageDefault = 200
	pageMost    = 1000
)

//go:embed page.html
var pageHTML []byte

// send stores a message: 200 means that it cannot be lost with one site, 503
// that nobody knows and the client sends it again with the same id.
func (g *gateway) send(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	var m Message
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSend))
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	if err != nil {
		g.refuse(w, http.StatusBadRequest, "malformed", `send {"author": …, "body": …} as JSON: `+err.Error())
		return
	}
	m = Message{ID: r.PathValue("id"), Room: r.PathValue("room"), Author: m.Author, Body: m.Body}
	if err := m.check(); err != nil {
		g.refuse(w, http.StatusBadRequest, "malformed", err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), sendWithin)
	defer cancel()
	got, err := g.store.Send(ctx, m)
	switch {
	case err == nil:
		g.acknowledged.Inc()
		g.took.Observe(time.Since(began).Seconds())
		answer(w, http.StatusOK, got)
	case errors.Is(err, errDiffers):
		g.refuse(w, http.StatusConflict, "differs", err.Error())
	case errors.Is(err, errUnconfirmed):
		g.refuse(w, http.StatusServiceUnavailable, "unconfirmed", err.Error())
	default:
		g.refuse(w, http.StatusServiceUnavailable, "unavailable", err.Error())
	}
}

func (g *gateway) history(w http.ResponseWriter, r *http.Request) {
	after, limit := int64(0), pageDefault
	var errs []error
	if s := r.FormValue("after"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		after, errs = n, append(errs, err)
	}
	if s := r.FormValue("limit"); s != "" {
		n, err := strconv.Atoi(s)
		limit, errs = min(max(n, 1), pageMost), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		answer(w, http.StatusBadRequest, problem{"after and limit are whole numbers: " + err.Error()})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readWithin)
	defer cancel()
	page, err := g.store.History(ctx, r.PathValue("room"), after, limit)
	if err != nil {
		answer(w, http.StatusServiceUnavailable, problem{err.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]any{"room": r.PathValue("room"), "messages": append([]Message{}, page...)})
}

// events streams a room from now on. A reader that was away asks the history.
func (g *gateway) events(w http.ResponseWriter, r *http.Request) {
	mine, leave := g.hub.Join(r.PathValue("room"))
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	to := http.NewResponseController(w)
	put := func(prefix, data string) bool {
		_ = to.SetWriteDeadline(time.Now().Add(writeWithin))
		_, err := io.WriteString(w, prefix+data+"\n\n")
		return err == nil
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for ok := put("retry: ", "200"); ok && to.Flush() == nil; {
		select {
		case b, open := <-mine.news:
			ok = open && put("data: ", string(b))
			for n := len(mine.news); ok && n > 0; n-- {
				b, open = <-mine.news
				ok = open && put("data: ", string(b))
			}
		case <-beat.C:
			ok = put(":", "")
		case <-r.Context().Done():
			return
		case <-g.done:
			return
		}
	}
}

// Health is what /healthz answers. It never asks the database; it says what the
// watcher heard last, so it answers as long as the gateway lives.
type Health struct {
	Site         string            `json:"site"`
	DB           string            `json:"db"`                // "ok", or what is wrong
	Primary      string            `json:"primary,omitempty"` // host:port that takes writes, as seen from here
	Timeline     uint32            `json:"timeline,omitempty"`
	Acknowledged int64             `json:"acknowledged"`
	Hosts        map[string]string `json:"hosts"` // what each host last said: primary, standby, or an error
}

func (g *gateway) health(w http.ResponseWriter, _ *http.Request) {
	now, sights := g.store.watch.Sights()
	h := Health{
		Site: g.site, Primary: now.Host, Timeline: now.Timeline, DB: "ok",
		Acknowledged: int64(count(g.acknowledged)), Hosts: map[string]string{},
	}
	for host, s := range sights {
		switch {
		case s.Err != "":
			h.Hosts[host] = s.Err
		case s.Writable:
			h.Hosts[host] = "primary"
		default:
			h.Hosts[host] = "standby"
		}
	}
	switch p := sights[now.Host]; {
	case now.Host == "":
		h.DB = "no host takes writes"
	case p.Err != "":
		h.DB = "the primary does not answer: " + p.Err
	}
	answer(w, http.StatusOK, h)
}

func (g *gateway) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'")
	_, _ = w.Write(pageHTML)
}

type problem struct {
	Error string `json:"error"`
}

func (g *gateway) refuse(w http.ResponseWriter, status int, reason, say string) {
	g.refused.WithLabelValues(reason).Inc()
	answer(w, status, problem{say})
}

func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"the answer could not be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// count reads a counter back.
func count(c prometheus.Counter) float64 {
	var m dto.Metric
	if c.Write(&m) != nil {
		return 0
	}
	return m.GetCounter().GetValue()
}
