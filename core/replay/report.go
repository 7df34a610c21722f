package replay

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/simulate"
)

// Report is all that a replay comes to.
type Report struct {
	Replay   string    `json:"replay"`
	Title    Text      `json:"title"`
	Story    []Text    `json:"story"`
	Start    time.Time `json:"start"`
	Source   string    `json:"source"` // of the start
	Lose     []string  `json:"lose"`
	Runs     int       `json:"runs"`
	Seed     uint64    `json:"seed"`
	Numbers  []Stated  `json:"numbers"`
	Assumed  int       `json:"assumed"` // how many of them
	Readings []Read    `json:"readings"`
	Notes    []Text    `json:"notes"`
	Limits   []Text    `json:"limits"`
}

// Stated is a number with its value.
type Stated struct {
	Number
	Amount float64 `json:"value"`
}

// Read is one reading of the accident, simulated.
type Read struct {
	ID         string     `json:"id"`
	Title      Text       `json:"title"`
	Why        Text       `json:"why"`
	Compared   []Compared `json:"compared"`
	Milestones []Seen     `json:"milestones"`
	Curve      []Point    `json:"curve"` // servers, or systems, that are back
	Moved      []Moved    `json:"sensitivity"`
	Together   Outcome    `json:"together"` // with all remedies
	Remedies   []Bought   `json:"remedies"`
}

// Outcome is what was simulated of what is published, by its id: hours, or a count. -1: never.
type Outcome map[string]float64

// Compared is one published figure beside the simulated one.
type Compared struct {
	ID        string  `json:"id"`
	Title     Text    `json:"title"`
	What      string  `json:"what"`
	Hour      float64 `json:"hour"` // of a count: when, in hours since the start
	Published float64 `json:"published"`
	Simulated float64 `json:"simulated"`
	Off       float64 `json:"off"`    // simulated over published, less one
	Within    float64 `json:"within"` // how far it may be off; 0: it is only shown
	Known     Text    `json:"known"`
}

// Seen is a service that was seen out and back, beside when it is back in the simulation.
type Seen struct {
	Service   string  `json:"service"`
	Title     Text    `json:"title"`
	Out       float64 `json:"out"` // hours; 0: nobody says
	By        float64 `json:"by"`  // hours; 0: nobody says
	Simulated float64 `json:"simulated"`
}

// Early and Late say how many hours a milestone is missed by; 0: it is not.
func (s Seen) Early() float64 { return max(0, s.Out-s.Simulated) }

// Late is by how many hours it comes too late.
func (s Seen) Late() float64 {
	if s.By == 0 {
		return 0
	}
	return max(0, s.Simulated-s.By)
}

// Point is a count at a time.
type Point struct {
	Hour  float64 `json:"hour"`
	Count int     `json:"count"`
}

// Moved is how the outcome moves with one number.
type Moved struct {
	Number string  `json:"number"` // "": all that the file does not say
	Title  Text    `json:"title"`
	Label  Label   `json:"label"`
	Remedy string  `json:"remedy,omitempty"` // the number has a meaning only with it, so it is the outcome with it
	As     Outcome `json:"as"`
	Half   Outcome `json:"half"`
	Double Outcome `json:"double"`
}

// Bought is what one remedy is worth, in hours.
type Bought struct {
	ID      string          `json:"id"`
	Title   Text            `json:"title"`
	What    Text            `json:"what"`
	Alone   Outcome         `json:"alone"` // hours less with it alone
	Last    Outcome         `json:"last"`  // hours more without it, with all others
	Nothing map[string]Text `json:"nothing,omitempty"`
}

// Run simulates a loss many times.
type Run func(*simulate.Simulation) (simulate.Forecast, error)

// Cases is how many losses [Replay.Report] has simulated.
func (r *Replay) Cases() int {
	n := len(r.Readings)
	moved := len(r.moving()) + 1
	n += 2 * moved * len(r.Readings)
	for _, x := range r.moving() {
		if r.remedyOf(x.Name) != nil {
			n += len(r.Readings) // the remedy as it is
		}
	}
	if len(r.Remedies) > 0 {
		n += len(r.Readings) * (2*len(r.Remedies) + 1)
	}
	return n
}

