package talk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// How a good client behaves.
const (
	requestWithin = time.Second            // then it tries elsewhere
	backoffLeast  = 50 * time.Millisecond  // before the first retry, half to one and a half of it
	backoffMost   = 500 * time.Millisecond // doubled up to this
	avoidFor      = 2 * time.Second        // an address that failed is the last choice for so long
)

// client sends one message after the other, in order, for ever with the same id
// until it is acknowledged. One goroutine owns it.
type client struct {
	number   int
	author   string
	room     string
	resolver *resolver
	port     int
	rand     *rand.Rand
	http     *http.Client
	failure  func(kind string) // counts
	at       string            // address in use
	failed   map[string]time.Time
	refused  int // answers in a row from the address in use that were none
}

// patience is how many such answers a client takes before it tries another
// address. One may only mean that the database moves, which every gateway sees;
// a second one, that this gateway does not reach it and another may.
const patience = 2

func newClient(c LoadConfig, number int, r *resolver, failure func(string)) *client {
	return &client{
		number: number, author: authorOf(c.Seed, c.Tag, number), room: roomOf(number, c.Rooms), resolver: r, port: c.Port,
		rand: rand.New(rand.NewPCG(c.Seed^0x7461_6c6b, uint64(number))),
		http: httpClient(c.local(), 1), failure: failure, failed: map[string]time.Time{},
	}
}

// httpClient keeps connections alive and finds out soon when they are dead.
func httpClient(local net.IP, idle int) *http.Client {
	var from net.Addr
	if local != nil {
		from = &net.TCPAddr{IP: local}
	}
	return &http.Client{Transport: &http.Transport{
		DialContext:         dialer(from, askNameserver).DialContext,
		MaxIdleConnsPerHost: idle, IdleConnTimeout: 30 * time.Second,
		DisableCompression: true, WriteBufferSize: 2 << 10, ReadBufferSize: 2 << 10,
	}}
}

// pick chooses the address to use next: the one in use while the name still
// points to it and it works, else any that did not fail lately.
func (c *client) pick(addresses []string, now time.Time) string {
	bad := func(a string) bool { t, ok := c.failed[a]; return ok && now.Sub(t) < avoidFor }
	if slices.Contains(addresses, c.at) && !bad(c.at) {
		return c.at
	}
	order := slices.Clone(addresses)
	c.rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	if i := slices.IndexFunc(order, func(a string) bool { return !bad(a) }); i >= 0 {
		return order[i]
	}
	// All failed lately: the one whose failure is longest ago.
	return slices.MinFunc(order, func(a, b string) int { return c.failed[a].Compare(c.failed[b]) })
}

// send returns when the nth message is acknowledged, or with false when ctx ended.
func (c *client) send(ctx context.Context, id string, n int) (a Ack, ok bool) {
	a = Ack{ID: id, Room: c.room, Client: c.number, N: n, FirstSent: time.Now()}
	body, _ := json.Marshal(map[string]string{"author": c.author, "body": bodyOf(n)}) // two strings: cannot fail
	pause := backoffLeast
	for ctx.Err() == nil {
		a.Tries++
		seq, err := c.once(ctx, id, body)
		if err == nil {
			a.Acked, a.Seq, a.By = time.Now(), seq, c.at
			return a, true
		}
		if ctx.Err() != nil {
			break
		}
		c.failure(kindOf(err))
		wait(ctx, pause/2+time.Duration(c.rand.Int64N(int64(pause))))
		pause = min(2*pause, backoffMost)
	}
	return a, false
}

// once makes one request. After a failure of the address itself the next request
// goes elsewhere; after one of the database behind it, not at once.
func (c *client) once(ctx context.Context, id string, body []byte) (seq int64, err error) {
	addresses, err := c.resolver.Addresses(ctx)
	if err != nil {
		return 0, fmt.Errorf("resolve: %w", err)
	}
	c.at = c.pick(addresses, time.Now())
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	to := url.URL{Scheme: "http", Host: net.JoinHostPort(c.at, strconv.Itoa(c.port)), Path: "/rooms/" + c.room + "/messages/" + id}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, to.String(), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		c.failed[c.at] = time.Now()
		return 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxSend))
	if err != nil {
		c.failed[c.at] = time.Now()
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		if c.refused++; c.refused >= patience {
			c.refused, c.failed[c.at] = 0, time.Now()
		}
		return 0, statusError(resp.StatusCode)
	}
	c.refused = 0
	var m Message
	if err := json.Unmarshal(answer, &m); err != nil || m.ID != id {
		return 0, fmt.Errorf("answer for %s: %q: %w", id, answer, err)
	}
	return m.Seq, nil
}
