package trial

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/haechi/haechi/lab"
)

// Page is what a tower shows to anybody in its site, as far as trials read it.
type Page struct {
	At     time.Time `json:"at"`
	Driver struct {
		Tower string `json:"tower"`
	} `json:"driver"`
	Quorum struct {
		Have bool   `json:"have"`
		Why  string `json:"why"`
	} `json:"quorum"`
	Profile string   `json:"profile"`
	Armed   []string `json:"armed"`
	Sites   []struct {
		ID      string    `json:"id"`
		State   string    `json:"state"`
		Since   time.Time `json:"since"`
		Because []string  `json:"because"`
	} `json:"sites"`
	Stores []PageStore `json:"stores"`
	Names  []struct {
		Name    string `json:"name"`
		Servers []struct {
			Host  string `json:"host"`
			State string `json:"state"`
		} `json:"servers"`
	} `json:"names"`
	Missing []struct {
		Text string `json:"text"`
	} `json:"missing"`
	Runs    []PageRun `json:"runs"`
	Journal []struct {
		Seq  uint64    `json:"seq"`
		At   time.Time `json:"at"`
		Kind string    `json:"kind"`
		Text string    `json:"text"`
	} `json:"journal"`
}

// PageStore is one store on the page.
type PageStore struct {
	ID      string   `json:"id"`
	Engine  string   `json:"engine"`
	Epoch   uint64   `json:"epoch"`
	Primary string   `json:"primary"`
	Any     int      `json:"any"`
	Writes  string   `json:"writes"`
	Unmet   []string `json:"unmet"`

	Verified time.Time `json:"verified"`
	Differs  string    `json:"differs"`

	Members []struct {
		ID        string `json:"id"`
		Role      string `json:"role"`
		Streaming bool   `json:"streaming"`
		Jobs      []struct {
			What  string `json:"what"`
			Phase string `json:"phase"`
		} `json:"jobs"`
	} `json:"members"`
}

// PageRun is one run on the page. An open one has no end.
type PageRun struct {
	ID      string     `json:"id"`
	Kind    string     `json:"kind"`
	Subject string     `json:"subject"`
	Status  string     `json:"status"`
	Started time.Time  `json:"started"`
	Ended   time.Time  `json:"ended"`
	Driver  string     `json:"driver"`
	Why     string     `json:"why"`
	Steps   []PageStep `json:"steps"`
}

// PageStep is one step of a run on the page.
type PageStep struct {
	ID        int       `json:"id"`
	Verb      string    `json:"verb"`
	Component string    `json:"component"`
	State     string    `json:"state"`
	Started   time.Time `json:"started"`
	Seconds   float64   `json:"seconds"`
	Note      string    `json:"note"`
}

// End is when a step ended, or how far it was when the page was read.
func (s PageStep) End() time.Time {
	return s.Started.Add(time.Duration(s.Seconds * float64(time.Second)))
}

// At is the step that a run is at.
func (r PageRun) At() string {
	for _, s := range r.Steps {
		if s.State != "done" && s.State != "waiting" {
			return fmt.Sprintf("step %d %s %s (%s) %s", s.ID, s.Verb, s.Component, s.State, s.Note)
		}
	}
	return "no step"
}

// store finds a store.
func (n Page) store(id string) (PageStore, error) {
	for _, s := range n.Stores {
		if s.ID == id {
			return s, nil
		}
	}
	return PageStore{}, fmt.Errorf("the page shows no store %s", id)
}

// up says whether a site is believed to be up.
func (n Page) up(p lab.Place) bool {
	for _, s := range n.Sites {
		if s.ID == string(p) {
			return s.State == "up"
		}
	}
	return false
}

// latest is the newest run of a kind and subject that began after an instant.
func (n Page) latest(kind, subject string, after time.Time) (out PageRun, ok bool) {
	for _, r := range n.Runs {
		if r.Kind == kind && r.Subject == subject && r.Started.After(after) && r.Started.After(out.Started) {
			out, ok = r, true
		}
	}
	return out, ok
}

// pageAddr is where a tower shows its page, inside its own site.
const pageAddr = "127.0.0.1:8600"

