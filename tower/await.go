package tower

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/web"
)

// askEvery is how often a tower without data asks whether it has a seat.
const askEvery = time.Second

// Init says that this tower's cluster is new as a whole: it may make its data itself, at its first start. A tower
// that is none of those that vote at first is not marked: it waits until the others seat it, and the error is
// [ErrStandsBy].
func Init(ctx context.Context, cfg Config) error {
	if len(cfg.Etcd.Endpoints) > 0 {
		return errOwnCluster
	}
	if !cfg.votesAtFirst() {
		return ErrStandsBy
	}
	c := cfg.etcd(nil)
	if err := etcd.Prepare(c.DataDir); err != nil {
		return err
	}
	if found := etcd.Ask(ctx, c); found.Heard {
		return errors.Join(errors.New("other towers run already, so this is no first start: start this one, and it waits until they seat it; if they were started just now in a cluster that is new, stop them first, and init them all before any of them starts"), etcd.Unprepare(c.DataDir))
	}
	return handOver(cfg.Data, c.DataDir)
}

// ErrStandsBy: the tower has no vote at first, since the votes of its site would leave no majority, or there
// would be an even number of them.
var ErrStandsBy = errors.New("it stands by without a vote: start it, and it waits until the others seat it")

// toBeSeated is what to do about a tower that waits.
const toBeSeated = "where other towers run, they seat it by themselves if haechi is armed, else: haechi reseat. " +
	"Where the whole cluster is new: stop all towers; on the host of each, as the user that it runs as: haechi tower init; then start them"

// await returns when the tower has a seat that it can start with: it has data, or is marked for a first
// start, or the others have invited it. Until then it says to whoever asks that it waits.
func await(ctx context.Context, cfg Config, log *slog.Logger) error {
	c := cfg.etcd(log)
	if _, err := os.ReadDir(c.DataDir); err != nil && !errors.Is(err, fs.ErrNotExist) { // what cannot be read is not gone
		return fmt.Errorf("its data: %w; they have to belong to the user that the tower runs as: chown -R", err)
	}
	if len(cfg.Etcd.Endpoints) > 0 || etcd.HasData(c.DataDir) || etcd.Prepared(c.DataDir) {
		return nil
	}
	found := etcd.Ask(ctx, c)
	if found.Members != nil {
		return nil
	}
	stop, err := sayThatItWaits(cfg, log)
	if err != nil {
		return err
	}
	defer stop()
	for said := ""; found.Members == nil; found = etcd.Ask(ctx, c) {
		if found.Why != said {
			said = found.Why
			log.Warn("this tower has no data, and waits for a seat", "tower", cfg.Name, "why", said, "do", toBeSeated)
		}
		if pause(ctx, askEvery); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// sayThatItWaits answers on the tower's own addresses as long as nothing else does.
func sayThatItWaits(cfg Config, log *slog.Logger) (stop func(), err error) {
	conf, err := pki.ServerTLS(cfg.TLS.pki(), pki.Only(pki.Tower, pki.Observer, pki.Person))
	if err != nil {
		return nil, err
	}
	says := map[string]string{response.FactSeat: response.SeatWaits, response.FactWaits: time.Now().UTC().Format(time.RFC3339Nano)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+alivePath, func(w http.ResponseWriter, _ *http.Request) { tell(w, says) })
	no := web.Failure{Code: web.NoQuorum, Why: cfg.Name + " has no data, and waits until the other towers seat it", Do: toBeSeated}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(no)
	})
	// One server each: which of two listeners of one server begins first decides whether it speaks HTTP/2.
	var ends []func()
	stop = func() {
		for _, end := range ends {
			end()
		}
	}
	for address, conf := range map[string]*tls.Config{cfg.Listen.Peer: conf, cfg.Listen.Page: nil} {
		if address == "" {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			stop()
			return nil, fmt.Errorf("listen: %w; is another tower running here? (ss -ltnp shows who has the port)", err)
		}
		server := &http.Server{Handler: mux, TLSConfig: conf, ReadHeaderTimeout: 5 * time.Second, ErrorLog: pki.ServerLog(log, time.Now)}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if conf == nil {
				_ = server.Serve(l)
			} else {
				_ = server.ServeTLS(l, "", "")
			}
		}()
		ends = append(ends, func() { _ = server.Close(); <-done })
	}
	return stop, nil
}

// tell answers with facts.
func tell(w http.ResponseWriter, facts map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(facts)
}
