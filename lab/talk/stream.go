package talk

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"
)

// How the live stream looks for news.
const (
	newsEvery  = 100 * time.Millisecond // between two looks: each costs the primary as much as some sends
	newsLooks  = time.Second            // for one look
	lookBehind = 10_000                 // transactions looked at again after a change of primary
	remembered = 1 << 15                // ids known to be delivered; more than lookBehind
	backlog    = 512                    // messages that a reader may be behind before it is cut off
)

// hub delivers every message to the readers of its room, in the order of the
// database whatever gateway took it, and once.
type hub struct {
	store *store
	log   *slog.Logger

	mu    sync.Mutex
	rooms map[string]map[*reader]bool
}

// reader is one subscriber. News is closed when it is too slow to be served.
type reader struct {
	news chan []byte // messages as JSON
}

func newHub(s *store, log *slog.Logger) *hub {
	return &hub{store: s, log: log, rooms: map[string]map[*reader]bool{}}
}

// Join subscribes to a room; leave ends it.
func (h *hub) Join(room string) (r *reader, leave func()) {
	r = &reader{news: make(chan []byte, backlog)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rooms[room] == nil {
		h.rooms[room] = map[*reader]bool{}
	}
	h.rooms[room][r] = true
	return r, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.dropLocked(room, r)
	}
}

func (h *hub) dropLocked(room string, r *reader) {
	if !h.rooms[room][r] {
		return
	}
	delete(h.rooms[room], r)
	close(r.news)
	if len(h.rooms[room]) == 0 {
		delete(h.rooms, room)
	}
}

// cursor is how far the news have been read. Transaction numbers of a former
// primary that were never replicated are given out again by its successor, so a
// change of primary means to look behind; what was delivered is not repeated.
type cursor struct {
	generation int
	begin      uint64 // where this gateway's present began; nothing before it is news
	next       uint64
	seen       recent
}

// turn adapts the cursor to the generation g.
func (c *cursor) turn(g int) {
	if c.generation != g && c.next != 0 {
		c.next = max(c.begin, c.next-min(c.next, lookBehind))
	}
	c.generation = g
}

// Run looks for news until ctx ends.
func (h *hub) Run(ctx context.Context) {
	c := cursor{seen: newRecent(remembered)}
	for ctx.Err() == nil {
		full, err := h.look(ctx, &c)
		if err != nil && ctx.Err() == nil {
			h.log.Debug("news", "err", err)
		}
		if !full {
			wait(ctx, newsEvery)
		}
	}
}

// look reads one page of news and delivers it. full says that there is more.
func (h *hub) look(ctx context.Context, c *cursor) (full bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, newsLooks)
	defer cancel()
	g, err := h.store.primary(ctx)
	if err != nil {
		return false, err
	}
	defer context.AfterFunc(g.ctx, cancel)()
	c.turn(g.number)
	page, next, err := news(ctx, g, c.next)
	if err != nil {
		return false, err
	}
	if c.next = next; c.begin == 0 {
		c.begin = next
	}
	for _, m := range page {
		if c.seen.add(m.ID) {
			h.deliver(m)
		}
	}
	return len(page) == newsPage, nil
}

func (h *hub) deliver(m Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.rooms[m.Room]) == 0 {
		return
	}
	b, err := json.Marshal(m)
	if err != nil {
		h.log.Error("news", "id", m.ID, "err", err)
		return
	}
	for r := range h.rooms[m.Room] {
		select {
		case r.news <- b:
		default:
			h.dropLocked(m.Room, r)
		}
	}
}

// recent remembers the last ids that were added.
type recent struct {
	ring []string
	at   int
	has  map[string]bool
}

func newRecent(n int) recent {
	return recent{ring: make([]string, n), has: make(map[string]bool, n)}
}

// add says whether id is new.
func (r *recent) add(id string) bool {
	if r.has[id] {
		return false
	}
	delete(r.has, r.ring[r.at])
	r.ring[r.at], r.has[id] = id, true
	r.at = (r.at + 1) % len(r.ring)
	return true
}
