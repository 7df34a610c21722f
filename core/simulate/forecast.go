package simulate

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// Outcome is how one loss went.
type Outcome struct {
	Back  []time.Duration // by service, in the order of [Simulation.Services]: from the loss until it serves; 0: it was never down; [Never]
	Whole []time.Duration // by service: until it has servers enough besides; Never
	items []item
	last  []int // by service: the item that it waited for last before it was whole
	serve []int // by service: the item that it waited for last before it served
}

// Services names the services in the order of [Outcome.Back]: by tier, then by name.
func (s *Simulation) Services() []string {
	var out []string
	for _, svc := range s.services {
		out = append(out, svc.id)
	}
	return out
}

func (o *once) outcome() Outcome {
	out := Outcome{Back: make([]time.Duration, len(o.s.services)), serve: make([]int, len(o.s.services)), Whole: o.whole, last: o.last, items: o.items}
	for i, svc := range o.s.services {
		out.Back[i], out.serve[i] = o.up[svc.at], o.because[svc.at]
	}
	return out
}

// All is when the last service was whole of those that came to be.
func (o Outcome) All() time.Duration {
	last := time.Duration(0)
	for _, b := range o.Whole {
		if b != Never {
			last = max(last, b)
		}
	}
	return last
}

// Forecast is what many outcomes of one loss come to, with all that it rests on.
type Forecast struct {
	Estate    string    `json:"estate"`
	Hash      string    `json:"estate_sha256"` // of the estate as JSON, so that it can be told which one it was
	Lose      []string  `json:"lose"`
	Runs      int       `json:"runs"`
	Seed      uint64    `json:"seed"`
	Services  []Service `json:"services"`
	All       Spread    `json:"all"` // until the last service has servers enough, of those that come to have them
	Never     []string  `json:"never"`
	Writes    []Stake   `json:"writes"`
	Histogram []Bin     `json:"histogram"` // of All
	Critical  []Share   `json:"critical"`  // what stood on the way of the last service, in how many of the runs
	Typical   []Bar     `json:"typical"`   // the run in the middle, as a chart
	Steps     []Due     `json:"steps"`     // of the runs, in the order in which they are done
	Model     Model     `json:"model"`
}

// Spread is a time in the middle of the runs and at their edge, in seconds.
type Spread struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

// Service is how long a service is gone.
type Service struct {
	Name  string  `json:"name"`
	Tier  int     `json:"tier"`
	After string  `json:"after"` // "up", "degraded" or "down", when all is done
	Never float64 `json:"never"` // the share of runs in which it does not come back
	Spread
	Whole Spread   `json:"whole"`           // until it has servers enough; -1: never
	RTO   *float64 `json:"rto,omitempty"`   // seconds
	Over  bool     `json:"over"`            // the 95th percentile is over it
	Short float64  `json:"short,omitempty"` // servers missing
}

// Stake is a store with writes that may be lost.
type Stake struct {
	Store   string  `json:"store"`
	Seconds float64 `json:"seconds"` // of writes; 0: nobody knows how many
	Why     string  `json:"why"`
}

// Bin is one bar of a histogram.
type Bin struct {
	From float64 `json:"from"` // seconds
	To   float64 `json:"to"`
	Runs int     `json:"runs"`
}

// Share is a thing on the critical path.
type Share struct {
	What    string  `json:"what"`
	Share   float64 `json:"share"`   // of the runs
	Seconds float64 `json:"seconds"` // its median, where it was on the path
}

// Bar is one thing that took time, in one run.
type Bar struct {
	What     string  `json:"what"`
	From     float64 `json:"from"` // seconds from the loss
	To       float64 `json:"to"`
	Critical bool    `json:"critical"` // the last service waited for it
	Failed   bool    `json:"failed,omitempty"`
}

// Gather makes a forecast of outcomes; their order does not matter for anything but Typical, which
// is the first of those in the middle.
func (s *Simulation) Gather(seed uint64, outs []Outcome) Forecast {
	f := Forecast{Estate: s.e.Name, Hash: s.hash(), Lose: s.lose, Runs: len(outs), Seed: seed, Model: s.model, Services: []Service{}, Never: []string{}}
	times := make([]time.Duration, len(outs))
	for i, svc := range s.services {
		for n := range outs {
			times[n] = outs[n].Whole[i]
		}
		whole := spread(times)
		for n := range outs {
			times[n] = outs[n].Back[i]
		}
		f.Services = append(f.Services, s.service(svc, times, whole))
		if slices.Contains(times, Never) {
			f.Never = append(f.Never, svc.id)
		}
	}
	for n := range outs {
		times[n] = outs[n].All()
	}
	f.All = spread(times)
	f.Histogram = histogram(times)
	f.Writes = s.stakes()
	f.Critical = s.critical(outs)
	f.Typical = s.typical(outs)
	f.Steps = s.due(outs)
	return f
}

