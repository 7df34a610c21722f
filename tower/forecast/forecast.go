// Package forecast simulates a loss many times, on all cores.
package forecast

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/simulate"
)

// chunk is how many runs a worker takes at a time.
const chunk = 64

// Most is how many runs one forecast may hold.
const Most = 1_000_000

// Back answers the audit's rule rto for an estate, as the model has it.
func Back(e estate.Estate, m simulate.Model) audit.Back {
	return simulate.Back(e, m, func(n int) simulate.Chance { return luck(1, n) })
}

// luck is that of the n-th run.
func luck(seed uint64, n int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(n))) }

// Run simulates so many runs, each with luck of its own from the seed: equal seeds give equal
// forecasts, whatever the number of cores. done, if it is not nil, is told how many runs are done, by any of the workers.
func Run(ctx context.Context, s *simulate.Simulation, runs int, seed uint64, done func(int)) (simulate.Forecast, error) {
	if runs < 1 || runs > Most {
		return simulate.Forecast{}, fmt.Errorf("%d runs: from 1 to %d can be simulated", runs, Most)
	}
	outs := make([]simulate.Outcome, runs)
	var next, finished atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for ctx.Err() == nil {
				from := int(next.Add(chunk)) - chunk
				if from >= runs {
					return
				}
				to := min(from+chunk, runs)
				for n := from; n < to; n++ {
					outs[n] = s.Once(luck(seed, n))
				}
				if n := finished.Add(int64(to - from)); done != nil {
					done(int(n))
				}
			}
		})
	}
	workers.Wait()
	if ctx.Err() != nil {
		return simulate.Forecast{}, context.Cause(ctx)
	}
	return s.Gather(seed, outs), nil
}
