package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/haechi/haechi/core/situation"
)

// Alive is the path at which a tower says that it lives.
const Alive = "/peer/v1/alive"

// web looks by HTTP/1.1 over connections that are kept. There a look that is given up
// closes its connection, so that nothing dead is used again.
type web struct {
	url    func(situation.Target) string
	client func(situation.Target) (*http.Client, error)
}

// Gateway looks at the probe's URL. Any answer shows life; what is not 2xx or 3xx
// stands in the facts as "status".
func Gateway(p situation.Profile) Looker {
	c := client(p, nil)
	return &web{
		url:    func(t situation.Target) string { return t.Address },
		client: func(situation.Target) (*http.Client, error) { return c, nil },
	}
}

// Tower asks a tower whether it lives. conf is called once for each tower, with its
// name; it says whom to show and to expect.
func Tower(p situation.Profile, conf func(tower string) (*tls.Config, error)) Looker {
	clients := keyed(func(name string) (*http.Client, error) {
		c, err := conf(name)
		if err != nil {
			return nil, err
		}
		return client(p, c), nil
	})
	return &web{
		url:    func(t situation.Target) string { return "https://" + t.Address + Alive },
		client: func(t situation.Target) (*http.Client, error) { return clients(t.Component) },
	}
}

func client(p situation.Profile, conf *tls.Config) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: p.Timeout}).DialContext,
			TLSClientConfig:        conf,
			TLSHandshakeTimeout:    p.Timeout,
			Protocols:              protocols,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        time.Minute,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 16 << 10,
			ReadBufferSize:         2 << 10,
			WriteBufferSize:        1 << 10,
		},
	}
}

// Look asks once.
func (w *web) Look(ctx context.Context, t situation.Target) (map[string]string, error) {
	c, err := w.client(t)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url(t), nil)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", t.ID, err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", t.ID, err)
	}
	defer resp.Body.Close()
	// What is left unread would cost the connection.
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)); err != nil {
		return nil, fmt.Errorf("look at %s: the answer breaks off: %w", t.ID, err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return map[string]string{"status": strconv.Itoa(resp.StatusCode)}, nil
	}
	return map[string]string{}, nil
}

// keyed makes one thing for each key and keeps it. A failure is tried again.
func keyed[T any](open func(key string) (T, error)) func(key string) (T, error) {
	var mu sync.Mutex // guards all
	all := map[string]T{}
	return func(key string) (T, error) {
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
