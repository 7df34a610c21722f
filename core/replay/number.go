package replay

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
)

// Label says where a number comes from.
type Label string

// The labels; there is no number without one.
const (
	Sourced Label = "sourced" // somebody published it
	Derived Label = "derived" // arithmetic over other numbers, done here
	Assumed Label = "assumed" // nobody published it
)

// Number is one number that the replay rests on.
type Number struct {
	Name   string   `yaml:"name" json:"name"`
	Title  Text     `yaml:"title" json:"title"`
	Value  *float64 `yaml:"value" json:"-"`
	At     string   `yaml:"at" json:"at,omitempty"`       // by the clock; its value is hours since the start
	Is     string   `yaml:"is" json:"is,omitempty"`       // the arithmetic: names of numbers, + - * / and parentheses
	Takes  string   `yaml:"takes" json:"takes,omitempty"` // the replay whose number of that name it is
	Unit   string   `yaml:"unit" json:"unit,omitempty"`
	Label  Label    `yaml:"label" json:"label"`
	Source string   `yaml:"source" json:"source,omitempty"` // where it was published
	Why    Text     `yaml:"why" json:"why,omitzero"`        // why this arithmetic, or this value
	Fitted string   `yaml:"fitted" json:"fitted,omitempty"` // what of the outcome it was chosen to meet
}

// Values are the numbers of one case.
type Values map[string]float64

// Evaluate gives every number its value, with some set to others and some scaled: a number that is
// derived from one that changes changes, too.
func (r *Replay) Evaluate(set map[string]string, scale map[string]float64) (Values, error) {
	v := evaluation{r: r, set: set, scale: scale, done: Values{}, within: map[string]bool{}}
	for _, n := range r.Numbers {
		if _, err := v.of(n.Name); err != nil {
			return nil, err
		}
	}
	return v.done, nil
}

type evaluation struct {
	r      *Replay
	set    map[string]string
	scale  map[string]float64
	done   Values
	within map[string]bool
}

func (v *evaluation) of(name string) (float64, error) {
	if x, ok := v.done[name]; ok {
		return x, nil
	}
	n := v.r.number(name)
	if n == nil {
		return 0, fmt.Errorf("%q is no number of this replay", name)
	}
	if v.within[name] {
		return 0, fmt.Errorf("number %s is derived from itself", name)
	}
	v.within[name] = true
	x, err := v.stated(n)
	if err != nil {
		return 0, fmt.Errorf("number %s: %w", name, err)
	}
	if f, ok := v.scale[name]; ok {
		x *= f
	}
	v.done[name] = x
	return x, nil
}

func (v *evaluation) stated(n *Number) (float64, error) {
	switch other, ok := v.set[n.Name]; {
	case ok:
		return v.of(other)
	case n.Is != "":
		e, err := parser.ParseExpr(n.Is)
		if err != nil {
			return 0, fmt.Errorf("is: %q is no arithmetic: %w", n.Is, err)
		}
		return v.reckon(e)
	case n.At != "":
		return v.r.hours(n.At)
	case n.Value != nil:
		return *n.Value, nil
	}
	return 0, fmt.Errorf("it has no value; say value, at or is")
}

// reckon does the arithmetic.
func (v *evaluation) reckon(e ast.Expr) (float64, error) {
	switch e := e.(type) {
	case *ast.Ident:
		return v.of(e.Name)
	case *ast.BasicLit:
		if e.Kind == token.INT || e.Kind == token.FLOAT {
			return strconv.ParseFloat(e.Value, 64)
		}
	case *ast.ParenExpr:
		return v.reckon(e.X)
	case *ast.BinaryExpr:
		a, err := v.reckon(e.X)
		if err != nil {
			return 0, err
		}
		b, err := v.reckon(e.Y)
		if err != nil {
			return 0, err
		}
		switch {
		case e.Op == token.ADD:
			return a + b, nil
		case e.Op == token.SUB:
			return a - b, nil
		case e.Op == token.MUL:
			return a * b, nil
		case e.Op == token.QUO && b == 0:
			return 0, fmt.Errorf("is: it divides by nothing")
		case e.Op == token.QUO:
			return a / b, nil
		}
	}
	return 0, fmt.Errorf("is: arithmetic is names of numbers, + - * / and parentheses")
}

func (r *Replay) number(name string) *Number {
	for i := range r.Numbers {
		if r.Numbers[i].Name == name {
			return &r.Numbers[i]
		}
	}
	return nil
}

// Assumed lists the numbers that nobody published, nor can be derived.
func (r *Replay) Assumed() []string {
	var out []string
	for _, n := range r.Numbers {
		if n.Label == Assumed {
			out = append(out, n.Name)
		}
	}
	return out
}
