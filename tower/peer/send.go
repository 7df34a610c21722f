package peer

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
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

// Contact is how we stand with one peer, as its sender sees it.
type Contact struct {
	Answered time.Time // when it last acknowledged a view; zero: never
	Error    string    // of the last attempt; "" if it succeeded
}

// Sender hands our views to each peer, from one goroutine for each, so that a
// dead peer holds up nobody. A view that was not sent when the next one comes is dropped.
type Sender struct {
	limit time.Duration
	log   *slog.Logger
	stop  context.CancelFunc
	done  sync.WaitGroup

	mu    sync.Mutex // guards what follows
	boxes map[string]chan situation.View
	state map[string]Contact
}

// NewSender starts to send to peers, with our files f. silence is the profile's:
// a view that is not acknowledged within it is not worth waiting for. Close it.
func NewSender(peers []Peer, f pki.Files, silence time.Duration, log *slog.Logger) (*Sender, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Sender{limit: max(silence, leastLimit), log: log, stop: stop, boxes: map[string]chan situation.View{}, state: map[string]Contact{}}
	var lines []*line
	for _, p := range peers {
		t, err := pki.ClientTLS(f, pki.Named(pki.Tower, p.Name))
		if err != nil {
			stop()
			return nil, fmt.Errorf("peer %s: %w", p.Name, err)
		}
		l := newLine(p, t, s.limit)
		s.boxes[p.Name] = make(chan situation.View, 1)
		s.state[p.Name] = Contact{}
		lines = append(lines, l)
	}
	for _, l := range lines {
		box := s.boxes[l.peer.Name]
		s.done.Go(func() { s.serve(ctx, l, box) })
	}
	return s, nil
}

// Send hands v to all peers and returns at once.
func (s *Sender) Send(v situation.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, box := range s.boxes {
		select {
		case <-box: // the peer has not taken the last one
		default:
		}
		box <- v
	}
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

// serve sends what comes into box to one peer.
func (s *Sender) serve(ctx context.Context, l *line, box <-chan situation.View) {
	defer l.hangUp()
	for {
		select {
		case <-ctx.Done():
			return
		case v := <-box:
			err := l.send(ctx, v)
			if ctx.Err() != nil {
				return
			}
			s.note(l.peer, err)
			if err != nil && !rest(ctx, againAfter) {
				return
			}
		}
	}
}

// note keeps how an attempt ended and logs what is new.
func (s *Sender) note(p Peer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.state[p.Name]
	was := c.Error
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