// Page reads the page of the tower in a site once.
func (h Haechi) Page(ctx context.Context, p lab.Place) (n Page, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err = h.read(ctx, p, "/now.json", func(resp *http.Response) error { return json.NewDecoder(resp.Body).Decode(&n) })
	return n, err
}

// Follow hands over the page of the tower in a site, several times a second,
// until ctx ends. A connection that breaks is made again.
func (h Haechi) Follow(ctx context.Context, p lab.Place, hear func(Page)) {
	for ctx.Err() == nil {
		_ = h.read(ctx, p, "/stream", func(resp *http.Response) error { // it broke: begin again
			in := bufio.NewScanner(resp.Body)
			in.Buffer(nil, 8<<20)
			for in.Scan() {
				data, ok := strings.CutPrefix(in.Text(), "data: ")
				if !ok {
					continue
				}
				var n Page
				if err := json.Unmarshal([]byte(data), &n); err != nil {
					return err
				}
				hear(n)
			}
			return in.Err()
		})
		_ = pause(ctx, 200*time.Millisecond) // ended: the loop sees it
	}
}

func (h Haechi) read(ctx context.Context, p lab.Place, path string, take func(*http.Response) error) error {
	client := &http.Client{Transport: &http.Transport{DialContext: h.Lab.DialIn(p), DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pageAddr+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end, or not wanted
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the tower in %s answers %s", p, resp.Status)
	}
	return take(resp)
}

// Ready waits until haechi sees every site up and every store as it must be for
// it to act by itself.
func (h Haechi) Ready(ctx context.Context, p lab.Place) (Page, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		n, err := h.Page(ctx, p)
		if err == nil {
			if err = n.unready(); err == nil {
				return n, nil
			}
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return n, fmt.Errorf("haechi is not ready: %w", err)
		}
	}
}

// AtRest waits until the towers of all sites have shown, without a break for as long as
// calm, that haechi is ready and has its quorum. Right after the start of a lab, or of a load, a busy
// machine stops its towers for moments: what they say of each other then is true, and no
// part of what follows. The error says what was amiss last.
func (h Haechi) AtRest(ctx context.Context, most, calm time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var amiss error
	for since := time.Now(); time.Since(since) < calm; {
		for _, p := range lab.Sites() {
			if err := h.restless(ctx, p); err != nil && ctx.Err() == nil {
				amiss, since = err, time.Now()
			}
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("haechi was not at rest for %v within %v: %w", calm, most, errors.Join(amiss, context.Cause(ctx)))
		}
	}
	return nil
}

// restless says what the tower in a site does not show as it must be.
func (h Haechi) restless(ctx context.Context, p lab.Place) error {
	n, err := h.Page(ctx, p)
	if err != nil {
		return err
	}
	if err = n.unready(); err == nil && !n.Quorum.Have {
		err = fmt.Errorf("no quorum: %s", n.Quorum.Why)
	}
	for _, s := range n.Stores {
		if s.Writes != "acknowledged" {
			err = errors.Join(err, fmt.Errorf("%s: writes are %q", s.ID, s.Writes))
		}
	}
	if err != nil {
		return fmt.Errorf("the tower in %s: %w", p, err)
	}
	return nil
}

// unready says what is not as it must be.
func (n Page) unready() error {
	var errs []error
	for _, s := range n.Sites {
		if s.State != "up" {
			errs = append(errs, fmt.Errorf("%s is %s: %s", s.ID, s.State, strings.Join(s.Because, "; ")))
		}
	}
	for _, s := range n.Stores {
		if s.Epoch == 0 || len(s.Unmet) > 0 {
			errs = append(errs, fmt.Errorf("%s, epoch %d: %s", s.ID, s.Epoch, strings.Join(s.Unmet, "; ")))
		}
	}
	for _, name := range n.Names {
		for _, server := range name.Servers {
			if server.State != "up" {
				errs = append(errs, fmt.Errorf("%s is %s at %s", name.Name, server.State, server.Host))
			}
		}
	}
	for _, r := range n.Runs {
		if r.Ended.IsZero() {
			errs = append(errs, fmt.Errorf("%s of %s is %s", r.ID, r.Subject, r.Status))
		}
	}
	if len(n.Armed) == 0 {
		errs = append(errs, errors.New("it is not armed"))
	}
	return errors.Join(errs...)
}
