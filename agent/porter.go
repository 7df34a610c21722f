package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// Porter fetches and deposits files of one agent's units. [Client] does.
type Porter interface {
	// Fetch writes a file to w. What was written counts only if it returns nil: then it is what f says.
	Fetch(ctx context.Context, f File, w io.Writer) error
	// Deposit has the agent keep what r holds as f, and closes r. It is there durably when this returns
	// nil; to do it again does no harm. It is refused under an old term.
	Deposit(ctx context.Context, term uint64, f File, r io.ReadCloser) error
}

var _ Porter = (*Client)(nil)

// Fetch implements [Porter].
func (c *Client) Fetch(ctx context.Context, f File, w io.Writer) error {
	resp, err := c.file(ctx, http.MethodGet, f, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return fmt.Errorf("agent %s: fetch %s: %s: %s", c.host, f.Name, resp.Status, text)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(resp.Body, f.Bytes+1))
	switch {
	case err != nil:
		return fmt.Errorf("agent %s: fetch %s: it broke off after %d of %d bytes: %w", c.host, f.Name, n, f.Bytes, err)
	case n != f.Bytes || hex.EncodeToString(sum.Sum(nil)) != f.SHA256:
		return fmt.Errorf("agent %s: fetch %s: it is not what it should be: it was edited or damaged there", c.host, f.Name)
	}
	return nil
}

// Deposit implements [Porter].
func (c *Client) Deposit(ctx context.Context, term uint64, f File, r io.ReadCloser) error {
	defer r.Close()
	resp, err := c.file(ctx, http.MethodPut, f, r, map[string]string{headSHA256: f.SHA256, headTerm: strconv.FormatUint(term, 10)})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = c.read(resp, Order{Verb: "deposit", Unit: f.Unit, Term: term})
	return err
}

// file asks for one file.
func (c *Client) file(ctx context.Context, method string, f File, body io.Reader, head map[string]string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+"files/"+url.PathEscape(f.Unit)+"/"+url.PathEscape(f.Name), body)
	if err != nil {
		return nil, fmt.Errorf("agent %s: %s: %w", c.host, f.Name, err)
	}
	if body != nil {
		req.ContentLength = f.Bytes
	}
	for k, v := range head {
		req.Header.Set(k, v)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("agent %s: %s %s: %w", c.host, method, f.Name, err)
	}
	return resp, nil
}
