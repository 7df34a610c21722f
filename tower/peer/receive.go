// Package peer carries what observers see from tower to tower, and from the
// observers on user networks to the towers, over mutual TLS and never through
// etcd: what is seen must travel when etcd has no quorum.
package peer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
)

// Path is where a tower takes views: POST, JSON of a [situation.View]; 204 acknowledges it.
const Path = "/peer/v1/view"

// MaxView bounds the body of one view, in bytes.
const MaxView = 1 << 20

// readLimit bounds how long one view may take to arrive.
const readLimit = 2 * time.Second

// Receiver takes views from peers. It is an http.Handler for [Path] and [ChangesPath], to be served
// with pki.ServerTLS.
type Receiver struct {
	// Tower is our own name.
	Tower string
	// SiteOf returns the site of a tower, and whether the estate knows it as a
	// tower; observers have no site. nil believes the view, which only tests do.
	SiteOf func(tower string) (estate.SiteID, bool)
	// Take is called with each view, from several goroutines; it must not wait.
	Take func(situation.View)
	// Pass is called beside Take with the view of an observer that does not reach the towers in
	// to; it must not wait. nil: nothing is passed on.
	Pass func(v situation.View, to []string)
	Log  *slog.Logger
	// Now is the clock for Heard; nil is time.Now.
	Now func() time.Time

	mu    sync.Mutex // guards what follows
	heard map[string]time.Time
	known map[from]situation.View // the last that was acknowledged
}

// from is who sent a view, and whose it is.
type from struct {
	sender   string
	observer string
}

// Heard returns when each observer's last view arrived, by our own clock.
func (r *Receiver) Heard() map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]time.Time, len(r.heard))
	for k, v := range r.heard {
		out[k] = v
	}
	return out
}

// ServeHTTP takes one view.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	m, status, err := r.receive(w, req)
	v := m.View
	if err != nil {
		r.log().Warn("peer: a view was refused", "from", req.RemoteAddr, "error", err)
		http.Error(w, err.Error(), status)
		return
	}
	r.note(v.Observer)
	r.Take(v)
	if len(m.PassTo) > 0 && r.Pass != nil {
		r.Pass(v, m.PassTo)
	}
	w.WriteHeader(http.StatusNoContent)
}

// receive reads and checks one view; the status goes with the error.
func (r *Receiver) receive(w http.ResponseWriter, req *http.Request) (message, int, error) {
	var v message
	if req.Method != http.MethodPost {
		return v, http.StatusMethodNotAllowed, fmt.Errorf("%s: views come by POST", req.Method)
	}
	id, err := pki.PeerIdentity(req.TLS)
	if err != nil {
		return v, http.StatusUnauthorized, err
	}
	if err := pki.Only(pki.Tower, pki.Observer)(id); err != nil {
		return v, http.StatusForbidden, err
	}
	// A request that stops half-way must not hold a stream for ever.
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(readLimit)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return v, http.StatusInternalServerError, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, MaxView))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return v, http.StatusRequestEntityTooLarge, fmt.Errorf("the view of %s has more than %d KB", id, MaxView>>10)
		}
		return v, http.StatusBadRequest, fmt.Errorf("the view of %s did not arrive whole: %w", id, err)
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return v, http.StatusBadRequest, fmt.Errorf("the view of %s is not one: %w", id, err)
	}
	if err := r.matches(id, v.View); err != nil {
		return v, http.StatusForbidden, err
	}
	if v, err = r.complete(from{id.String(), v.Observer}, v); err != nil {
		return v, http.StatusConflict, err
	}
	if id.Kind == pki.Tower {
		v.PassTo = nil // towers reach each other, or are judged by that; nothing goes round in circles
	}
	return v, 0, nil
}

// complete makes a view whole that tells only changes, and keeps it for the next one of its sender.
func (r *Receiver) complete(f from, m message) (message, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.Since != 0 {
		whole, err := m.whole(r.known[f])
		if err != nil {
			return m, err
		}
		m = whole
	}
	if r.known == nil {
		r.known = map[from]situation.View{}
	}
	r.known[f] = m.View
	return m, nil
}

// matches checks that a view speaks for nobody but its sender: an observer has
// no site and with it no vote, a tower has the one that the estate gives it. A tower may
// pass on what an observer says, which has no vote either.
func (r *Receiver) matches(id pki.Identity, v situation.View) error {
	if id.Kind == pki.Tower && v.Site == "" && !r.isTower(v.Observer) {
		return nil
	}
	if v.Observer != id.Name {
		return fmt.Errorf("%s sent a view in the name of %q", id, v.Observer)
	}
	if id.Kind == pki.Observer {
		if v.Site != "" {
			return fmt.Errorf("%s is an observer, but its view claims to stand in %s", id, v.Site)
		}
		return nil
	}
	if v.Observer == r.Tower {
		return fmt.Errorf("%s sent a view in our own name; two towers have the same certificate", id)
	}
	if r.SiteOf == nil {
		return nil
	}
	site, ok := r.SiteOf(id.Name)
	if !ok {
		return fmt.Errorf("%s is not a tower of the estate", id)
	}
	if v.Site != site {
		return fmt.Errorf("%s stands in %s, but its view claims to stand in %q", id, site, v.Site)
	}
	return nil
}

func (r *Receiver) isTower(name string) bool {
	if name == r.Tower || r.SiteOf == nil {
		return true
	}
	_, ok := r.SiteOf(name)
	return ok
}

func (r *Receiver) note(observer string) {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard == nil {
		r.heard = map[string]time.Time{}
	}
	r.heard[observer] = now()
}

func (r *Receiver) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}
