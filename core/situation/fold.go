package situation

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// Fold turns views into a situation. One goroutine owns it; it starts none and
// asks no clock. Equal calls give equal situations, and the order in which views
// of different observers arrive makes no difference.
//
// What it holds true:
//
//  1. one vote for each site that has a tower, however many towers stand there;
//  2. a site is Lost or Isolated only while a majority of all those sites says
//     that it is silent, or since then nobody knows better;
//  3. the word of an observer counts only if it is fresh, and its silence only
//     if its own loop was on time and it heard another site meanwhile;
//  4. what users see changes no verdict on data, only Lost to Isolated and Up to CutOff.
type Fold struct {
	estate  estate.Estate
	profile Profile
	voters  []estate.SiteID
	targets []Target
	of      map[estate.SiteID][]Target
	spoken  []spoken
	views   map[string]heard
	stands  map[estate.SiteID][]string // observers that were heard, by where they stand, sorted
	memory  map[string]memory          // by subject
	deaf    map[string]deafness        // by target
}

// heard is the newest view of one observer and when it came.
type heard struct {
	view    View
	at      time.Time
	looks   map[string]Look
	retired []string // boots that are over; what comes from them late is dropped
}

// New starts a fold that has heard nothing yet. The profile should be valid.
func New(e estate.Estate, p Profile) *Fold {
	f := &Fold{views: map[string]heard{}, memory: map[string]memory{}}
	f.Estate(e, p)
	return f
}

// Estate takes a new version of the estate into use. What was heard and believed
// of what is still there is kept.
func (f *Fold) Estate(e estate.Estate, p Profile) {
	f.estate, f.profile = e, p
	f.targets = Targets(e)
	f.of = map[estate.SiteID][]Target{}
	known := map[string]bool{}
	for _, t := range f.targets {
		f.of[t.Site] = append(f.of[t.Site], t)
		known[t.ID] = true
	}
	f.voters, f.spoken = voters(e), spokenFor(e)
	maps.DeleteFunc(f.views, func(_ string, h heard) bool { return !f.declared(h.view) })
	f.place()
	maps.DeleteFunc(f.memory, func(subject string, _ memory) bool {
		_, site := e.Sites[estate.SiteID(subject)]
		return !site && !known[subject]
	})
}

// voters lists the sites that have a tower, sorted. The others have no vote, so
// that a site without a tower cannot keep a majority from being reached.
func voters(e estate.Estate) []estate.SiteID {
	sites := map[estate.SiteID]bool{}
	for _, t := range e.Towers {
		sites[t.Site] = true
	}
	return slices.Sorted(maps.Keys(sites))
}

// majority is how many sites have to agree.
func (f *Fold) majority() int { return len(f.voters)/2 + 1 }

// Heard takes in what an observer says, at the time of its arrival. It returns
// false, and changes nothing, for an observer that the estate does not know and
// for a view that is older than what was heard already.
func (f *Fold) Heard(v View, at time.Time) bool {
	if !f.declared(v) {
		return false
	}
	h, again := f.views[v.Observer]
	switch {
	case again && v.Boot == h.view.Boot && v.Seq <= h.view.Seq:
		return false
	case again && slices.Contains(h.retired, v.Boot):
		return false
	case again && v.Boot != h.view.Boot:
		h.retired = append(slices.Clone(h.retired), h.view.Boot)
		h.retired = h.retired[max(0, len(h.retired)-16):]
	}
	h.view, h.at, h.looks = v, at, make(map[string]Look, len(v.Looks))
	for _, l := range v.Looks {
		h.looks[l.Target] = l
	}
	f.views[v.Observer] = h
	if !again {
		f.place()
	}
	return true
}

// place sorts the observers that were heard by where they stand.
func (f *Fold) place() {
	f.stands = map[estate.SiteID][]string{}
	for _, name := range slices.Sorted(maps.Keys(f.views)) {
		site := f.views[name].view.Site
		f.stands[site] = append(f.stands[site], name)
	}
}

// declared says whether the estate knows the observer and where it says it stands.
func (f *Fold) declared(v View) bool {
	if v.Site == "" {
		_, ok := f.estate.Observers[estate.ObserverID(v.Observer)]
		return ok
	}
	t, ok := f.estate.Towers[estate.TowerID(v.Observer)]
	return ok && t.Site == v.Site
}

// At says what is believed at a time that is not before that of the last call.
// It remembers since when, so that nothing is up again before it has settled.
func (f *Fold) At(now time.Time) Situation {
	s := Situation{
		At:     now,
		Sites:  make(map[estate.SiteID]Verdict, len(f.estate.Sites)),
		Things: make(map[string]Verdict, len(f.targets)),
		Facts:  f.facts(now),
	}
	for site := range f.estate.Sites {
		s.Sites[site] = f.settle(Verdict{Subject: string(site), Site: site}, f.site(site, now), now)
	}
	for _, t := range f.targets {
		s.Things[t.ID] = f.thing(t, s.Sites[t.Site], now)
	}
	s.Deaf = f.hearNothing(s.Facts, now)
	for _, site := range f.voters {
		if f.alone(site, now) {
			s.Cut = append(s.Cut, site)
		}
	}
	return s
}

// thing judges one target. In a site that is gone it is what the site is.
func (f *Fold) thing(t Target, site Verdict, now time.Time) Verdict {
	v := Verdict{Subject: t.ID, Site: t.Site, Kind: t.Kind}
	if gone(site.State) {
		return f.settle(v, finding{state: site.State, because: []string{fmt.Sprintf("its site %s is %s", t.Site, site.State)}}, now)
	}
	return f.settle(v, f.target(t, now), now)
}

// alone says whether the towers of a site hear no other site, and know that this
// is not their own fault. A tower that never heard any other waits longer: it may
// simply be the first to run.
func (f *Fold) alone(site estate.SiteID, now time.Time) bool {
	said := false
	for _, name := range f.stands[site] {
		h := f.views[name]
		if f.age(h, now) > f.profile.Stale || h.view.Late > f.profile.Stall {
			continue
		}
		for _, t := range f.targets {
			if l, ok := h.looks[t.ID]; ok && t.Site != site && !(f.silent(l) || l.Ever && l.Silent >= f.profile.Alone) {
				return false
			}
		}
		said = true
	}
	return said && len(f.estate.Sites) > 1
}

func (f *Fold) age(h heard, now time.Time) time.Duration { return max(0, now.Sub(h.at)) }
