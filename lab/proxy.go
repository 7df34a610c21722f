package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Ports on the machine's own loopback, by which a person's browser reaches what
// stands inside the places.
const (
	PagePort = 8600 // haechi's page, from any tower that lives
	TalkPort = 8610 // talk, from any gateway that answers; the next three are those of one site
	OwnPort  = 8650 // the lab's own page
)

// TalkPort is where talk's page of a site, and of no other, is reached on the machine's loopback.
func (p Place) TalkPort() int { return TalkPort + p.number() }

// listen opens a port on loopback.
func listen(port int) (net.Listener, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("lab: %w: another program has port %d, by which browsers reach the lab: end that one (ss -ltnp 'sport = :%d' shows it); haechi lab up does without with --no-ports", err, port, port)
	}
	return l, nil
}

// ServePage shows haechi's page at one address, whatever burns: each request
// goes to the tower that answered last, or to the next one that does.
func (l *Lab) ServePage(ctx context.Context, on net.Listener) error {
	var towers anyOf
	for _, p := range sites {
		towers.all = append(towers.all, upstream{pageAddr, l.through(p), l.fires.of(p)})
	}
	return serve(ctx, on, proxyTo(&towers))
}

// ServeTalk shows talk's gateways of some sites as users reach them: the one that
// answered last, or the next one that does.
func (l *Lab) ServeTalk(ctx context.Context, on net.Listener, of ...Place) error {
	var gateways anyOf
	for _, p := range of {
		gateways.all = append(gateways.all, upstream{p.GatewayAddr(), l.through(Users), l.fires.of(p)})
	}
	return serve(ctx, on, proxyTo(&gateways))
}

// mostQuiet is how long a server may say nothing: towers and gateways send something to
// the readers of a stream each second.
const mostQuiet = 3 * time.Second

// through makes HTTP requests as somebody who stands in the place.
func (l *Lab) through(p Place) http.RoundTripper {
	dial := l.DialIn(p)
	return &http.Transport{
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       time.Second, // with the next line less than mostQuiet
		ResponseHeaderTimeout: time.Second, // longer than a gateway works on a message
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			defer cancel()
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return impatient{c}, nil
		},
	}
}

// impatient is a connection that breaks when nothing comes for a while.
type impatient struct{ net.Conn }

func (c impatient) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(mostQuiet)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// proxyTo passes requests on, event streams without delay.
func proxyTo(servers *anyOf) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "lab"}) },
		Transport:     servers,
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "nobody answers in the lab: "+err.Error(), http.StatusBadGateway)
		},
	}
}

// upstream is one server in a site.
type upstream struct {
	addr  string
	via   http.RoundTripper
	burns func() <-chan struct{} // closed when the site burns
}

var errBurned = errors.New("its site burned")

// RoundTrip asks the server. What is under way ends with a fire in its site, before the
// lab has killed everything there.
func (u upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	burned := u.burns()
	select {
	case <-burned:
		return nil, fmt.Errorf("%s: %w", u.addr, errBurned)
	default:
	}
	ctx, end := context.WithCancelCause(r.Context())
	go func() {
		select {
		case <-burned:
			end(errBurned)
		case <-ctx.Done(): // at the latest when the browser was answered to the end
		}
	}()
	r = r.Clone(ctx)
	r.URL.Host = u.addr
	resp, err := u.via.RoundTrip(r)
	if err != nil {
		end(err)
	}
	return resp, err
}

// anyOf sends a request to the server that answered last, then to the others.
type anyOf struct {
	all  []http.RoundTripper
	last atomic.Int64
}

// mostBody is more than talk takes in a message.
const mostBody = 1 << 16

// RoundTrip tries each server once. A message may thus be put twice, under the id that
// its client gave it: talk keeps one. An answer that says "not now" is the last choice.
func (t *anyOf) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(io.LimitReader(r.Body, mostBody)); err != nil {
			return nil, err
		}
		_ = r.Body.Close() // read to its end
	}
	var errs []error
	first := t.last.Load()
	for i := range t.all {
		n := (int(first) + i) % len(t.all)
		try := r.Clone(r.Context())
		if try.Body, try.ContentLength = http.NoBody, int64(len(body)); len(body) > 0 {
			try.Body = io.NopCloser(bytes.NewReader(body))
		}
		resp, err := t.all[n].RoundTrip(try)
		if err == nil && (resp.StatusCode != http.StatusServiceUnavailable || i == len(t.all)-1) {
			return resp, nil
		}
		// Whoever comes next begins with the next one, also where this one's asker has left.
		t.last.CompareAndSwap(int64(n), int64((n+1)%len(t.all)))
		if err == nil {
			err = errors.Join(errors.New(resp.Status), resp.Body.Close())
		}
		if errs = append(errs, err); r.Context().Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// fires tells those who look at a site from outside that it burns, while it still does.
type fires struct {
	mu  sync.Mutex // guards what follows
	lit map[Place]chan struct{}
}

// of returns how to ask for what is closed when the site burns next.
func (f *fires) of(p Place) func() <-chan struct{} {
	return func() <-chan struct{} {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.ofLocked(p)
	}
}

func (f *fires) ofLocked(p Place) chan struct{} {
	if f.lit == nil {
		f.lit = map[Place]chan struct{}{}
	}
	if f.lit[p] == nil {
		f.lit[p] = make(chan struct{})
	}
	return f.lit[p]
}

// light says that a site burns. It does so once, until it is rebuilt.
func (f *fires) light(p Place) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.ofLocked(p): // burned before
	default:
		close(f.lit[p])
	}
}

// out says that a site stands again.
func (f *fires) out(p Place) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.lit, p)
}

// serve answers until ctx ends.
func serve(ctx context.Context, on net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(on); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
