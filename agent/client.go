package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/pki"
)

// ErrUnreached means that the order surely did not arrive: nothing was changed. Any other
// error that is not a *[Refused] leaves it unknown.
var ErrUnreached = errors.New("agent cannot be reached")

// Refused is an answer with a code. All codes but [Failed] mean that nothing was changed.
type Refused struct {
	Host   string
	Order  Order
	Answer Answer
}

// Error says who refused what, and why.
func (r *Refused) Error() string {
	return fmt.Sprintf("agent %s: %s %s: %s: %s", r.Host, r.Order.Verb, r.Order.Unit, r.Answer.Code, r.Answer.Error)
}

// Unchanged says whether err proves that the order changed nothing.
func Unchanged(err error) bool {
	if r, ok := errors.AsType[*Refused](err); ok {
		return r.Answer.Code != Failed
	}
	return errors.Is(err, ErrUnreached)
}

// Caller gives orders to one agent.
type Caller interface {
	// Call waits for the answer until ctx ends. The answer is there with a *[Refused], too.
	Call(ctx context.Context, o Order) (Answer, error)
}

// Client is a Caller over mTLS. It keeps one connection open and may be used by many
// goroutines at once.
type Client struct {
	host string
	url  string // of its orders
	base string // of all that it serves
	http *http.Client

	// Line, if set, says by which records orders are given that change something and do not say so themselves. It is set
	// before the first call.
	Line func() string

	mu      sync.Mutex // guards what follows
	clock   reading
	release int  // that the agent said last
	spoken  bool // it has answered
}

// How long a peer may be silent before its connection is given up.
const (
	dialTimeout = 2 * time.Second
	deadAfter   = 2 * time.Second
)

// NewClient returns a client for the agent of host at address ("10.0.0.5:9444").
func NewClient(host, address string, files pki.Files) (*Client, error) {
	conf, err := pki.ClientTLS(files, pki.Named(pki.Agent, host))
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", host, err)
	}
	return newClient(host, address, conf), nil
}

// NewLooker returns a client for looks alone, over HTTP/1.1: for a short question and a short
// answer, many times a second, that costs both sides less than half of what HTTP/2 does.
// An agent takes no acts over it.
func NewLooker(host, address string, files pki.Files) (*Client, error) {
	conf, err := pki.ClientTLS(files, pki.Named(pki.Agent, host))
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", host, err)
	}
	return clientOver(1, host, address, conf), nil
}

func newClient(host, address string, conf *tls.Config) *Client {
	return clientOver(2, host, address, conf)
}

// clientOver speaks HTTP of a major version.
func clientOver(major int, host, address string, conf *tls.Config) *Client {
	d := &net.Dialer{Timeout: dialTimeout, Control: GiveUpAfter(deadAfter)}
	conf.NextProtos = []string{map[int]string{1: "http/1.1", 2: "h2"}[major]}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(major == 1)
	protocols.SetHTTP2(major == 2)
	tr := &http.Transport{
		Protocols:       protocols,
		TLSClientConfig: conf,
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dial(ctx, d, conf, network, address)
		},
		IdleConnTimeout:        5 * time.Minute,
		MaxResponseHeaderBytes: 16 << 10,
		DisableCompression:     true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: deadAfter, PingTimeout: deadAfter},
	}
	base := "https://" + address + "/v1/"
	return &Client{host: host, url: base + "order", base: base, http: &http.Client{Transport: tr}}
}

// dial connects and shakes hands. What fails here, fails before an order is sent.
func dial(ctx context.Context, d *net.Dialer, conf *tls.Config, network, address string) (net.Conn, error) {
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	t := tls.Client(c, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return t, nil
}

// GiveUpAfter is the Control of a [net.Dialer] whose connections end when what was sent is not acknowledged by the
// other side's kernel within limit (tcp(7), TCP_USER_TIMEOUT), where TCP alone would try for many minutes.
func GiveUpAfter(limit time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var set error
		if err := c.Control(func(fd uintptr) {
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit/time.Millisecond))
		}); err != nil {
			return err
		}
		return set
	}
}

// Call gives one order. The agent does nothing for it after ctx's deadline, even where it hears of
// it late or is stopped meanwhile. One that is refused as late while ctx lasts is given once
// more: then what was known here of the agent's clock was too old.
//
// An agent of the release before is given what it understands. What it would not is refused here, in its name.
func (c *Client) Call(ctx context.Context, o Order) (Answer, error) {
	if o.changes() && o.Line == "" && c.Line != nil {
		o.Line = c.Line()
	}
	fitting, err := c.fits(o)
	if err != nil {
		return Answer{Code: UnknownVerb}, err
	}
	a, err := c.give(ctx, c.stamp(ctx, fitting))
	switch {
	case a.Code == Late && ctx.Err() == nil:
		return c.give(ctx, c.stamp(ctx, fitting))
	case (a.Code == BadOrder || a.Code == UnknownVerb) && a.Release < plan.Release && ctx.Err() == nil:
		// It was not known yet that it is older; now it is.
		if fitting, err = c.fits(o); err != nil {
			return a, err
		}
		return c.give(ctx, c.stamp(ctx, fitting))
	}
	return a, err
}

// stamp bounds an order by ctx.
func (c *Client) stamp(ctx context.Context, o Order) Order {
	now, within := time.Now(), actLimit
	if end, ok := ctx.Deadline(); ok {
		within = end.Sub(now)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock.stamp(o, now, within)
}

// give sends an order once.
func (c *Client) give(ctx context.Context, o Order) (Answer, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return Answer{}, fmt.Errorf("agent %s: %w: %w", c.host, ErrUnreached, err)
	}
	if ctx.Err() != nil {
		return Answer{}, fmt.Errorf("agent %s: %s %s: %w: %w", c.host, o.Verb, o.Unit, ErrUnreached, context.Cause(ctx))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return Answer{}, fmt.Errorf("agent %s: %w: %w", c.host, ErrUnreached, err)
	}
	req.GetBody = nil // an order is never sent twice behind our back
	req.Header.Set("Content-Type", "application/json")
	connected := false
	resp, err := c.http.Do(req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected = true }})))
	if err != nil {
		if !connected {
			return Answer{}, fmt.Errorf("agent %s: %s %s: %w: %w", c.host, o.Verb, o.Unit, ErrUnreached, err)
		}
		return Answer{}, fmt.Errorf("agent %s: %s %s: no answer: %w", c.host, o.Verb, o.Unit, err)
	}
	defer resp.Body.Close()
	return c.read(resp, o)
}

// read takes the answer apart.
func (c *Client) read(resp *http.Response, o Order) (Answer, error) {
	var a Answer
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return a, fmt.Errorf("agent %s: %s %s: answer cut off: %w", c.host, o.Verb, o.Unit, err)
	}
	if resp.StatusCode != http.StatusOK {
		return a, fmt.Errorf("agent %s: %s %s: %s: %.200s", c.host, o.Verb, o.Unit, resp.Status, raw)
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return a, fmt.Errorf("agent %s: %s %s: answer cannot be read: %w", c.host, o.Verb, o.Unit, err)
	}
	c.mu.Lock()
	c.clock = reading{a.Life, a.Clock, time.Now()}
	c.release, c.spoken = a.Release, true
	c.mu.Unlock()
	if a.Code != "" {
		return a, &Refused{Host: c.host, Order: o, Answer: a}
	}
	return a, nil
}

// Close gives the connection up.
func (c *Client) Close() { c.http.CloseIdleConnections() }
