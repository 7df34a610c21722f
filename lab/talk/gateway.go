package talk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// GatewayConfig is what a gateway needs to know.
type GatewayConfig struct {
	Listen  string       // host:port for HTTP; required
	DSN     string       // PostgreSQL's multi-host connection string; required
	Site    string       // name shown by /healthz and on the page
	Log     *slog.Logger // required
	Variant Variant      // how to break the promise; Correct for the lab
}

// Validate says everything that is wrong with the configuration.
func (c GatewayConfig) Validate() error {
	var errs []error
	if c.Listen == "" {
		errs = append(errs, errors.New("listen: is required, for example 10.77.1.5:8080"))
	}
	if c.DSN == "" {
		errs = append(errs, errors.New("dsn: is required, for example postgres://talk@h1,h2,h3/talk?target_session_attrs=read-write"))
	}
	if c.Log == nil {
		errs = append(errs, errors.New("log: is required"))
	}
	if !slices.Contains(variants, c.Variant) {
		errs = append(errs, fmt.Errorf("variant: %q is none of %q", c.Variant, variants))
	}
	return errors.Join(errs...)
}

// gateway is one running gateway.
type gateway struct {
	site     string
	store    *store
	hub      *hub
	done     <-chan struct{}
	registry *prometheus.Registry
	metrics
}

type metrics struct {
	acknowledged prometheus.Counter
	refused      *prometheus.CounterVec
	took         prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, site string) metrics {
	label := prometheus.Labels{"site": site}
	m := metrics{
		acknowledged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "talk_acknowledged_total", ConstLabels: label,
			Help: "Messages acknowledged: committed, and held by another member.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "talk_refused_total", ConstLabels: label,
			Help: "Sends that were not acknowledged, by reason.",
		}, []string{"reason"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "talk_send_seconds", ConstLabels: label,
			Help:    "Time from a request to its acknowledgement.",
			Buckets: []float64{.002, .004, .008, .016, .032, .064, .125, .25, .5, 1, 2, 4},
		}),
	}
	r.MustRegister(m.acknowledged, m.refused, m.took)
	return m
}

func newGateway(site string, s *store, log *slog.Logger, done <-chan struct{}) *gateway {
	g := &gateway{site: site, store: s, hub: newHub(s, log), done: done, registry: prometheus.NewRegistry()}
	g.metrics = newMetrics(g.registry, site)
	return g
}

// RunGateway serves until ctx ends. It returns an error when it cannot listen;
// a missing database is no error, it is waited for.
func RunGateway(ctx context.Context, c GatewayConfig) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("talk: gateway: %w", err)
	}
	s, err := openStore(c.DSN, c.Variant, c.Log)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		s.close()
		return fmt.Errorf("talk: gateway: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g := newGateway(c.Site, s, c.Log, ctx.Done())
	server := &http.Server{
		Handler:           g.routes(),
		ReadHeaderTimeout: 2 * time.Second,
		ReadTimeout:       5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	var all sync.WaitGroup
	all.Go(func() { s.Run(ctx) })
	all.Go(func() { g.hub.Run(ctx) })
	all.Go(func() {
		<-ctx.Done()
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(within) != nil {
			_ = server.Close()
		}
	})
	c.Log.Info("talk", "listen", listener.Addr().String(), "site", c.Site, "variant", string(c.Variant))
	err = server.Serve(listener)
	stop()
	all.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("talk: gateway: %w", err)
	}
	return nil
}

func (g *gateway) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /rooms/{room}/messages/{id}", g.send)
	mux.HandleFunc("GET /rooms/{room}/messages", g.history)
	mux.HandleFunc("GET /rooms/{room}/events", g.events)
	mux.HandleFunc("GET /healthz", g.health)
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /{$}", g.page)
	return mux
}
