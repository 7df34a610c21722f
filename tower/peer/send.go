package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
)

const (
	leastLimit = 200 * time.Millisecond // for one view to be acknowledged, whatever the profile says
	againAfter = 50 * time.Millisecond  // between two attempts at a peer that does not answer
)

// Peer is where a tower listens.
type Peer struct {
	Name    string
	Address string // host:port
}

// letter is a message for several peers, of whom the first to send it whole writes it out.
type letter struct {
	message
	text func() ([]byte, error)
}

func write(m message) letter {
	return letter{m, sync.OnceValues(func() ([]byte, error) { return json.Marshal(m) })}
}

// Contact is how we stand with one peer, as its sender sees it.
type Contact struct {
	Answered time.Time // when it last acknowledged a view; zero: never
	Error    string    // of the last attempt; "" if it succeeded

	trying time.Time // since when an attempt is under way; zero: none is
}

// reached says whether the peer takes views, as far as is known.
func (c Contact) reached(now time.Time) bool {
	return c.Error == "" && (c.trying.IsZero() || now.Sub(c.trying) < leastLimit)
}

// box holds what one peer has not been sent yet: the newest of each observer.
type box struct {
	ring chan struct{} // there is something
	held map[string]letter
}

// put is called with the sender's mutex held.
func (b *box) put(l letter) {
	b.held[l.Observer] = l
	select {
	case b.ring <- struct{}{}:
	default:
	}
}

// Sender hands our views to each peer, from one goroutine for each, so that a
// dead peer holds up nobody. A view that was not sent when the next one comes is dropped.
// Where users' networks reach only some of the towers, those pass the views of observers on.
type Sender struct {
	limit time.Duration
	log   *slog.Logger
	stop  context.CancelFunc
	done  sync.WaitGroup

	mu    sync.Mutex // guards what follows
	boxes map[string]*box
	state map[string]Contact
}

// NewSender starts to send to peers, with our files f. silence is the profile's:
// a view that is not acknowledged within it is not worth waiting for. Close it.
func NewSender(peers []Peer, f pki.Files, silence time.Duration, log *slog.Logger) (*Sender, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Sender{limit: max(silence, leastLimit), log: log, stop: stop, boxes: map[string]*box{}, state: map[string]Contact{}}
	var lines []*line
	for _, p := range peers {
		t, err := pki.ClientTLS(f, pki.Named(pki.Tower, p.Name))
		if err != nil {
			stop()
			return nil, fmt.Errorf("peer %s: %w", p.Name, err)
		}
		l := newLine(p, t, s.limit)
		s.boxes[p.Name] = &box{ring: make(chan struct{}, 1), held: map[string]letter{}}
		s.state[p.Name] = Contact{}
		lines = append(lines, l)
	}
	for _, l := range lines {
		box := s.boxes[l.peer.Name]
		s.done.Go(func() { s.serve(ctx, l, box) })
	}
	return s, nil
}

// Send hands v to all peers and returns at once. The view of an observer on a user network is
// passed on, by those that it reaches, to those that it does not: a tower whose site users cannot
// reach would else be the last to hear of it, and it may be the one that drives.
func (s *Sender) Send(v situation.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := message{View: v}
	if v.Site == "" {
		m.PassTo = s.unreachedLocked(time.Now())
	}
	l := write(m)
	for _, b := range s.boxes {
		b.put(l)
	}
}

// Pass hands the view of an observer to those peers in to, and returns at once.
func (s *Sender) Pass(v situation.View, to []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := write(message{View: v})
	for _, name := range to {
		if b, ok := s.boxes[name]; ok {
			b.put(l)
		}
	}
}

func (s *Sender) unreachedLocked(now time.Time) (out []string) {
	for name, c := range s.state {
		if !c.reached(now) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Contacts returns how we stand with each peer.
func (s *Sender) Contacts() map[string]Contact {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.state)
}

// Close ends all sending and waits until it has ended.
func (s *Sender) Close() {
	s.stop()
	s.done.Wait()
}

// serve sends what comes into a box to one peer.
func (s *Sender) serve(ctx context.Context, l *line, b *box) {
	defer l.hangUp()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.ring:
		}
		for _, m := range s.take(l.peer, b) {
			err := l.send(ctx, m)
			if ctx.Err() != nil {
				return
			}
			s.note(l.peer, err)
			if err == nil {
				continue
			}
			if !rest(ctx, againAfter) {
				return
			}
			break // what else there was is old by now
		}
	}
}

// take empties a box for an attempt that begins now.
func (s *Sender) take(p Peer, b *box) []letter {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.state[p.Name]
	c.trying = time.Now()
	s.state[p.Name] = c
	out := slices.Collect(maps.Values(b.held))
	clear(b.held)
	return out
}

// note keeps how an attempt ended and logs what is new.
func (s *Sender) note(p Peer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.state[p.Name]
	was := c.Error
	c.trying = time.Time{}
	if err != nil {
		c.Error = err.Error()
	} else {
		c.Error, c.Answered = "", time.Now()
	}
	s.state[p.Name] = c
	switch {
	case err != nil && was == "":
		s.log.Warn("peer: does not take our views", "peer", p.Name, "address", p.Address, "error", err)
	case err == nil && was != "":
		s.log.Info("peer: takes our views again", "peer", p.Name)
	}
}

// rest waits; false means that ctx ended.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
