package situation

import (
	"maps"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// Situation is what is believed at one time. It is never changed after it was made.
type Situation struct {
	At     time.Time                    `json:"at"`
	Sites  map[estate.SiteID]Verdict    `json:"sites"`
	Things map[string]Verdict           `json:"things"` // by target ID; in a site that is gone, each is what the site is
	Facts  map[string]map[string]string `json:"facts"`  // what each target says of itself, by target ID; only of those that answer
	Cut    []estate.SiteID              `json:"cut"`    // sites whose own towers hear no other site, sorted
	// Deaf are the members, by target ID, to which the one primary of their store sends nothing, by its own word: since
	// when, without a break.
	Deaf map[string]time.Time `json:"deaf,omitempty"`
}

// Alone says that a site's own towers hear no other site. A tower asks this of
// its own site, to withdraw in time what its site must not do any more.
func (s Situation) Alone(site estate.SiteID) bool { return slices.Contains(s.Cut, site) }

// Gone lists the sites that are lost or isolated, sorted: no step may need them.
func (s Situation) Gone() []estate.SiteID { return s.In(Lost, Isolated) }

// In lists the sites that are in one of the states, sorted.
func (s Situation) In(states ...State) (out []estate.SiteID) {
	for _, site := range slices.Sorted(maps.Keys(s.Sites)) {
		if slices.Contains(states, s.Sites[site].State) {
			out = append(out, site)
		}
	}
	return out
}

// Gone says that a majority of sites hears nothing of the site.
func (v Verdict) Gone() bool { return v.State == Lost || v.State == Isolated }

// facts picks for each target the freshest good look of a tower. Agents speak of
// several units, with keys "unit/key"; what they say of a store's member or a name
// server is added, without the prefix, to the facts of that target.
func (f *Fold) facts(now time.Time) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, t := range f.targets {
		if found := f.freshest(t.ID, now); len(found) > 0 {
			out[t.ID] = found
		}
	}
	for _, s := range f.spoken {
		merge(out, s.target, out[s.agent], s.unit)
	}
	return out
}

// spoken is a target of which an agent speaks too.
type spoken struct{ target, agent, unit string }

func spokenFor(e estate.Estate) (out []spoken) {
	add := func(target, agent, unit string) {
		if agent != "" && unit != "" {
			out = append(out, spoken{target, agent, unit})
		}
	}
	for store, s := range e.Stores {
		for member, m := range s.Members {
			add(DatabaseTarget(e, store, member), AgentTarget(e, m.Host), m.Unit)
		}
	}
	for name, h := range e.Hosts {
		if h.Address != "" {
			add(DNSTarget(e, name), AgentTarget(e, name), h.Unit)
		}
	}
	return out
}

// freshest is what the target said last to any tower, nothing unless it still answers one.
// An observer that has asked for facts lately knows more than one that only saw life since,
// also where it fell silent itself meanwhile: what was believed is never replaced by
// something older.
func (f *Fold) freshest(target string, now time.Time) (found map[string]string) {
	var best time.Duration
	answers := false
	for _, site := range f.voters {
		for _, name := range f.stands[site] {
			h := f.views[name]
			age := f.age(h, now)
			l, ok := h.looks[target]
			if !ok || age > f.profile.Stale || !l.Ever || l.Refused || len(l.Facts) == 0 {
				continue
			}
			answers = answers || l.answered()+age < f.profile.Silence
			if said := l.Said + age; found == nil || said < best {
				best, found = said, l.Facts
			}
		}
	}
	if !answers {
		return nil
	}
	return found
}

// merge adds what an agent says of a unit to what the thing says of itself, which is
// newer. What views hold is shared, so it is copied, once.
func merge(out map[string]map[string]string, target string, agent map[string]string, unit string) {
	own, joined := out[target], map[string]string(nil)
	for key, value := range agent {
		if len(key) <= len(unit) || key[len(unit)] != '/' || key[:len(unit)] != unit {
			continue
		}
		name := key[len(unit)+1:]
		if _, said := own[name]; said {
			continue
		}
		if joined == nil {
			joined = make(map[string]string, len(own)+len(agent))
			maps.Copy(joined, own)
		}
		joined[name] = value
	}
	if joined != nil {
		out[target] = joined
	}
}
