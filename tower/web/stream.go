package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// patience is how long one frame may take to reach a reader before it is dropped.
const patience = 3 * time.Second

// stream sends server-sent events named "now": the whole of [Now] as JSON, or with
// ?sections=1 the sections of the page that changed, as HTML.
func (h *hub) stream(w http.ResponseWriter, r *http.Request) {
	me, ok := h.join()
	if !ok {
		http.Error(w, fmt.Sprintf("%d people read this already; ask another tower", maxReaders), http.StatusServiceUnavailable)
		return
	}
	defer h.leave(me)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	if send(w, "retry: 200\n\n", h.patience) != nil { // a browser would wait seconds
		return
	}
	encode := whole
	if r.URL.Query().Has("sections") {
		encode = changes()
	}
	for {
		select {
		case f, open := <-me.frames:
			if !open || send(w, fmt.Sprintf("event: now\ndata: %s\n\n", encode(f)), h.patience) != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-h.ctx.Done():
			return
		}
	}
}

// send writes what stands in a stream, and gives up on a reader that does not take it.
func send(w http.ResponseWriter, text string, patience time.Duration) error {
	out := http.NewResponseController(w)
	if err := out.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	return out.Flush()
}

func whole(f frame) []byte { return f.json }

// changes returns an encoder that remembers what this reader has seen already.
func changes() func(frame) []byte {
	seen := map[string]string{}
	return func(f frame) []byte {
		fresh := map[string]string{}
		for id, html := range f.sections {
			if before, sent := seen[id]; !sent || before != html {
				seen[id], fresh[id] = html, html
			}
		}
		raw, err := json.Marshal(struct {
			At       time.Time         `json:"at"`
			Sections map[string]string `json:"sections"`
		}{f.at, fresh})
		if err != nil {
			return []byte("{}") // strings and a time: it cannot fail
		}
		return raw
	}
}
