package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/haechi/haechi/core/situation"
)

// Alive is the path at which a tower says that it lives.
const Alive = "/peer/v1/alive"

// page is where something is looked at by HTTP/1.1, and how. net/http's client would do, but
// it wakes four goroutines for each look, which at rest is most of what a tower does.
type page struct {
	address string // host:port
	tls     *tls.Config
	request []byte
	says    bool // its answer is a JSON object of facts, or empty
	idle    spare[*httpConn]
}

// httpConn is a connection with what was read ahead, and with a limit to what one answer
// may take.
type httpConn struct {
	net.Conn
	limit *io.LimitedReader
	ahead *bufio.Reader
}

// most is how much of an answer is read. A longer one costs its connection.
const most = 64 << 10

// Gateway looks at the probe's URL. Any answer shows life; a status of 400 and above
// stands in the facts as "status".
func Gateway() Looker {
	return pages(func(t situation.Target) (*page, error) {
		return newPage(t.Address, &tls.Config{MinVersion: tls.VersionTLS12})
	})
}

// Tower asks a tower whether it lives. conf gets the tower's name; it says whom to show
// and to expect.
func Tower(conf func(tower string) (*tls.Config, error)) Looker {
	return pages(func(t situation.Target) (*page, error) {
		c, err := conf(t.Component)
		if err != nil {
			return nil, err
		}
		p, err := newPage("https://"+t.Address+Alive, c)
		if err == nil {
			p.says = true
		}
		return p, err
	})
}

func pages(open func(situation.Target) (*page, error)) Looker {
	of := keyed(open)
	return LookFunc(func(ctx context.Context, t situation.Target) (map[string]string, error) {
		p, err := of(t)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", t.ID, err)
		}
		facts, err := kept(ctx, &p.idle, p.open, p.get)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", t.ID, err)
		}
		return facts, nil
	})
}

func newPage(address string, conf *tls.Config) (*page, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	p := &page{address: u.Host}
	port := "80"
	switch u.Scheme {
	case "https":
		port = "443"
		p.tls = conf.Clone()
		p.tls.NextProtos = []string{"http/1.1"}
		if p.tls.ServerName == "" {
			p.tls.ServerName = u.Hostname()
		}
	case "http":
	default:
		return nil, fmt.Errorf("%q is neither http nor https", address)
	}
	if u.Port() == "" {
		p.address = net.JoinHostPort(u.Hostname(), port)
	}
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "haechi")
	var b bytes.Buffer
	err = req.Write(&b)
	p.request = b.Bytes()
	return p, err
}

func (p *page) open(ctx context.Context) (*httpConn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	if p.tls != nil {
		t := tls.Client(c, p.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			c.Close()
			return nil, err
		}
		c = t
	}
	limit := &io.LimitedReader{R: c}
	return &httpConn{c, limit, bufio.NewReaderSize(limit, 2<<10)}, nil
}

func (p *page) get(ctx context.Context, c *httpConn) (used, error) {
	if err := until(ctx, c); err != nil {
		return used{}, err
	}
	c.limit.N = most
	if _, err := c.Write(p.request); err != nil {
		return used{}, err
	}
	resp, err := http.ReadResponse(c.ahead, nil)
	if err != nil {
		return used{}, err
	}
	defer resp.Body.Close()
	heard, facts := time.Now(), map[string]string{}
	if resp.StatusCode >= http.StatusBadRequest {
		facts[situation.FactStatus] = strconv.Itoa(resp.StatusCode)
	}
	if p.says && resp.StatusCode == http.StatusOK {
		var said map[string]string
		if json.NewDecoder(resp.Body).Decode(&said) == nil { // that it answers counts, whether or not what it says can be read
			maps.Copy(facts, said)
		}
	}
	if _, err = io.Copy(io.Discard, resp.Body); err != nil && late(ctx, err) {
		return used{}, &Partly{heard, facts, err}
	}
	return used{facts, err == nil && c.limit.N > 0 && !resp.Close}, nil
}

// until gives a connection the time that a look has.
func until(ctx context.Context, c net.Conn) error {
	at, _ := ctx.Deadline() // zero: for ever
	return c.SetDeadline(at)
}
