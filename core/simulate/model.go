package simulate

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
)

// Chance is where a simulation takes its luck from; [math/rand/v2.Rand] is one.
type Chance interface {
	Float64() float64     // in [0, 1)
	NormFloat64() float64 // standard normal
}

// Dist is how long something takes. Where times were measured one of them is drawn, each as likely
// as the other (the bootstrap of Efron, 1979); else it is log-normal with this median and 95th
// percentile. The zero value takes no time.
type Dist struct {
	Median   estate.Duration   `json:"median"`
	P95      estate.Duration   `json:"p95"`
	Measured []estate.Duration `json:"measured,omitempty"`
}

// about is a Dist by its median and 95th percentile.
func about(median, p95 time.Duration) Dist {
	return Dist{Median: estate.Duration(median), P95: estate.Duration(p95)}
}

// z95 is the 95th percentile of the standard normal distribution.
const z95 = 1.6448536269514722

// Draw is one such time.
func (d Dist) Draw(c Chance) time.Duration {
	if n := len(d.Measured); n > 0 {
		return time.Duration(d.Measured[int(c.Float64()*float64(n))])
	}
	if d.Median <= 0 || d.P95 <= d.Median {
		return time.Duration(d.Median)
	}
	x := float64(d.Median) * math.Exp(math.Log(float64(d.P95)/float64(d.Median))/z95*c.NormFloat64())
	return time.Duration(min(x, float64(longest)))
}

// Model is what acts take, how often they fail, and how fast people are. All of it is an input, so
// that a forecast can be held against what happened.
type Model struct {
	Sure    Dist               `json:"sure"`    // from the loss to the verdict
	Decide  Dist               `json:"decide"`  // from the verdict to a plan on record
	Steps   map[plan.Verb]Dist `json:"steps"`   // one attempt of a step, or of its undo
	Look    Dist               `json:"look"`    // to find out whether something was done
	Clients Dist               `json:"clients"` // from a store that takes writes to clients that have found it
	Fails   float64            `json:"fails"`   // the share of attempts that fail
	Unheard float64            `json:"unheard"` // the share of attempts of which nobody hears how they ended
	Answer  Dist               `json:"answer"`  // from a question to one person's answer
	Start   Dist               `json:"start"`   // a service on servers that run
	Boot    Dist               `json:"boot"`    // a server, where its pool does not say
	Check   Dist               `json:"check"`   // a store all of whose members were lost, from when they run again
	Hand    Hand               `json:"hand"`
	Power   []Power            `json:"power,omitempty"` // how power comes back to what was lost; nothing: it does not
}

// Hand is how people do what nothing does for them: all of it where the estate has no towers.
type Hand struct {
	Begin   Dist    `json:"begin"`   // from the loss until somebody is in command
	Switch  Dist    `json:"switch"`  // moving one store, or one name
	Without Dist    `json:"without"` // the same while what it starts after is down: without the tools
	Crews   int     `json:"crews"`   // how many such things are done at once; 0: one
	Boots   float64 `json:"boots"`   // servers booted in an hour; 0: as many as have power
}

// Power says that from a time on a share of the lost servers has power again.
type Power struct {
	At    estate.Duration `json:"at"`
	Share float64         `json:"share"`
}

// Defaults is the model of an estate about which nothing was measured; docs/simulate.md says where
// each figure comes from. What the estate declares counts: its profile, and how fast its people are.
func Defaults(e estate.Estate) Model {
	ms := time.Millisecond
	m := Model{
		Sure:   about(1985*ms, 2010*ms),
		Decide: about(18*ms, 35*ms),
		Steps: map[plan.Verb]Dist{
			plan.Seal: about(105*ms, 152*ms), plan.Choose: about(8*ms, 13*ms), plan.Follow: about(17*ms, 28*ms),
			plan.Promote: about(217*ms, 347*ms), plan.Withdraw: about(48*ms, 118*ms), plan.Announce: about(48*ms, 118*ms),
			plan.Halt: about(248*ms, 403*ms), plan.Return: about(685*ms, 1163*ms), plan.Unseal: about(105*ms, 152*ms), plan.Start: about(685*ms, 1163*ms),
		},
		Look:    about(8*ms, 13*ms),
		Clients: about(77*ms, 100*ms),
		Fails:   0.002,
		Unheard: 0.002,
		Answer:  about(5*time.Minute, 30*time.Minute),
		Start:   about(time.Minute, 5*time.Minute),
		Boot:    about(5*time.Minute, 10*time.Minute),
		Check:   about(30*time.Minute, 4*time.Hour),
		Hand: Hand{
			Begin: about(42*time.Minute, 3*time.Hour), Switch: about(10*time.Minute, 30*time.Minute), Without: about(45*time.Minute, 2*time.Hour), Crews: 1,
		},
	}
	if e.Policy.Profile == "fast" {
		m.Sure, m.Decide = about(484*ms, 502*ms), about(15*ms, 24*ms)
	}
	if a := e.Policy.Answer; a > 0 {
		m.Answer = about(a/6, a)
	}
	return m
}

// longest is more than any one thing takes; what would be later than endOfTime is then.
const (
	longest   = 10 * 365 * 24 * time.Hour
	endOfTime = 200 * 365 * 24 * time.Hour
)

// validate says what cannot be of one time.
func (d Dist) validate(name string) error {
	for _, t := range append([]estate.Duration{d.Median, d.P95}, d.Measured...) {
		if t < 0 {
			return fmt.Errorf("model: %s: a time below nothing", name)
		}
		if time.Duration(t) > longest {
			return fmt.Errorf("model: %s: %v is more than ten years", name, t)
		}
	}
	if d.P95 > 0 && d.P95 < d.Median {
		return fmt.Errorf("model: %s: 95 of 100 are within %v, but half of them take longer than %v", name, d.P95, d.Median)
	}
	return nil
}

// Validate says what cannot be: a share beyond one, power that comes before it went.
func (m Model) Validate() error {
	dists := map[string]Dist{
		"sure": m.Sure, "decide": m.Decide, "look": m.Look, "clients": m.Clients, "answer": m.Answer, "start": m.Start,
		"boot": m.Boot, "check": m.Check, "hand.begin": m.Hand.Begin, "hand.switch": m.Hand.Switch, "hand.without": m.Hand.Without,
	}
	for v, d := range m.Steps {
		dists["steps."+string(v)] = d
	}
	for _, name := range slices.Sorted(maps.Keys(dists)) {
		if err := dists[name].validate(name); err != nil {
			return err
		}
	}
	for _, share := range []float64{m.Fails, m.Unheard, m.Fails + m.Unheard} {
		if !(share >= 0 && share <= 0.9) {
			return fmt.Errorf("model: fails %v and unheard %v are shares of all attempts, together at most 0.9", m.Fails, m.Unheard)
		}
	}
	if m.Hand.Crews < 0 || m.Hand.Boots < 0 {
		return fmt.Errorf("model: hand: %d crews that boot %v servers an hour; neither can be below nothing", m.Hand.Crews, m.Hand.Boots)
	}
	for i, p := range m.Power {
		if !(p.Share >= 0 && p.Share <= 1) || p.At < 0 || time.Duration(p.At) > longest || i > 0 && (p.At < m.Power[i-1].At || p.Share < m.Power[i-1].Share) {
			return fmt.Errorf("model: power %d: share %v at %v; shares go from 0 to 1, times to ten years, and both only rise", i+1, p.Share, p.At)
		}
	}
	return nil
}
