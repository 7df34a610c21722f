package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/tower/web"
)

// pageAddr is where a tower shows its page, inside its own site.
const pageAddr = "127.0.0.1:8600"

func page(l *lab.Lab, p lab.Place) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: l.DialIn(p), DisableCompression: true}}
}

// now is what a tower shows at this moment.
func now(ctx context.Context, l *lab.Lab, p lab.Place) (n web.Now, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	client := page(l, p)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pageAddr+"/now.json", nil)
	if err != nil {
		return n, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return n, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end, or not wanted
	if resp.StatusCode != http.StatusOK {
		return n, fmt.Errorf("the tower in %s answers %s", p, resp.Status)
	}
	return n, json.NewDecoder(resp.Body).Decode(&n)
}

// follow hands over what a tower shows, several times a second, until ctx ends.
func follow(ctx context.Context, l *lab.Lab, p lab.Place, hear func(web.Now)) {
	for ctx.Err() == nil {
		_ = once(ctx, l, p, hear) // it broke off: begin again
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func once(ctx context.Context, l *lab.Lab, p lab.Place, hear func(web.Now)) error {
	client := page(l, p)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pageAddr+"/stream", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // never read to its end
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 8<<20)
	for in.Scan() {
		data, ok := strings.CutPrefix(in.Text(), "data: ")
		if !ok {
			continue
		}
		var n web.Now
		if err := json.Unmarshal([]byte(data), &n); err != nil {
			return err
		}
		hear(n)
	}
	return in.Err()
}
