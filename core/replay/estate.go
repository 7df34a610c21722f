package replay

import (
	"fmt"
	"math"
	"strings"
	"text/template"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/simulate"
)

// Case is one way to let it happen: changes one after the other, numbers scaled, and what the file does
// not say scaled as a whole (0: as it is).
type Case struct {
	Changes  []Change
	Scale    map[string]float64
	Defaults float64
}

// values are the numbers of a case.
func (r *Replay) values(c Case) (Values, error) {
	set := map[string]string{}
	for _, ch := range c.Changes {
		for k, v := range ch.Set {
			set[k] = v
		}
	}
	return r.Evaluate(set, c.Scale)
}

// Simulation is a case, ready to happen, and its numbers.
func (r *Replay) Simulation(c Case) (*simulate.Simulation, Values, error) {
	return r.simulation(c, map[string]estate.Estate{})
}

func (r *Replay) simulation(c Case, loaded map[string]estate.Estate) (*simulate.Simulation, Values, error) {
	v, err := r.values(c)
	if err != nil {
		return nil, nil, err
	}
	text, err := r.draw(c, v)
	if err != nil {
		return nil, nil, err
	}
	e, known := loaded[text]
	if !known {
		if e, err = estate.Load([]estate.File{{Name: r.Name + "/" + r.Estate, Data: []byte(text)}}, nil); err != nil {
			return nil, nil, err
		}
		loaded[text] = e
	}
	m, err := r.model(e, c, v)
	if err != nil {
		return nil, nil, err
	}
	s, err := simulate.New(e, r.Lose, m)
	return s, v, err
}

// EstateFile is the file of a case as haechi audit and haechi simulate read it.
func (r *Replay) EstateFile(c Case) (string, error) {
	v, err := r.values(c)
	if err != nil {
		return "", err
	}
	return r.draw(c, v)
}

// draw fills the estate's template in and lays the changes over it.
func (r *Replay) draw(c Case, v Values) (string, error) {
	text, err := fill(r.Estate, r.template, v)
	if err != nil {
		return "", err
	}
	var tree map[string]any
	for _, ch := range c.Changes {
		if ch.Estate == "" {
			continue
		}
		over, err := fill("a change", ch.Estate, v)
		if err != nil {
			return "", err
		}
		if tree == nil {
			if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
				return "", fmt.Errorf("%s: %w", r.Estate, err)
			}
		}
		var patch map[string]any
		if err := yaml.Unmarshal([]byte(over), &patch); err != nil {
			return "", fmt.Errorf("a change of the estate: %w", err)
		}
		tree = merged(tree, patch)
	}
	if tree == nil {
		return text, nil
	}
	out, err := yaml.Marshal(tree)
	return string(out), err
}

// merged lays a patch over a tree (RFC 7396).
func merged(tree, patch map[string]any) map[string]any {
	if tree == nil {
		tree = map[string]any{}
	}
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(tree, k)
		case map[string]any:
			below, _ := tree[k].(map[string]any)
			tree[k] = merged(below, v)
		default:
			tree[k] = v
		}
	}
	return tree
}

// fill fills numbers into a template, as whole ones.
func fill(name, text string, v Values) (string, error) {
	t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{
		"upto": func(n int) []int {
			var out []int
			for i := range n {
				out = append(out, i+1)
			}
			return out
		},
		"list": strings.Fields,
		"turn": func(i, of int) int { return (i-1)%of + 1 }, // the i-th of things dealt round
		"tiers": func(names ...string) map[int]string { // from tier 1 on
			out := map[int]string{}
			for i, n := range names {
				out[i+1] = n
			}
			return out
		},
		"sum": func(all ...int) int {
			out := 0
			for _, n := range all {
				out += n
			}
			return out
		},
	}).Parse(text)
	if err != nil {
		return "", err
	}
	whole := map[string]int{}
	for k, x := range v {
		whole[k] = int(math.Floor(x + 1e-9))
	}
	var out strings.Builder
	if err := t.Execute(&out, whole); err != nil {
		return "", err
	}
	return out.String(), nil
}

// model is what acts take and how fast people are, in one case. Durations without a spread: what is not
// known is varied, one number at a time, not drawn.
func (r *Replay) model(e estate.Estate, c Case, v Values) (simulate.Model, error) {
	m := simulate.Defaults(e)
	if c.Defaults > 0 {
		scale(&m, c.Defaults)
	}
	for k, name := range r.Model {
		x := v[name]
		d := simulate.Dist{Median: hours(r.inHours(name, x))}
		switch k {
		case "begin":
			m.Hand.Begin = d
		case "switch":
			m.Hand.Switch = d
		case "without":
			m.Hand.Without = d
		case "crews":
			m.Hand.Crews = max(1, int(math.Round(x)))
		case "boots":
			m.Hand.Boots = x
		case "check":
			m.Check = d
		default:
			return m, fmt.Errorf("model: %s: it is one of begin, switch, without, crews, boots, check", k)
		}
	}
	points := r.Power
	for _, ch := range c.Changes {
		if ch.Power != nil {
			points = ch.Power
		}
	}
	m.Power = power(points, v)
	return m, nil
}

// steps is how many make a straight line.
const steps = 200

// power draws straight lines as steps.
func power(points []Power, v Values) []simulate.Power {
	var out []simulate.Power
	from, share := 0.0, 0.0
	for _, p := range points {
		at, to := v[p.At], v[p.Share]
		if p.Line {
			for i := range steps - 1 {
				part := float64(i+1) / steps
				out = append(out, simulate.Power{At: hours(from + (at-from)*part), Share: share + (to-share)*part})
			}
		}
		out = append(out, simulate.Power{At: hours(at), Share: to})
		from, share = at, to
	}
	return out
}

// inHours is a time in hours, whatever its unit.
func (r *Replay) inHours(name string, x float64) float64 {
	if n := r.number(name); n != nil && n.Unit == "min" {
		return x / 60
	}
	return x
}

func hours(x float64) estate.Duration { return estate.Duration(x * float64(time.Hour)) }

// scale stretches all that the file does not say.
func scale(m *simulate.Model, by float64) {
	for _, d := range []*simulate.Dist{&m.Sure, &m.Decide, &m.Look, &m.Clients, &m.Answer, &m.Start, &m.Boot} {
		*d = stretched(*d, by)
	}
	for k, d := range m.Steps {
		m.Steps[k] = stretched(d, by)
	}
}

func stretched(d simulate.Dist, by float64) simulate.Dist {
	return simulate.Dist{Median: estate.Duration(float64(d.Median) * by), P95: estate.Duration(float64(d.P95) * by)}
}