// Report lets it all happen.
func (r *Replay) Report(seed uint64, run Run) (Report, error) {
	out := Report{
		Replay: r.Name, Title: r.Title, Story: r.Story, Start: r.begun, Source: r.Start.Source, Lose: r.Lose, Runs: r.Runs, Seed: seed,
		Assumed: len(r.Assumed()), Notes: r.Notes, Limits: r.Limits,
	}
	v, err := r.Evaluate(nil, nil)
	if err != nil {
		return out, err
	}
	for _, n := range r.Numbers {
		out.Numbers = append(out.Numbers, Stated{n, round(v[n.Name])})
	}
	st := stage{r, run, map[string]estate.Estate{}}
	for _, reading := range r.Readings {
		one, err := st.read(reading)
		if err != nil {
			return out, fmt.Errorf("%s, reading %s: %w", r.Name, reading.ID, err)
		}
		out.Readings = append(out.Readings, one)
	}
	return out, nil
}

// stage is where cases happen. An estate that two of them share is read once.
type stage struct {
	*Replay
	run    Run
	loaded map[string]estate.Estate
}

func (r stage) read(reading Reading) (Read, error) {
	out := Read{ID: reading.ID, Title: reading.Title, Why: reading.Why, Milestones: []Seen{}}
	base := Case{Changes: []Change{reading.Change}}
	s, v, err := r.simulation(base, r.loaded)
	if err != nil {
		return out, err
	}
	f, err := r.run(s)
	if err != nil {
		return out, err
	}
	is := r.outcome(s, v, f)
	out.Compared = r.compare(v, is)
	for _, m := range r.Milestones {
		out.Milestones = append(out.Milestones, Seen{m.Service, m.Title, v[m.Out], v[m.By], back(f, m.Service)})
	}
	out.Curve = r.curve(s, v, f)
	if out.Moved, err = r.sensitivity(reading, is); err != nil {
		return out, err
	}
	if len(r.Remedies) > 0 {
		out.Remedies, out.Together, err = r.buy(reading, is)
	}
	return out, err
}

// happen simulates one case.
func (r stage) happen(c Case) (Outcome, error) {
	s, v, err := r.simulation(c, r.loaded)
	if err != nil {
		return nil, err
	}
	f, err := r.run(s)
	if err != nil {
		return nil, err
	}
	return r.outcome(s, v, f), nil
}

func (r *Replay) outcome(s *simulate.Simulation, v Values, f simulate.Forecast) Outcome {
	out := Outcome{}
	for _, p := range r.Published {
		switch p.What {
		case Back:
			out[p.ID] = back(f, p.Service)
		case Everything:
			out[p.ID] = round(f.All.P50 / 3600)
			if len(f.Never) > 0 {
				out[p.ID] = -1
			}
		case Servers:
			out[p.ID] = float64(s.Booting(time.Duration(hours(v[p.At]))))
		case Systems:
			out[p.ID] = float64(systems(f, v[p.At]))
		}
	}
	return out
}

// back is when a service serves again, in hours; -1: never.
func back(f simulate.Forecast, service string) float64 {
	for _, s := range f.Services {
		if s.Name == service && s.P50 >= 0 {
			return round(s.P50 / 3600)
		}
	}
	return -1
}

// systems counts the services that serve by then.
func systems(f simulate.Forecast, hour float64) int {
	n := 0
	for _, s := range f.Services {
		if s.P50 >= 0 && s.P50 <= hour*3600 {
			n++
		}
	}
	return n
}

func (r *Replay) compare(v Values, is Outcome) []Compared {
	var out []Compared
	for _, p := range r.Published {
		was := v[p.Is]
		out = append(out, Compared{p.ID, p.Title, p.What, round(v[p.At]), round(was), is[p.ID], round(is[p.ID]/was - 1), p.Within, p.Known})
	}
	return out
}

// points is how fine the curve is.
const points = 120

func (r *Replay) curve(s *simulate.Simulation, v Values, f simulate.Forecast) []Point {
	last, count := 0.0, false
	for _, p := range r.Published {
		if p.What == Servers || p.What == Systems {
			last, count = max(last, v[p.At]), p.What == Systems
		}
	}
	var out []Point
	for i := range points + 1 {
		h := last * 1.05 * float64(i) / points
		n := 0
		if count {
			n = systems(f, h)
		} else {
			n = s.Booting(time.Duration(hours(h)))
		}
		out = append(out, Point{round(h), n})
	}
	return out
}

