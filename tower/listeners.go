package tower

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/peer"
	"github.com/haechi/haechi/tower/web"
)

// Paths on the peer listener beside views and the API.
const (
	alivePath   = "/peer/v1/alive"   // for other towers' and observers' looks
	targetsPath = "/peer/v1/targets" // for observers, which have no estate of their own
)

// aims is what an observer is told to look at.
type aims struct {
	Profile string             `json:"profile"`
	Version uint64             `json:"version"`
	Targets []situation.Target `json:"targets"`
}

func (n *Node) startListeners() (func() error, error) {
	n.receiver = &peer.Receiver{Tower: n.cfg.Name, SiteOf: n.siteOf, Take: n.hear, Pass: n.sender.Pass, Log: n.log, Now: n.now}
	mux := http.NewServeMux()
	mux.Handle(peer.Path, n.receiver)
	mux.Handle(peer.ChangesPath, n.receiver)
	mux.HandleFunc("GET "+alivePath, func(w http.ResponseWriter, _ *http.Request) {
		tell(w, n.alive())
	})
	mux.HandleFunc("GET "+targetsPath, n.tellTargets)
	mux.Handle("/api/v1/", web.API(n, n.log))
	conf, err := pki.ServerTLS(n.cfg.TLS.pki(), pki.Only(pki.Tower, pki.Observer, pki.Person))
	if err != nil {
		return nil, err
	}
	conf.NextProtos = []string{"h2", "http/1.1"}
	secure, page := n.server(mux), n.server(web.Page(n.ctx, n, n.log))
	secure.TLSConfig = conf
	var stops []func() error
	stop := func() error {
		var errs []error
		for _, s := range stops {
			errs = append(errs, s())
		}
		return errors.Join(errs...)
	}
	for _, l := range []struct {
		what, address string
		server        *http.Server
		serve         func(*http.Server, net.Listener) error
	}{
		{"listen.peer", n.cfg.Listen.Peer, secure, func(s *http.Server, l net.Listener) error { return s.ServeTLS(l, "", "") }},
		{"listen.page", n.cfg.Listen.Page, page, (*http.Server).Serve},
	} {
		if l.address == "" {
			continue
		}
		ln, err := net.Listen("tcp", l.address)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w; is another tower running here? (ss -ltnp shows who has the port)", l.what, err), stop())
		}
		n.spawn(context.Background(), func(context.Context) {
			if err := l.serve(l.server, ln); !errors.Is(err, http.ErrServerClosed) {
				n.log.Error("serve", "listener", l.what, "error", err)
			}
		})
		// Stop waits for tasks before it calls the stoppers, so the node's end closes them.
		context.AfterFunc(n.ctx, func() { _ = l.server.Close() })
		stops = append(stops, l.server.Close)
	}
	return stop, nil
}

// tellTargets answers what to look at: to those that look, not to people, who need a role to see.
func (n *Node) tellTargets(w http.ResponseWriter, r *http.Request) {
	id, err := pki.PeerIdentity(r.TLS)
	if err == nil {
		err = pki.Only(pki.Tower, pki.Observer)(id)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	b := n.beliefs()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(aims{b.profile.Name, b.snap.Estate.Version, situation.ForUsers(b.targets)})
}

// server serves h until the node stops. Requests end with the node, and Stop waits for them.
func (n *Node) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !n.enter() {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			defer n.tasks.Done()
			h.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return n.ctx },
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, ErrorLog: pki.ServerLog(n.log, n.now),
	}
}

// siteOf is where a tower stands, by the estate, or by this tower's own file until there is one.
func (n *Node) siteOf(tower string) (estate.SiteID, bool) {
	if t, ok := n.beliefs().estate.Towers[estate.TowerID(tower)]; ok {
		return t.Site, true
	}
	seat, ok := n.cfg.Cluster[tower]
	return seat.Site, ok
}
