package tower

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/web"
)

// rateEvery is how often the counters of acknowledged work are read, and rateUnseen while nobody has looked
// at the page for rateSeen: the chart's points are then spread over the time between two readings.
const (
	rateEvery  = 500 * time.Millisecond
	rateUnseen = 2 * time.Second
	rateSeen   = 5 * time.Second
)

// rate reads the counters of services, where the estate names one, for the page's chart.
type rate struct {
	client *http.Client

	mu    sync.Mutex // guards what follows
	meter *web.RateMeter
	ask   map[string]counter // by address
	shown time.Time          // when the page was looked at last
}

// counter is where a service counts its acknowledged work.
type counter struct{ url, metric string }

func newRate() *rate {
	return &rate{meter: web.NewRateMeter(rateEvery, 2*time.Minute), ask: map[string]counter{},
		client: &http.Client{Timeout: rateEvery, Transport: &http.Transport{MaxIdleConnsPerHost: 1, DisableCompression: true}}}
}

// counters finds them: beside each address that a service's probe looks at.
func counters(e estate.Estate, targets []situation.Target) map[string]counter {
	out := map[string]counter{}
	for _, t := range targets {
		metric := e.Services[estate.ServiceID(t.Component)].Rate
		if t.Kind != situation.KindGateway || metric == "" {
			continue
		}
		if u, err := url.Parse(t.Address); err == nil && u.Host != "" {
			out[u.Host] = counter{u.Scheme + "://" + u.Host + "/metrics", metric}
		}
	}
	return out
}

func (r *rate) set(ask map[string]counter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ask = ask
}

func (r *rate) at(now time.Time) web.Rate {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown = now
	return r.meter.Rate(now)
}

// read asks every counter once a period until ctx ends; one that hangs holds up no other.
func (r *rate) read(ctx context.Context, now func() time.Time) {
	t := time.NewTicker(rateEvery)
	defer t.Stop()
	defer r.client.CloseIdleConnections()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		ask, due := r.due(last, now())
		if !due {
			continue
		}
		last = now()
		var all sync.WaitGroup
		for source, c := range ask {
			all.Go(func() {
				count, err := r.get(ctx, c)
				if err != nil {
					return // a source that is silent is a gap in the chart
				}
				r.mu.Lock()
				defer r.mu.Unlock()
				r.meter.Read(source, now(), count)
			})
		}
		all.Wait()
	}
}

// due says whom to ask, and whether it is time to, after counters were last read.
func (r *rate) due(last, now time.Time) (map[string]counter, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ask, now.Sub(r.shown) < rateSeen || now.Sub(last) >= rateUnseen
}

func (r *rate) get(ctx context.Context, c counter) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(http.MaxBytesReader(nil, resp.Body, 1<<20))
	if err != nil {
		return 0, err
	}
	f, ok := families[c.metric]
	if !ok {
		return 0, fmt.Errorf("%s has no metric %s", c.url, c.metric)
	}
	sum := 0.0
	for _, m := range f.GetMetric() {
		sum += m.GetCounter().GetValue() + m.GetUntyped().GetValue()
	}
	return sum, nil
}
