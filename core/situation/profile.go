package situation

import (
	"errors"
	"fmt"
	"time"
)

// Profiles returns the profiles that an estate may name in its policy. "default"
// bears links that go dark for a second and a half; "fast" is for estates with
// good links, whose round trips stay below its Timeout.
func Profiles() map[string]Profile {
	return map[string]Profile{
		"default": {
			Name: "default", Silence: 2 * time.Second, Every: 300 * time.Millisecond, Rest: 300 * time.Millisecond, Timeout: time.Second,
			Stall: 500 * time.Millisecond, Stale: 3 * time.Second, Settle: 10 * time.Second,
			Alone: 1700 * time.Millisecond,
		},
		"fast": {
			Name: "fast", Silence: 500 * time.Millisecond, Every: 100 * time.Millisecond, Rest: 200 * time.Millisecond, Timeout: 300 * time.Millisecond,
			Stall: 150 * time.Millisecond, Stale: time.Second, Settle: 3 * time.Second,
			Alone: 500 * time.Millisecond,
		},
	}
}

// Named returns the profile that a policy names; an empty name means "default".
func Named(name string) (Profile, error) {
	if name == "" {
		name = "default"
	}
	p, ok := Profiles()[name]
	if !ok {
		return Profile{}, fmt.Errorf("profile: there is none named %q; use \"default\" or \"fast\"", name)
	}
	return p, nil
}

// Validate checks the times against each other and reports every problem at
// once, each with what would go wrong.
func (p Profile) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("profile %s: %s: "+format, append([]any{p.Name, field}, args...)...))
	}
	for _, f := range []struct {
		name string
		is   time.Duration
	}{
		{"silence", p.Silence},
		{"every", p.Every},
		{"rest", p.Rest},
		{"timeout", p.Timeout},
		{"stall", p.Stall},
		{"stale", p.Stale},
		{"settle", p.Settle},
		{"alone", p.Alone},
	} {
		if f.is <= 0 {
			bad(f.name, "is %v; it must be longer than nothing", f.is)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...) // the rest compares times that are there
	}
	if least := p.Timeout + 2*p.Every; p.Silence < least {
		bad("silence", "%v is shorter than timeout + 2 x every (%v): one lost packet would make a living thing silent before the next looks could answer", p.Silence, least)
	}
	if p.Rest < p.Every {
		bad("rest", "%v is shorter than every (%v): what answers would be looked at more often than what does not", p.Rest, p.Every)
	}
	if least := 2*p.Rest + p.Every; p.Silence < least {
		bad("silence", "%v is shorter than 2 x rest + every (%v): an answer that is told a little late would be too old to show that a thing lives", p.Silence, least)
	}
	if p.Stall > p.Silence/2 {
		bad("stall", "%v is longer than half of silence (%v): an observer that was itself stopped would call others silent", p.Stall, p.Silence)
	}
	if least := 3 * p.Every; p.Stale < least {
		bad("stale", "%v is shorter than 3 x every (%v): views that are a little late would say nothing, and no majority would be reached", p.Stale, least)
	}
	if most := 3 * p.Silence; p.Stale > most {
		bad("stale", "%v is longer than 3 x silence (%v): the word of an observer that is gone itself would still count", p.Stale, most)
	}
	if p.Settle < p.Silence {
		bad("settle", "%v is shorter than silence (%v): a site that comes and goes would be up in between", p.Settle, p.Silence)
	}
	return errors.Join(errs...)
}

// Refusal is how long a thing must have been refused by a host that answers:
// less than Silence, because a refusal is a word and not the lack of one, and
// never less than two looks.
func (p Profile) Refusal() time.Duration { return max(p.Silence/2, 2*p.Every) }

// unseen is how long a thing that never answered an observer must be silent
// before that counts. Something that is only being installed has this long.
func (p Profile) unseen() time.Duration { return 10 * p.Silence }

// recent is how fresh an answer must be to prove that something lives now. It is
// below Silence by so much that an answer from before a fire cannot pass for one
// after it at the moment in which the silence is full.
func (p Profile) recent() time.Duration { return p.Silence * 3 / 4 }
