package situation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// word is what an observer, or a site, says of a subject.
type word int

const (
	nothing word = iota // it cannot tell
	sees
	silence
)

// opinion is a word with the sentence that explains it.
type opinion struct {
	word word
	say  string
}

// silent says whether a look counts as silence. What never answered has longer.
func (f *Fold) silent(l Look) bool {
	if !l.Ever {
		return l.Silent >= f.profile.unseen()
	}
	return l.Silent >= f.profile.Silence
}

// answers says whether a look, told so long ago, still shows that its target
// answers. The age of a view adds to what it says of life, and never to what it
// says of silence.
func (f *Fold) answers(l Look, age time.Duration) bool {
	return l.Ever && l.answered()+age < f.profile.Silence
}

// dead says whether a look at a single thing counts against it.
func (f *Fold) dead(l Look) bool {
	return f.silent(l) || l.Ever && l.Refused && l.Silent >= f.profile.Refusal()
}

// vote joins the opinions of a site's towers: one that sees outweighs those that
// do not, since only that can be proven.
func vote(all []opinion) opinion {
	var out opinion
	for _, o := range all {
		if o.word == sees {
			return o
		}
		if o.word > out.word || out.say == "" {
			out = o
		}
	}
	return out
}

// blind says why an observer's silence does not count at all now; empty if it does.
// about is the site that it would speak of.
func (f *Fold) blind(h heard, about estate.SiteID, now time.Time) string {
	switch age := f.age(h, now); {
	case age > f.profile.Stale:
		return fmt.Sprintf("no word from %s for %s", h.view.Observer, round(age))
	case h.view.Late > f.profile.Stall:
		return fmt.Sprintf("%s was itself stopped for %s", h.view.Observer, round(h.view.Late))
	case !f.hears(h, about, age):
		return fmt.Sprintf("%s hears no other site either", h.view.Observer)
	}
	return ""
}

// hears says whether an observer heard a site that is neither its own nor the one in question.
func (f *Fold) hears(h heard, about estate.SiteID, age time.Duration) bool {
	for _, t := range f.targets {
		if t.Site == about || t.Site == h.view.Site {
			continue
		}
		if l, ok := h.looks[t.ID]; ok && f.answers(l, age) {
			return true
		}
	}
	return false
}

// ofSite is what one observer says of a whole site, going by the targets that
// match.
func (f *Fold) ofSite(h heard, site estate.SiteID, match func(Kind) bool, now time.Time) opinion {
	age := f.age(h, now)
	if h.view.Site == site && age < f.profile.Silence {
		return opinion{sees, h.view.Observer + " stands there and speaks"}
	}
	var answered, silent []Kind
	longest := time.Duration(0) // the shortest silence of all is what can be said of the site
	for _, t := range f.of[site] {
		l, looked := h.looks[t.ID]
		switch {
		case !looked || !match(t.Kind):
		case f.answers(l, age):
			answered = append(answered, t.Kind)
		case f.silent(l):
			silent = append(silent, t.Kind)
			if longest == 0 || l.Silent < longest {
				longest = l.Silent
			}
		}
	}
	name := h.view.Observer
	if age <= f.profile.Stale && len(answered) > 0 {
		return opinion{sees, name + " sees " + string(site) + " (" + kinds(answered) + ")"}
	}
	why := f.blind(h, site, now)
	switch {
	case why != "":
	case len(silent) == 0:
		why = fmt.Sprintf("%s has not seen %s yet", name, site)
	case distinct(silent) < f.enough(site, match):
		why = fmt.Sprintf("%s knows too little of %s (only %s)", name, site, kinds(silent))
	default:
		return opinion{silence, fmt.Sprintf("%s has heard nothing from %s (%s) for %s", name, site, kinds(silent), round(longest))}
	}
	return opinion{nothing, why}
}

// enough is how many kinds of thing must be silent before a site is: two, as one
// process may die alone, or all that it has.
func (f *Fold) enough(site estate.SiteID, match func(Kind) bool) int {
	var there []Kind
	for _, t := range f.of[site] {
		if match(t.Kind) {
			there = append(there, t.Kind)
		}
	}
	return min(2, distinct(there))
}

// ofTarget is what one observer says of one thing in a site that lives. From
// another site its silence counts only if it hears something else there at the
// same time: else it is the site or the way to it, not the thing.
func (f *Fold) ofTarget(h heard, t Target, now time.Time) opinion {
	l, looked := h.looks[t.ID]
	name := h.view.Observer
	switch age := f.age(h, now); {
	case age > f.profile.Stale:
		return opinion{nothing, fmt.Sprintf("no word from %s for %s", name, round(age))}
	case !looked:
		return opinion{nothing, fmt.Sprintf("%s does not look at %s", name, t.ID)}
	case f.dead(l) && h.view.Late > f.profile.Stall:
		return opinion{nothing, fmt.Sprintf("%s was itself stopped for %s", name, round(h.view.Late))}
	case f.dead(l) && !f.beside(h, t):
		return opinion{nothing, fmt.Sprintf("%s hears nothing else in %s either", name, t.Site)}
	case f.dead(l) && l.Refused:
		return opinion{silence, fmt.Sprintf("%s is refused by %s for %s%s", name, t.ID, round(l.Silent), reason(l))}
	case f.dead(l):
		return opinion{silence, fmt.Sprintf("%s has heard nothing from %s for %s%s", name, t.ID, round(l.Silent), reason(l))}
	case f.answers(l, f.age(h, now)):
		return opinion{sees, name + " sees it"}
	}
	return opinion{nothing, fmt.Sprintf("%s has not seen it yet", name)}
}

// beside says whether an observer hears something else in the site of a target,
// or, for the site's own towers, anything else at all.
func (f *Fold) beside(h heard, t Target) bool {
	for _, other := range f.targets {
		if other.ID == t.ID || other.Site != t.Site && h.view.Site != t.Site {
			continue
		}
		if l, ok := h.looks[other.ID]; ok && l.Ever && l.answered() <= f.profile.Silence/2 {
			return true
		}
	}
	return false
}

func reason(l Look) string {
	if l.Why == "" {
		return ""
	}
	return ": " + l.Why
}

func distinct(ks []Kind) int {
	ks = slices.Clone(ks)
	slices.Sort(ks)
	return len(slices.Compact(ks))
}

// order in which kinds are named to people: from what matters most when a site burns.
var order = [...]Kind{KindTower, KindAgent, KindDatabase, KindGateway, KindDNS}

func kinds(ks []Kind) string {
	var out []string
	for _, k := range order {
		if slices.Contains(ks, k) {
			out = append(out, string(k))
		}
	}
	return strings.Join(out, ", ")
}

// round shortens a duration to what a person can use.
func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
