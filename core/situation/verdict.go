package situation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// tally is the votes of all sites on one subject.
type tally struct {
	sees, silent []estate.SiteID
	seen         []string // sentences
	unheard      []string
	unsure       []string
	own          opinion // what the subject's own site says
}

func (f *Fold) count(about estate.SiteID, ask func(heard) opinion) (t tally) {
	for _, site := range f.voters {
		said := make([]opinion, 0, len(f.stands[site]))
		for _, name := range f.stands[site] {
			said = append(said, ask(f.views[name]))
		}
		v := vote(said)
		if site == about {
			t.own = v
		}
		switch v.word {
		case sees:
			t.sees, t.seen = append(t.sees, site), append(t.seen, v.say)
		case silence:
			t.silent = append(t.silent, site)
			for _, o := range said {
				if o.word == silence {
					t.unheard = append(t.unheard, o.say)
				}
			}
		case nothing:
			t.unsure = append(t.unsure, orNone(v.say, site))
		}
	}
	return t
}

func orNone(say string, site estate.SiteID) string {
	if say == "" {
		return fmt.Sprintf("%s has said nothing yet", site)
	}
	return say
}

// site finds what the views say of a site now.
func (f *Fold) site(site estate.SiteID, now time.Time) finding {
	t := f.count(site, func(h heard) opinion {
		return f.ofSite(h, site, func(Kind) bool { return true }, now)
	})
	reach, cut := f.users(site, now)
	out := finding{seen: len(t.sees) >= f.majority()}
	switch {
	case len(t.silent) >= f.majority():
		if alive := f.alive(site, now); len(alive) > 0 {
			out.state, out.because = Isolated, slices.Concat(t.unheard, alive)
		} else {
			out.state, out.because = Lost, append(t.unheard, "nobody sees it")
		}
	case out.seen && len(cut) >= 2 && len(cut) > len(reach):
		out.state, out.because = CutOff, slices.Concat(cut, t.seen)
	case len(t.silent) > 0:
		out.state = Suspect
		out.because = append(slices.Concat(t.unheard, t.seen, t.unsure), f.short(len(t.silent)))
	case out.seen:
		out.state, out.because = Up, []string{"seen by " + sites(t.sees)}
		if len(cut) > 0 {
			out.because = append(slices.Concat(out.because, cut), "two observers of users would have to say so")
		}
	default:
		out.state = Unknown
		out.because = append(slices.Concat(t.seen, t.unsure), f.short(len(t.sees)))
	}
	return out
}

// short says how many sites agree and how many would have to.
func (f *Fold) short(n int) string {
	return fmt.Sprintf("%d of %d sites say so; %d would have to", n, len(f.voters), f.majority())
}

// users says which observers of users reach a site, and which do not while they
// hear others.
func (f *Fold) users(site estate.SiteID, now time.Time) (reach, cut []string) {
	for _, name := range f.stands[""] {
		switch o := f.ofSite(f.views[name], site, usersUse, now); o.word {
		case sees:
			reach = append(reach, o.say)
		case silence:
			if f.longSilent(f.views[name], site) {
				cut = append(cut, o.say)
			}
		case nothing:
		}
	}
	return reach, cut
}

// longSilent says whether what users use in a site is silent for twice as long as counts
// between sites. A site that burns is silent to users first; it must be judged as lost, not
// as cut off and then as lost, which would be two runs in each other's way.
func (f *Fold) longSilent(h heard, site estate.SiteID) bool {
	for _, t := range f.of[site] {
		if l, ok := h.looks[t.ID]; ok && usersUse(t.Kind) && l.Silent < 2*f.profile.Silence {
			return false
		}
	}
	return true
}

// alive gathers what proves that a site lives although a majority hears nothing
// of it: a fresh answer to anybody, or a fresh word of one of its own towers.
func (f *Fold) alive(site estate.SiteID, now time.Time) (out []string) {
	for _, at := range append([]estate.SiteID{""}, f.voters...) {
		for _, name := range f.stands[at] {
			if say := f.proof(f.views[name], site, now); say != "" {
				out = append(out, say)
			}
		}
	}
	return out
}

func (f *Fold) proof(h heard, site estate.SiteID, now time.Time) string {
	age := f.age(h, now)
	if h.view.Site == site {
		if age > f.profile.recent() {
			return ""
		}
		return fmt.Sprintf("%s stands there and was heard %s ago", h.view.Observer, round(age))
	}
	var answered []Kind
	newest := f.profile.recent() + 1
	for _, t := range f.of[site] {
		if l, ok := h.looks[t.ID]; ok && l.Ever && l.answered()+age <= f.profile.recent() {
			answered = append(answered, t.Kind)
			newest = min(newest, l.answered()+age)
		}
	}
	if len(answered) == 0 {
		return ""
	}
	return fmt.Sprintf("%s still reaches %s (%s), %s ago", h.view.Observer, site, kinds(answered), round(newest))
}

// target finds what the views say of one thing in a site that lives. It is dead
// only if its own site's towers do not contradict.
func (f *Fold) target(target Target, now time.Time) finding {
	t := f.count(target.Site, func(h heard) opinion { return f.ofTarget(h, target, now) })
	out := finding{seen: len(t.sees) >= f.majority()}
	switch {
	case len(t.silent) >= f.majority() && t.own.word != sees:
		out.state, out.because = Dead, t.unheard
	case len(t.silent) > 0:
		out.state = Suspect
		out.because = append(slices.Concat(t.unheard, t.seen, t.unsure), f.short(len(t.silent)))
	case len(t.sees) > 0:
		out.state, out.because = Up, []string{"seen by " + sites(t.sees)}
	default:
		out.state, out.because = Unknown, t.unsure
	}
	return out
}

func sites(list []estate.SiteID) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return strings.Join(out, ", ")
}
