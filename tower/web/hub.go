package web

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"
)

// hub looks at the desk once for all readers of the stream, and not at all when
// there are none.
type hub struct {
	ctx   context.Context // ends every stream
	look  func() Now
	draw  func(Now) (map[string]string, error) // the page's sections, as HTML
	every time.Duration                        // between two looks
	beat  time.Duration                        // a frame is sent at least this often

	patience time.Duration // how long one frame may take to reach its reader

	mu      sync.Mutex // guards what follows
	readers map[*reader]struct{}
	running bool // somebody looks
}

// frame is one state of everything, drawn once and shared by all readers.
type frame struct {
	at       time.Time
	json     []byte
	sections map[string]string
}

// reader is one open stream. Its frames are bounded: who cannot keep up is dropped.
type reader struct{ frames chan frame }

// Limits of the stream.
const (
	lookEvery  = 250 * time.Millisecond
	beatEvery  = time.Second
	maxReaders = 100
	maxBehind  = 8 // frames
)

func newHub(ctx context.Context, look func() Now, draw func(Now) (map[string]string, error)) *hub {
	return &hub{ctx: ctx, look: look, draw: draw, every: lookEvery, beat: beatEvery, patience: patience, readers: map[*reader]struct{}{}}
}

// join adds a reader; false if there are too many. The first one starts the looking.
func (h *hub) join() (*reader, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.readers) >= maxReaders {
		return nil, false
	}
	r := &reader{frames: make(chan frame, maxBehind)}
	h.readers[r] = struct{}{}
	if !h.running {
		h.running = true
		go h.run()
	}
	return r, true
}

// leave forgets a reader. Its channel is closed, so that a stream that was dropped notices.
func (h *hub) leave(r *reader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leaveLocked(r)
}

func (h *hub) leaveLocked(r *reader) {
	if _, here := h.readers[r]; here {
		delete(h.readers, r)
		close(r.frames)
	}
}

// run looks until nobody reads any more.
func (h *hub) run() {
	tick := time.NewTicker(h.every)
	defer tick.Stop()
	var last frame
	for {
		if f, err := h.take(); err == nil && (f.at.Sub(last.at) >= h.beat || !same(f, last)) {
			last = f
			h.send(f)
		}
		select {
		case <-tick.C:
			if h.idle() {
				return
			}
		case <-h.ctx.Done():
			return
		}
	}
}

// idle says whether nobody reads; then the next reader to join starts the looking again.
func (h *hub) idle() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running = len(h.readers) > 0
	return !h.running
}

// send hands a frame to every reader, and drops those that are too far behind.
func (h *hub) send(f frame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.readers {
		select {
		case r.frames <- f:
		default:
			h.leaveLocked(r)
		}
	}
}

// take looks once and draws what it saw.
func (h *hub) take() (frame, error) {
	n := Describe(h.look())
	raw, err := json.Marshal(n)
	if err != nil {
		return frame{}, err
	}
	sections, err := h.draw(n)
	return frame{at: n.At, json: raw, sections: sections}, err
}

// same says whether two frames differ in nothing but their time.
func same(a, b frame) bool {
	return bytes.Equal(afterTime(a.json), afterTime(b.json))
}

// afterTime cuts off "at", which is the first field of Now.
func afterTime(raw []byte) []byte {
	_, rest, _ := bytes.Cut(raw, []byte(","))
	return rest
}
