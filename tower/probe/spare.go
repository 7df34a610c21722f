package probe

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
)

// spare keeps at most one idle connection to a target. A look takes it, or makes a
// new one, and gives back what still works; so that of several looks at once each has its own,
// and nothing that was given up is used again.
type spare[C io.Closer] struct {
	mu   sync.Mutex // guards what follows
	idle C
	have bool
}

func (s *spare[C]) take() (C, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.idle, s.have
	var none C
	s.idle, s.have = none, false
	return c, ok
}

// back takes a connection back, or closes it where it cannot be used again or there is another.
func (s *spare[C]) back(c C, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.have || !again {
		go func() { _ = c.Close() }()
		return
	}
	s.idle, s.have = c, true
}

// used is how a look over a connection went: what was heard, and whether the connection
// can be used again.
type used struct {
	facts map[string]string
	again bool
}

// kept looks with the idle connection, or with a new one. Where the idle one fails before the
// time is up, the other side has ended it meanwhile, which says nothing of now.
func kept[C io.Closer](ctx context.Context, s *spare[C], open func(context.Context) (C, error), look func(context.Context, C) (used, error)) (map[string]string, error) {
	if c, ok := s.take(); ok {
		u, err := look(ctx, c)
		s.back(c, err == nil && u.again)
		if err == nil || late(ctx, err) {
			return u.facts, err
		}
	}
	c, err := open(ctx)
	if err != nil {
		return nil, err
	}
	u, err := look(ctx, c)
	s.back(c, err == nil && u.again)
	return u.facts, err
}

// late says that a look ended because its time was up.
func late(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// keyed makes one thing for each key and keeps it. A failure is tried again.
func keyed[K comparable, T any](open func(K) (T, error)) func(K) (T, error) {
	var mu sync.Mutex // guards all
	all := map[K]T{}
	return func(key K) (T, error) {
		mu.Lock()
		defer mu.Unlock()
		if have, ok := all[key]; ok {
			return have, nil
		}
		fresh, err := open(key)
		if err == nil {
			all[key] = fresh
		}
		return fresh, err
	}
}
