package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/web"
)

// How long a tower may take. A site may be gone, so the next one is tried soon.
const (
	dialWithin   = time.Second
	answerWithin = 25 * time.Second
	patience     = 2 * time.Second // before people are told what is waited for
)

// client asks the towers, one after the other, until one can answer.
type client struct {
	towers []string // the one that answered last stands first
	http   *http.Client
	slow   io.Writer // is told whom is waited for, once that takes a while
}

func (o *options) client() (*client, error) {
	conf, err := readClientConfig(o.config)
	if err != nil {
		return nil, err
	}
	tls, err := pki.ClientTLS(conf.files(), pki.Only(pki.Tower))
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialWithin}
	return &client{towers: conf.Towers, slow: os.Stderr, http: &http.Client{Transport: &http.Transport{
		TLSClientConfig: tls, DialContext: dialer.DialContext, TLSHandshakeTimeout: 2 * dialWithin, ForceAttemptHTTP2: true,
	}}}, nil
}

// refused is a tower's answer that is not a success.
type refused struct {
	tower string
	web.Failure
}

func (e *refused) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "tower at %s: %s", e.tower, e.Why)
	for _, p := range e.Problems {
		fmt.Fprintf(&b, "\n  %s", p)
	}
	if e.Do != "" {
		fmt.Fprintf(&b, "\n  what to do: %s", e.Do)
	}
	return b.String()
}

// elsewhere says whether another tower may still do it.
func (e *refused) elsewhere() bool { return e.Code == web.NotDriver || e.Code == web.NoQuorum }

// unsent is a request that did not reach its tower: it can be asked of another.
type unsent struct{ error }

func (e *unsent) Unwrap() error { return e.error }

// get asks for a JSON value.
func (c *client) get(ctx context.Context, path string, out any) error {
	return c.each(func(tower string) error { return c.ask(ctx, tower, http.MethodGet, path, "", nil, out) })
}

// now is what is believed and done, by the word of a tower that has the quorum. One without it, which may have been cut off
// or given up, is believed where no other answers.
func (c *client) now(ctx context.Context) (web.Now, error) {
	var out, alone web.Now
	err := c.each(func(tower string) error {
		var n web.Now
		if err := c.ask(ctx, tower, http.MethodGet, "now", "", nil, &n); err != nil {
			return err
		}
		if !n.Quorum.Have {
			if alone.At.IsZero() {
				alone = n
			}
			return &refused{tower, web.Failure{Code: web.NoQuorum, Why: n.Quorum.Why}}
		}
		out = n
		return nil
	})
	if err != nil && !alone.At.IsZero() {
		return alone, nil
	}
	return out, err
}

// send has something done, with in as JSON.
func (c *client) send(ctx context.Context, method, path string, in, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return c.sendRaw(ctx, method, path, "application/json", raw, out)
}

func (c *client) sendRaw(ctx context.Context, method, path, kind string, raw []byte, out any) error {
	return c.each(func(tower string) error {
		err := c.ask(ctx, tower, method, path, kind, raw, out)
		_, answered := errors.AsType[*refused](err)
		_, not := errors.AsType[*unsent](err)
		if err == nil || answered || not {
			return err
		}
		return &doubtful{tower, err}
	})
}

// doubtful is a request that was sent and not answered.
type doubtful struct {
	tower string
	error
}

func (e *doubtful) Error() string {
	return fmt.Sprintf("tower at %s: %v; it was asked, and may have done it: look before you ask again (haechi status, haechi runs)", e.tower, e.error)
}

// Towers that have just started, or lost one of them, take a moment to agree on who
// drives. A refusal for that reason changed nothing, so all are asked again.
const (
	agreeWithin = 4 * time.Second
	agreePause  = 200 * time.Millisecond
)

// each tries the towers until one answers for all, in rounds while they only point at each other.
func (c *client) each(try func(tower string) error) error {
	whom := strings.Join(c.towers, ", ")
	late := time.AfterFunc(patience, func() { fmt.Fprintf(c.slow, "waiting for the towers at %s …\n", whom) })
	defer late.Stop()
	for end := time.Now().Add(agreeWithin); ; time.Sleep(agreePause) {
		err := c.round(try)
		no, answered := errors.AsType[*refused](err)
		if !answered || no.Code != web.NotDriver || time.Now().After(end) {
			return err
		}
	}
}

// round tries each tower once. Of several failures it returns
// the one that says most: a tower's answer before a tower that was not reached.
func (c *client) round(try func(tower string) error) error {
	var answer *refused
	var silent []error
	for i, tower := range c.towers {
		err := try(tower)
		no, answered := errors.AsType[*refused](err)
		switch {
		case err == nil || answered && !no.elsewhere():
			c.towers[0], c.towers[i] = c.towers[i], c.towers[0]
			return err
		case answered:
			answer = no
		default:
			if _, doubt := errors.AsType[*doubtful](err); doubt {
				return err
			}
			silent = append(silent, fmt.Errorf("tower at %s: %w", tower, err))
		}
	}
	if answer != nil {
		return answer
	}
	return fmt.Errorf("no tower answers; what they watch over goes on without them:\n%w", errors.Join(silent...))
}

// ask asks one tower once.
func (c *client) ask(ctx context.Context, tower, method, path, kind string, raw []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	resp, err := c.open(ctx, tower, method, path, kind, raw)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// open sends a request and returns the answer if it is a success.
func (c *client) open(ctx context.Context, tower, method, path, kind string, raw []byte) (*http.Response, error) {
	connected := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }})
	req, err := http.NewRequestWithContext(ctx, method, "https://"+tower+"/api/v1/"+path, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, reason(err, connected)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, failure(tower, resp)
}

// reason says why there was no answer, and whether the tower can have been told at all.
func reason(err error, connected bool) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return &unsent{fmt.Errorf("it does not accept your certificate: %w; see haechi pki show", op.Err)}
	}
	if call, ok := errors.AsType[*url.Error](err); ok {
		err = call.Err // the tower's address is said elsewhere
	}
	if !connected {
		return &unsent{err}
	}
	return err
}

func failure(tower string, resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	no := &refused{tower: tower}
	if err != nil || json.Unmarshal(raw, &no.Failure) != nil || no.Why == "" {
		no.Failure = web.Failure{Code: "unknown", Why: resp.Status}
	}
	return no
}
