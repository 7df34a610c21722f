package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
)

// ErrNotUp says that no daemon keeps a lab of this name up.
var ErrNotUp = errors.New("no lab is up: haechi-lab up raises one")

// Control speaks to the daemon of a lab.
type Control struct{ http http.Client }

// NewControl speaks to the daemon that listens on the socket file.
func NewControl(socket string) *Control {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Control{http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status asks what stands.
func (c *Control) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.call(ctx, http.MethodGet, "/status", nil, &s)
}

// Act does a fault by its name; see [Actions].
func (c *Control) Act(ctx context.Context, words ...string) (Proof, error) {
	var p Proof
	return p, c.call(ctx, http.MethodPost, "/act", words, &p)
}

// Down has the daemon take the lab down and end. It returns at once.
func (c *Control) Down(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/down", nil, &struct{}{})
}

// Follow passes on what the daemon says until the lab is up, or returns why it is not.
func (c *Control) Follow(ctx context.Context, say func(string)) error {
	resp, err := c.ask(ctx, http.MethodGet, "/progress", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end or not wanted
	in := json.NewDecoder(resp.Body)
	for {
		var p Progress
		if err := in.Decode(&p); err != nil {
			return fmt.Errorf("lab: the daemon ended before the lab was up: %w", err)
		}
		switch {
		case p.Ready && p.Error != "":
			return errors.New(p.Error)
		case p.Ready:
			return nil
		}
		say(p.Line)
	}
}

func (c *Control) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.ask(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end or not wanted
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("lab: answer: %w", err)
	}
	return nil
}

func (c *Control) ask(ctx context.Context, method, path string, in any) (*http.Response, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNotUp
	case errors.Is(err, os.ErrPermission):
		return nil, errors.New("lab: its socket is for root: run this as root, or through sudo")
	case err != nil:
		return nil, fmt.Errorf("lab: %w", err)
	case resp.StatusCode != http.StatusOK:
		b, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, errors.Join(errors.New(strings.TrimSpace(string(b))), err, resp.Body.Close())
	}
	return resp, nil
}
