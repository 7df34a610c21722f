// Package units opens what an agent's file declares, each unit by the driver of its kind.
package units

import (
	"fmt"
	"log/slog"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/driver/dns"
	"github.com/haechi/haechi/driver/postgres"
)

// Open makes a unit of each declared one. What a kind's settings are, its driver knows.
func Open(conf agent.Config, log *slog.Logger) (map[string]agent.Unit, error) {
	units := map[string]agent.Unit{}
	for name, s := range conf.Units {
		var err error
		if units[name], err = One(s, conf.State, log); err != nil {
			return nil, fmt.Errorf("unit %s: %w", name, err)
		}
	}
	return units, nil
}

// One makes one unit of an agent that keeps its state in a file, which must not share the fate of the data.
func One(s agent.Settings, state string, log *slog.Logger) (agent.Unit, error) {
	switch s.Kind {
	case postgres.Kind:
		set, err := read[postgres.Settings](s)
		if err != nil {
			return nil, err
		}
		if set.Holds(state) {
			return nil, fmt.Errorf("state: %s lies in the data directory %s: a restore of the data would bring old terms and epochs back; put it elsewhere, for example in /var/lib/haechi-agent", state, set.Data)
		}
		return postgres.NewUnit(set, log)
	case dns.Kind:
		set, err := read[dns.Settings](s)
		if err != nil {
			return nil, err
		}
		return dns.NewUnit(set)
	}
	return nil, fmt.Errorf("kind %q is not known; %s and %s are", s.Kind, postgres.Kind, dns.Kind)
}

// Needs lists what has to be on the host for a unit that opens: programs, and directories of the
// user that the agent runs as.
func Needs(s agent.Settings) (programs, dirs []string, err error) {
	switch s.Kind {
	case postgres.Kind:
		set, err := read[postgres.Settings](s)
		return set.Programs(), []string{set.Data}, err
	case dns.Kind:
		set, err := read[dns.Settings](s)
		return set.Programs(), nil, err
	}
	return nil, nil, nil
}

func read[T any](s agent.Settings) (set T, err error) {
	err = s.Into(&set)
	return set, err
}
