package peer

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/haechi/haechi/core/situation"
)

// ChangesPath is where a tower takes a view that says only which facts have changed since one that it acknowledged: POST,
// JSON as for [Path], with since and gone; 204 acknowledges it, and 409 asks for the whole view. What things say of
// themselves is most of a view and seldom changes. A tower of an older release knows no such path, and gets whole views.
const ChangesPath = "/peer/v1/changes"

// errNoBase is answered by 409.
var errNoBase = errors.New("the view from which this one tells changes is not known here")

// message is what travels: a view, and the towers to which its receiver passes it on.
type message struct {
	situation.View
	PassTo []string `json:"pass_to,omitempty"`
	// Since, where it is not 0, is the number of the view from which the facts here are changes. Gone are
	// those that are no more, by target.
	Since uint64              `json:"since,omitempty"`
	Gone  map[string][]string `json:"gone,omitempty"`
}

// changes tells what is not in a view that the receiver has acknowledged; false: it has nothing to do with this one.
func (m message) changes(known situation.View) (message, bool) {
	if known.Boot != m.Boot || known.Seq == 0 {
		return m, false
	}
	facts := factsOf(known)
	m.Since, m.Looks, m.Gone = known.Seq, slices.Clone(m.Looks), map[string][]string{}
	for i, l := range m.Looks {
		changed := map[string]string{}
		for k, v := range l.Facts {
			if old, ok := facts[l.Target][k]; !ok || old != v {
				changed[k] = v
			}
		}
		m.Looks[i].Facts = changed
		for k := range facts[l.Target] {
			if _, ok := l.Facts[k]; !ok {
				m.Gone[l.Target] = append(m.Gone[l.Target], k)
			}
		}
	}
	return m, true
}

// whole is the message without reference to another.
func (m message) whole(known situation.View) (message, error) {
	if known.Boot != m.Boot || known.Seq != m.Since {
		return m, fmt.Errorf("%w: number %d of %s", errNoBase, m.Since, m.Observer)
	}
	facts := factsOf(known)
	for i, l := range m.Looks {
		if len(l.Facts) == 0 && len(m.Gone[l.Target]) == 0 {
			m.Looks[i].Facts = facts[l.Target]
			continue
		}
		all := maps.Clone(facts[l.Target]) // who has the view before goes on reading it
		if all == nil {
			all = map[string]string{}
		}
		maps.Copy(all, l.Facts)
		for _, k := range m.Gone[l.Target] {
			delete(all, k)
		}
		m.Looks[i].Facts = all
	}
	m.Since, m.Gone = 0, nil
	return m, nil
}

func factsOf(v situation.View) map[string]map[string]string {
	out := make(map[string]map[string]string, len(v.Looks))
	for _, l := range v.Looks {
		out[l.Target] = l.Facts
	}
	return out
}
