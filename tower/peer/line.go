package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haechi/haechi/core/situation"
)

// A connection that a cut link has swallowed must not be waited for when the link
// heals, so attempts to connect are short and many. On a link that is merely slow they would never
// succeed; so each fourth is patient.
const (
	dialLimit    = 300 * time.Millisecond
	patientLimit = 1500 * time.Millisecond
	patientEvery = 4
)

// line is the one connection to one peer. Only its sender's goroutine uses it.
type line struct {
	peer  Peer
	limit time.Duration // for one view to be acknowledged
	tr    *http.Transport
	conn  *http.ClientConn          // nil: not connected
	tries int                       // to connect, since the last success
	known map[string]situation.View // by observer: what the peer has acknowledged on this connection
	older bool                      // the peer's release takes whole views alone
}

func newLine(p Peer, t *tls.Config, limit time.Duration) *line {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &line{peer: p, limit: limit, tr: &http.Transport{
		DialContext:     dialer(limit).DialContext,
		TLSClientConfig: t,
		Protocols:       &protocols,
	}}
}

// dialer makes connections that end when sent data is not acknowledged within
// limit, where TCP alone would try for many minutes.
func dialer(limit time.Duration) *net.Dialer {
	return &net.Dialer{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if failed := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds()))
		}); failed != nil {
			return failed
		}
		return err
	}}
}

// send delivers one letter. After a failure the connection is given up, since
// nobody knows what became of it.
func (l *line) send(ctx context.Context, m letter) error {
	if err := l.connect(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	if err := l.deliver(ctx, m); err != nil {
		l.hangUp()
		return err
	}
	l.known[m.Observer] = m.View
	return nil
}

// deliver sends what the peer does not know yet, and all where it asks for that.
func (l *line) deliver(ctx context.Context, m letter) error {
	if known, ok := l.known[m.Observer]; ok && !l.older {
		if changes, ok := m.changes(known); ok {
			body, err := json.Marshal(changes)
			if err != nil {
				return err
			}
			status, err := l.post(ctx, ChangesPath, body)
			if status != http.StatusNotFound && status != http.StatusConflict {
				return err
			}
			l.older = status == http.StatusNotFound
		}
	}
	body, err := m.text()
	if err != nil {
		return err
	}
	_, err = l.post(ctx, Path, body)
	return err
}

// connect makes the connection if there is none that works.
func (l *line) connect(ctx context.Context) error {
	if l.conn != nil && l.conn.Err() == nil {
		return nil
	}
	l.hangUp()
	limit := max(dialLimit, l.limit/2)
	if l.tries++; l.tries%patientEvery == 0 {
		limit = max(patientLimit, limit)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := l.tr.NewClientConn(ctx, "https", l.peer.Address)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	l.conn, l.tries, l.known, l.older = conn, 0, map[string]situation.View{}, false
	return nil
}

func (l *line) hangUp() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// post returns the status of the answer, too, where there is one.
func (l *line) post(ctx context.Context, path string, body []byte) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+l.peer.Address+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.conn.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusNoContent {
		return resp.StatusCode, fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(answer))
	}
	return resp.StatusCode, nil
}