func (s *Simulation) hash() string {
	b, err := json.Marshal(s.e)
	if err != nil { // an estate is made of what JSON holds
		panic(fmt.Sprintf("simulate: the estate as JSON: %v", err))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (s *Simulation) service(svc service, times []time.Duration, whole Spread) Service {
	out := Service{Name: svc.id, Tier: svc.tier, After: s.after.Services[svc.id], Spread: spread(times), Whole: whole, Short: s.after.Shortfall[svc.id]}
	never := 0
	for _, t := range times {
		if t == Never {
			never++
		}
	}
	out.Never = float64(never) / float64(max(1, len(times)))
	if rto := s.e.Services[estate.ServiceID(svc.id)].RTO; rto != nil {
		x := rto.Seconds()
		out.RTO = &x
		out.Over = out.P95 > x || out.P95 < 0
	}
	return out
}

// spread takes percentiles by the nearest rank; -1 stands for never.
func spread(times []time.Duration) Spread {
	sorted := slices.Sorted(slices.Values(times))
	at := func(p int) float64 {
		if len(sorted) == 0 {
			return 0
		}
		t := sorted[(len(sorted)*p+99)/100-1]
		if t == Never {
			return -1
		}
		return seconds(t)
	}
	return Spread{P50: at(50), P95: at(95), P99: at(99)}
}

// seconds to the millisecond.
func seconds(t time.Duration) float64 { return float64(t.Milliseconds()) / 1000 }

// bins is how many bars a histogram has.
const bins = 20

func histogram(times []time.Duration) []Bin {
	if len(times) == 0 {
		return nil
	}
	least, most := slices.Min(times), slices.Max(times)
	if least == most {
		return []Bin{{seconds(least), seconds(most), len(times)}}
	}
	out := make([]Bin, bins)
	wide := float64(most-least) / bins
	for i := range out {
		out[i].From, out[i].To = seconds(least+time.Duration(wide*float64(i))), seconds(least+time.Duration(wide*float64(i+1)))
	}
	for _, t := range times {
		out[min(int(float64(t-least)/wide), bins-1)].Runs++
	}
	return out
}

// stakes lists the stores whose move may lose writes.
func (s *Simulation) stakes() []Stake {
	out := []Stake{}
	for _, st := range s.stores {
		spec := s.e.Stores[st.id]
		switch {
		case !st.moves:
		case spec.Any == 0:
			out = append(out, Stake{string(st.id), spec.Lag.Seconds(), "its primary acknowledges by itself"})
		case spec.Alone == "allow":
			out = append(out, Stake{string(st.id), spec.Lag.Seconds(), "its primary may have acknowledged alone"})
		}
	}
	return out
}

// path lists the items that an outcome's last service waited for, the last one first.
func (s *Simulation) path(o Outcome) []int {
	last, all := -1, o.All()
	for i, b := range o.Whole {
		if b == all && all > 0 {
			last = o.last[i]
			break
		}
	}
	var out []int
	for ; last >= 0; last = o.items[last].after {
		out = append(out, last)
	}
	return out
}

// critical counts what stands on the critical path of how many runs.
func (s *Simulation) critical(outs []Outcome) []Share {
	took := map[string][]time.Duration{}
	for _, o := range outs {
		for _, i := range s.path(o) {
			w := s.what(o.items[i])
			took[w] = append(took[w], o.items[i].to-o.items[i].from)
		}
	}
	out := []Share{}
	for w, t := range took {
		out = append(out, Share{w, min(1, float64(len(t))/float64(len(outs))), spread(t).P50})
	}
	slices.SortFunc(out, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Share*b.Seconds, a.Share*a.Seconds), cmp.Compare(a.What, b.What))
	})
	return out
}

// typical draws the run in the middle.
func (s *Simulation) typical(outs []Outcome) []Bar {
	out := []Bar{}
	if len(outs) == 0 {
		return out
	}
	order := make([]int, len(outs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(outs[a].All(), outs[b].All()) })
	o := outs[order[(len(order)-1)/2]]
	on := map[int]bool{}
	for _, i := range s.path(o) {
		on[i] = true
	}
	for i, it := range o.items {
		out = append(out, Bar{s.what(it), seconds(it.from), seconds(it.to), on[i], it.failed})
	}
	slices.SortStableFunc(out, func(a, b Bar) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return out
}

// what an item is called.
func (s *Simulation) what(it item) string {
	name := ""
	if it.at >= 0 {
		name = s.names[it.at]
	}
	switch it.kind {
	case sure:
		return "being sure"
	case decided:
		return "deciding"
	case asked:
		return "people agree"
	case stepped:
		return fmt.Sprintf("%s %s", it.verb, name)
	case took:
		if len(s.e.Towers) > 0 {
			return "people accept the loss"
		}
		return "somebody takes command"
	case switched:
		return "move " + name + " by hand"
	case resolve:
		return "resolvers forget " + name
	case powered:
		return "power and boot " + name
	case checked:
		return "check the data of " + name
	case started:
		return "start " + name
	}
	return name
}
