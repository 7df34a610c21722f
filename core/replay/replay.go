// Package replay lets an accident of the past happen again in core/simulate: an estate as it was, numbers
// of which each says where it comes from, what was published of the outcome, and remedies, each a change
// that a reader can see. It is pure: files are read by the caller, luck is drawn elsewhere.
package replay

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Text is something for people, in both languages.
type Text struct {
	En string `yaml:"en" json:"en"`
	Ko string `yaml:"ko" json:"ko"`
}

// Replay is one accident, as its file says it. A value that came out of [Load] satisfies: every number
// has a label and what its label asks for; every number that is named is stated; none is stated in vain.
type Replay struct {
	Name       string            `yaml:"replay"`
	Title      Text              `yaml:"title"`
	Story      []Text            `yaml:"story"`
	Zone       string            `yaml:"zone"`  // of all clock times, for example +09:00
	Start      Moment            `yaml:"start"` // all times are counted from here
	Estate     string            `yaml:"estate"`
	Lose       []string          `yaml:"lose"`
	Runs       int               `yaml:"runs"` // that make stable medians; no number of the accident
	Numbers    []Number          `yaml:"numbers"`
	Model      map[string]string `yaml:"model"` // what of the model is which number
	Power      []Power           `yaml:"power"`
	Readings   []Reading         `yaml:"readings"` // the first is the one that is assumed
	Published  []Published       `yaml:"published"`
	Milestones []Milestone       `yaml:"milestones"`
	Remedies   []Remedy          `yaml:"remedies"`
	Notes      []Text            `yaml:"notes"`  // what the estate takes for granted without a number
	Limits     []Text            `yaml:"limits"` // where it does not hold

	template string
	begun    time.Time
}

// Moment is a time by the clock with its source.
type Moment struct {
	At     string `yaml:"at"`
	Source string `yaml:"source"`
}

// Power says that from a time on a share of the lost servers has power; Line: it rose from the point
// before in a straight line.
type Power struct {
	At    string `yaml:"at"`
	Share string `yaml:"share"`
	Line  bool   `yaml:"line"`
}

// Change is what makes one case differ from another: numbers that take the value of others, and parts
// laid over the estate (RFC 7396: what is null goes, mappings are merged, all else is put in its place).
type Change struct {
	Set    map[string]string `yaml:"set"`
	Estate string            `yaml:"estate"` // a template, as the estate is
	Power  []Power           `yaml:"power"`  // in the place of the replay's
}

// Reading is one way in which it may have been.
type Reading struct {
	ID     string `yaml:"id"`
	Title  Text   `yaml:"title"`
	Why    Text   `yaml:"why"`
	Change `yaml:",inline"`
}

// Remedy is something that would have helped, or not.
type Remedy struct {
	ID     string `yaml:"id"`
	Title  Text   `yaml:"title"`
	What   Text   `yaml:"what"`
	Change `yaml:",inline"`
	// Nothing says, by reading and what is published ("hands messages"), why it buys nothing by itself.
	Nothing map[string]Text `yaml:"nothing"`
}

// The kinds of what is published and can be compared.
const (
	Back       = "back"       // when a service serves again
	Everything = "everything" // when all services have all their servers
	Servers    = "servers"    // how many servers run at a time
	Systems    = "systems"    // how many services serve at a time
)

// Published is one figure of the outcome.
type Published struct {
	ID      string  `yaml:"id"`
	Title   Text    `yaml:"title"`
	What    string  `yaml:"what"`
	Service string  `yaml:"service"` // with back
	At      string  `yaml:"at"`      // with servers and systems: the number that is the time
	Is      string  `yaml:"is"`      // the number that was published
	Within  float64 `yaml:"within"`  // how near the simulation has to come, as a share; 0: it is only shown
	Known   Text    `yaml:"known"`   // what the figure is fitted to or bounded by, and so proves nothing
}

// Milestone is a service that was seen out at one time and back at another, or only one of them.
type Milestone struct {
	Service string `yaml:"service"`
	Title   Text   `yaml:"title"`
	Out     string `yaml:"out"`
	By      string `yaml:"by"`
}

// Load reads the replay of that name; read gives a file by its path below the folder of all replays.
// Errors name the file and what is wrong in it.
func Load(name string, read func(string) ([]byte, error)) (Replay, error) {
	return load(name, read, nil)
}

func load(name string, read func(string) ([]byte, error), within []string) (Replay, error) {
	at := path.Join(name, "replay.yaml")
	if slices.Contains(within, name) {
		return Replay{}, fmt.Errorf("%s: it takes numbers from itself, by way of %s", at, strings.Join(within, ", "))
	}
	b, err := read(at)
	if err != nil {
		return Replay{}, err
	}
	var r Replay
	if err := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict()).Decode(&r); err != nil {
		return Replay{}, fmt.Errorf("%s: %w", at, err)
	}
	if r.Name != name {
		return Replay{}, fmt.Errorf("%s: replay is %q; it has the name of its folder, %q", at, r.Name, name)
	}
	t, err := read(path.Join(name, path.Clean("/"+r.Estate)))
	if err != nil {
		return Replay{}, fmt.Errorf("%s: estate: %w", at, err)
	}
	r.template = string(t)
	if err := r.take(read, append(within, name)); err != nil {
		return Replay{}, fmt.Errorf("%s: %w", at, err)
	}
	if err := errors.Join(r.check()...); err != nil {
		return Replay{}, fmt.Errorf("%s: %w", at, err)
	}
	return r, nil
}

// take fetches the numbers that are another replay's. Whatever they were there, here they are assumed.
func (r *Replay) take(read func(string) ([]byte, error), within []string) error {
	for i, n := range r.Numbers {
		if n.Takes == "" {
			continue
		}
		other, err := load(n.Takes, read, within)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(other.Numbers, func(o Number) bool { return o.Name == n.Name })
		if at < 0 || other.Numbers[at].Is != "" || other.Numbers[at].At != "" {
			return fmt.Errorf("number %s: %s states no such number by its value", n.Name, n.Takes)
		}
		took := other.Numbers[at]
		took.Takes = n.Takes
		took.Fitted = ""           // not to anything here
		if took.Label == Sourced { // of another accident
			took.Why = Text{"published of the other accident; that it holds for this one is assumed", "다른 사고에서 공개된 값. 이 사고에도 맞는다는 것은 가정이다"}
			took.Source, took.Label = "", Assumed
		}
		r.Numbers[i] = took
	}
	return nil
}

// Hours is a time by the clock, as hours since the start.
func (r *Replay) hours(at string) (float64, error) {
	t, err := time.Parse("2006-01-02 15:04Z07:00", at+r.Zone)
	if err != nil {
		return 0, fmt.Errorf("%q is no time; write it as 2022-10-16 01:30", at)
	}
	return t.Sub(r.begun).Hours(), nil
}

// Clock is the time by the clock, so many hours after the start.
func (r *Replay) Clock(hours float64) time.Time {
	return r.begun.Add(time.Duration(hours * float64(time.Hour))).Round(time.Minute)
}
