package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"
)

// Ports on the machine's own loopback, by which a person's browser reaches what
// stands inside the places.
const (
	PagePort = 8600 // haechi's page, from any tower that lives
	TalkPort = 8610 // talk in pangyo; ansan and anyang are the next two
	OwnPort  = 8650 // the lab's own page
)

// TalkPort is where talk's page of a site is reached on the machine's loopback.
func (p Place) TalkPort() int { return TalkPort + p.number() - 1 }

// listen opens a port on loopback.
func listen(port int) (net.Listener, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("lab: %w: another program has port %d; end it (ss -ltnp shows which), or use --no-ports", err, port)
	}
	return l, nil
}

// ServePage shows haechi's page at one address, whatever burns: each request
// goes to the tower that answered last, or to the next one that does.
func (l *Lab) ServePage(ctx context.Context, on net.Listener) error {
	t := &anyTower{}
	for _, p := range sites {
		t.towers = append(t.towers, l.through(p))
	}
	return serve(ctx, on, proxyTo(pageAddr, t))
}

// ServeTalk shows talk's gateway of a site, as users reach it.
func (l *Lab) ServeTalk(ctx context.Context, on net.Listener, p Place) error {
	return serve(ctx, on, proxyTo(p.GatewayAddr(), l.through(Users)))
}

// through makes HTTP requests as somebody who stands in the place.
func (l *Lab) through(p Place) http.RoundTripper {
	dial := l.DialIn(p)
	return &http.Transport{
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       10 * time.Second,
		ResponseHeaderTimeout: 2 * time.Second,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return dial(ctx, network, addr)
		},
	}
}

// proxyTo passes requests on, event streams without delay.
func proxyTo(addr string, via http.RoundTripper) http.Handler {
	target := &url.URL{Scheme: "http", Host: addr}
	return &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     via,
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "nobody answers in the lab: "+err.Error(), http.StatusBadGateway)
		},
	}
}

// anyTower sends a request to the tower that answered last, then to the others.
type anyTower struct {
	towers []http.RoundTripper
	last   atomic.Int64
}

// RoundTrip tries each tower once. Only requests without a body go to a second one.
func (t *anyTower) RoundTrip(r *http.Request) (*http.Response, error) {
	var errs []error
	first := int(t.last.Load())
	for i := range t.towers {
		n := (first + i) % len(t.towers)
		resp, err := t.towers[n].RoundTrip(r)
		if err == nil {
			t.last.Store(int64(n))
			return resp, nil
		}
		errs = append(errs, err)
		if r.Context().Err() != nil || r.Body != nil && r.Body != http.NoBody {
			break
		}
	}
	return nil, errors.Join(errs...)
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
