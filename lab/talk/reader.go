package talk

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// silentStream is how long a live stream may say nothing, heartbeats included,
// before its reader takes it for dead.
const silentStream = 3 * time.Second

// follower is the listening half of a client: it keeps a live stream of its room
// open and checks what comes. One goroutine owns it.
type follower struct {
	client *client
	seen   Streams
}

// Run follows until ctx ends.
func (f *follower) Run(ctx context.Context) {
	f.seen.Readers = 1
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			f.seen.Reconnects++
		}
		if err := f.stream(ctx); err != nil && ctx.Err() == nil {
			f.client.failed[f.client.at] = time.Now()
			wait(ctx, backoffLeast+time.Duration(f.client.rand.Int64N(int64(backoffLeast))))
		}
	}
}

// stream reads one connection to its end.
func (f *follower) stream(ctx context.Context) error {
	addresses, err := f.client.resolver.Addresses(ctx)
	if err != nil {
		return err
	}
	f.client.at = f.client.pick(addresses, time.Now())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(silentStream, cancel)
	defer silence.Stop()
	to := "http://" + net.JoinHostPort(f.client.at, strconv.Itoa(f.client.port)) + "/rooms/" + f.client.room + "/events"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err != nil {
		return err
	}
	resp, err := f.client.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return statusError(resp.StatusCode)
	}
	order := newOrder()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		silence.Reset(silentStream)
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var m Message
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			return fmt.Errorf("stream of %s: %w", f.client.room, err)
		}
		f.seen.Messages++
		switch order.see(m.Author, m.Body) {
		case twice:
			f.seen.Duplicated++
		case late:
			f.seen.OutOfOrder++
		}
	}
	return lines.Err()
}

// order checks that each author's own numbering rises.
type order struct {
	last map[string]int
	seen map[string]map[int]bool
}

func newOrder() *order {
	return &order{last: map[string]int{}, seen: map[string]map[int]bool{}}
}

// place is where a message stands among its author's.
type place int

const (
	unnumbered place = iota // no load wrote it
	next
	twice
	late // after a later one
)

func (o *order) see(author, body string) place {
	n, ok := numberOf(body)
	if !ok {
		return unnumbered
	}
	if o.seen[author] == nil {
		o.seen[author] = map[int]bool{}
	}
	if o.seen[author][n] {
		return twice
	}
	o.seen[author][n] = true
	if n < o.last[author] {
		return late
	}
	o.last[author] = n
	return next
}
