package tower

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/peer"
)

// targetsEvery is how often an observer asks what to look at.
const targetsEvery = 2 * time.Second

// Observe looks from where users are and tells the towers, until ctx ends. What to look
// at it learns from any tower; while none answers it goes on with what it knows.
func Observe(ctx context.Context, cfg ObserverConfig, log *slog.Logger) error {
	var peers []peer.Peer
	for name, address := range cfg.Towers {
		peers = append(peers, peer.Peer{Name: name, Address: address})
	}
	sender, err := peer.NewSender(peers, cfg.TLS.pki(), peerSilence, log)
	if err != nil {
		return err
	}
	defer sender.Close()
	e := &eyes{files: cfg.TLS.pki(), observer: cfg.Name, boot: boot(), out: sender.Send, log: log, zone: func(string) string { return "." }}
	defer e.close()
	o := &observer{cfg: cfg, clients: map[string]*http.Client{}}
	defer o.close()
	t := time.NewTicker(targetsEvery)
	defer t.Stop()
	log.Info("observer looks", "observer", cfg.Name, "towers", len(peers))
	for {
		if a, err := o.ask(ctx); err != nil {
			log.Warn("what to look at", "error", err)
		} else if p, err := situation.Named(a.Profile); err != nil {
			log.Error("profile", "error", err)
		} else if err := e.look(p, a.Targets); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// observer asks towers what to look at.
type observer struct {
	cfg     ObserverConfig
	newest  uint64 // version of the estate that was heard of
	clients map[string]*http.Client
}

// ask returns the answer of the first tower that has an estate, and no older one than was
// heard of: a tower that is cut off from the others would send the observer to and fro.
func (o *observer) ask(ctx context.Context) (aims, error) {
	var errs []error
	for name, address := range o.cfg.Towers {
		a, err := o.one(ctx, name, address)
		switch {
		case err != nil:
		case a.Version == 0:
			err = errors.New("it has no estate yet")
		case a.Version < o.newest:
			err = fmt.Errorf("its estate is version %d, version %d was heard of; if the towers were set up anew, restart this observer", a.Version, o.newest)
		default:
			o.newest = a.Version
			return a, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	return aims{}, errors.Join(errs...)
}

func (o *observer) close() {
	for _, c := range o.clients {
		c.CloseIdleConnections()
	}
}

func (o *observer) one(ctx context.Context, name, address string) (aims, error) {
	c, ok := o.clients[name]
	if !ok {
		conf, err := pki.ClientTLS(o.cfg.TLS.pki(), pki.Named(pki.Tower, name))
		if err != nil {
			return aims{}, err
		}
		c = &http.Client{Timeout: time.Second, Transport: &http.Transport{TLSClientConfig: conf}}
		o.clients[name] = c
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+targetsPath, nil)
	if err != nil {
		return aims{}, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return aims{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return aims{}, errors.New(resp.Status)
	}
	var a aims
	return a, json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<20)).Decode(&a)
}