// moving lists the numbers that are halved and doubled: what is assumed, and what is fitted.
func (r *Replay) moving() []Number {
	var out []Number
	for _, n := range r.Numbers {
		if n.Label == Assumed || n.Fitted != "" {
			out = append(out, n)
		}
	}
	return out
}

// remedyOf is the remedy without which a number has no meaning.
func (r *Replay) remedyOf(name string) *Remedy {
	for i, x := range r.Remedies {
		for _, to := range x.Set {
			if to == name {
				return &r.Remedies[i]
			}
		}
	}
	return nil
}

func (r stage) sensitivity(reading Reading, is Outcome) ([]Moved, error) {
	var out []Moved
	for _, n := range r.moving() {
		m := Moved{Number: n.Name, Title: n.Title, Label: n.Label, As: is}
		c := Case{Changes: []Change{reading.Change}}
		var err error
		if x := r.remedyOf(n.Name); x != nil {
			m.Remedy = x.ID
			c.Changes = append(c.Changes, x.Change)
			if m.As, err = r.happen(c); err != nil {
				return nil, err
			}
		}
		for by, to := range map[float64]*Outcome{0.5: &m.Half, 2: &m.Double} {
			c.Scale = map[string]float64{n.Name: by}
			if *to, err = r.happen(c); err != nil {
				return nil, fmt.Errorf("%s times %v: %w", n.Name, by, err)
			}
		}
		out = append(out, m)
	}
	m := Moved{Title: Text{"all that this file does not say: what haechi simulate takes a start, a boot, a step to last", "이 파일이 말하지 않는 것: haechi simulate가 쓰는 시작·부팅·단계의 시간"}, As: is}
	for by, to := range map[float64]*Outcome{0.5: &m.Half, 2: &m.Double} {
		var err error
		if *to, err = r.happen(Case{Changes: []Change{reading.Change}, Defaults: by}); err != nil {
			return nil, err
		}
	}
	return append(out, m), nil
}

// buy tries each remedy alone, all together, and each one left out of all.
func (r stage) buy(reading Reading, is Outcome) ([]Bought, Outcome, error) {
	with := func(keep func(i int) bool) (Outcome, error) {
		c := Case{Changes: []Change{reading.Change}}
		var names []string
		for i, x := range r.Remedies {
			if keep(i) {
				c.Changes = append(c.Changes, x.Change)
				names = append(names, x.ID)
			}
		}
		o, err := r.happen(c)
		if err != nil {
			return nil, fmt.Errorf("with %s: %w", strings.Join(names, ", "), err)
		}
		return r.times(o), nil
	}
	all, err := with(func(int) bool { return true })
	if err != nil {
		return nil, nil, err
	}
	var out []Bought
	for i, x := range r.Remedies {
		alone, err := with(func(n int) bool { return n == i })
		if err != nil {
			return nil, nil, err
		}
		without, err := with(func(n int) bool { return n != i })
		if err != nil {
			return nil, nil, err
		}
		b := Bought{ID: x.ID, Title: x.Title, What: x.What, Alone: less(is, alone), Last: less(without, all), Nothing: map[string]Text{}}
		for k, t := range x.Nothing {
			if id, published, _ := strings.Cut(k, " "); id == reading.ID {
				b.Nothing[published] = t
			}
		}
		out = append(out, b)
	}
	return out, all, nil
}

// times keeps what is a time.
func (r *Replay) times(o Outcome) Outcome {
	out := Outcome{}
	for _, p := range r.Published {
		if p.What == Back || p.What == Everything {
			out[p.ID] = o[p.ID]
		}
	}
	return out
}

// less is by how many hours each of b is shorter than that of a.
func less(a, b Outcome) Outcome {
	out := Outcome{}
	for k, x := range b {
		out[k] = round(a[k] - x)
	}
	return out
}

// round keeps what is worth printing.
func round(x float64) float64 { return math.Round(x*10000) / 10000 }

// Ends are the published figures that are times, in their order.
func (r Report) Ends() []Compared {
	if len(r.Readings) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.Readings[0].Compared), func(c Compared) bool { return c.What != Back && c.What != Everything })
}
