package forecast_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/simulate"
	"github.com/haechi/haechi/tower/forecast"
)

const shop = `
haechi: v1
estate: shop
sites: {pangyo: {}, ansan: {}, anyang: {}}
pools: {pangyo/web: {site: pangyo, servers: 9}, ansan/web: {site: ansan, servers: 9}}
stores: {orders: {engine: postgres, members: {a: {site: pangyo}, b: {site: ansan}, c: {site: anyang}}}}
services: {shop: {tier: 0, load: 8, runs: {pangyo/web: 4, ansan/web: 4}, requires: [orders]}}
towers: {tower-1: {site: pangyo}, tower-2: {site: ansan}, tower-3: {site: anyang}}
`

func simulation(t *testing.T) *simulate.Simulation {
	t.Helper()
	e, err := estate.Load([]estate.File{{Name: "shop.yaml", Data: []byte(shop)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := simulate.New(e, []string{"pangyo"}, simulate.Defaults(e))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCoresDoNotChangeAForecast(t *testing.T) {
	s := simulation(t)
	was := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(was)
	var first string
	for _, cores := range []int{1, 2, 7} {
		runtime.GOMAXPROCS(cores)
		var most atomic.Int64
		f, err := forecast.Run(t.Context(), s, 300, 5, func(n int) { most.Store(max(most.Load(), int64(n))) })
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(b)
		}
		if string(b) != first {
			t.Errorf("%d cores give another forecast", cores)
		}
		if most.Load() != 300 {
			t.Errorf("told of %d runs of 300", most.Load())
		}
	}
}

func TestForecastEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	if _, err := forecast.Run(ctx, simulation(t), forecast.Most, 1, func(int) { cancel(enough) }); !errors.Is(err, enough) {
		t.Errorf("err = %v", err)
	}
}

func TestSizesAreBounded(t *testing.T) {
	for _, n := range []int{-1, 0, forecast.Most + 1} {
		if _, err := forecast.Run(t.Context(), simulation(t), n, 1, nil); err == nil {
			t.Errorf("%d runs: no error", n)
		}
	}
}
