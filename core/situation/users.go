package situation

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// FactStatus is of a gateway: the status that it answered with, where that was an error.
const FactStatus = "status"

// Users fare worse where the middle one of their looks takes slower times as long as anywhere else or
// before, and slack more: less than that nobody notices. And where more than this share of looks fails,
// and more than twice of what fails elsewhere.
const (
	slower = 3
	slack  = 50 * time.Millisecond
	fails  = 0.2
)

// Told is a view and how old it is.
type Told struct {
	View
	Age time.Duration
}

// Users judges how those fare who are sent to a site again, by what is seen by those who look as users
// do: the observers on user networks, and the towers of the other sites. One step owns it; it asks no clock.
type Users struct {
	profile Profile
	site    estate.SiteID
	here    []Target             // what users reach in the site
	others  []Target             // the same elsewhere
	amiss   map[string]time.Time // since when an observer complains of a target, by both
	looked  map[string]bool      // who saw something here answer
	counted map[string]uint64    // the view that was counted last, by observer
	before  []time.Duration      // how long looks here took, while only few can have come
	since   []time.Duration      // and after that
	there   []time.Duration      // and elsewhere, all the time

	failed, failedThere ratio // of the looks once all may have come
}

// ratio is how many of so many.
type ratio struct{ some, all int }

func (r *ratio) count(yes bool) {
	if r.all++; yes {
		r.some++
	}
}

func (r ratio) share() float64 { return float64(r.some) / float64(max(r.all, 1)) }

// String says it in words.
func (r ratio) String() string { return fmt.Sprintf("%d of %d", r.some, r.all) }

// NewUsers begins to judge those of a service in a site.
func NewUsers(e estate.Estate, p Profile, service estate.ServiceID, site estate.SiteID) *Users {
	u := &Users{profile: p, site: site, here: Gateways(e, service, site),
		amiss: map[string]time.Time{}, looked: map[string]bool{}, counted: map[string]uint64{}}
	for _, other := range e.SiteIDs() {
		if other != site {
			u.others = append(u.others, Gateways(e, service, other)...)
		}
	}
	return u
}

// See takes in what is seen at an instant; all says whether all of them may have come by now. It
// returns what goes wrong, in words; empty: nothing.
func (u *Users) See(told []Told, at time.Time, all bool) string {
	told = slices.SortedFunc(slices.Values(told), func(a, b Told) int { return cmp.Compare(a.Observer, b.Observer) })
	for _, t := range told {
		if t.Site == u.site || t.Age > u.profile.Stale || t.Late > u.profile.Stall {
			continue
		}
		if why := u.complaint(t, at); why != "" {
			return why
		}
		if u.counted[t.Observer] != t.Seq {
			u.counted[t.Observer] = t.Seq
			u.count(t, all)
		}
	}
	return ""
}

// complaint is what one observer has against the site, once that has lasted. What it has against all
// the others, too, is not the site's fault.
func (u *Users) complaint(t Told, at time.Time) string {
	everywhere := u.everywhere(t)
	for _, target := range u.here {
		key := t.Observer + " " + target.ID
		what := u.against(t, target)
		if what == "" || everywhere {
			delete(u.amiss, key)
			continue
		}
		if u.amiss[key].IsZero() {
			u.amiss[key] = at
		}
		if at.Sub(u.amiss[key]) >= u.profile.Refusal() {
			return fmt.Sprintf("%s: %s in %s %s", t.Observer, target.Component, u.site, what)
		}
	}
	return ""
}

// everywhere says that an observer has something against each other site that it was ever answered by.
func (u *Users) everywhere(t Told) bool {
	amiss := 0
	for _, target := range u.others {
		if !slices.ContainsFunc(t.Looks, func(l Look) bool { return l.Target == target.ID && l.Ever }) {
			continue
		}
		if u.against(t, target) == "" {
			return false
		}
		amiss++
	}
	return amiss > 0
}

// against is what one observer has against one target now.
func (u *Users) against(t Told, target Target) string {
	i := slices.IndexFunc(t.Looks, func(l Look) bool { return l.Target == target.ID })
	if i < 0 {
		return "" // it does not look there
	}
	l := t.Looks[i]
	switch {
	case l.Refused:
		return "refuses" + reason(l)
	case l.Silent+t.Age >= u.profile.Silence:
		return fmt.Sprintf("is silent for %s%s", round(l.Silent+t.Age), reason(l))
	case l.Facts[FactStatus] != "":
		return "answers with status " + l.Facts[FactStatus]
	}
	return ""
}

// count keeps how long the looks of a view took.
func (u *Users) count(t Told, all bool) {
	for _, l := range t.Looks {
		is := func(target Target) bool { return target.ID == l.Target }
		here, there := slices.ContainsFunc(u.here, is), slices.ContainsFunc(u.others, is)
		switch {
		case !all:
		case here:
			u.failed.count(l.Why != "")
		case there:
			u.failedThere.count(l.Why != "")
		}
		switch {
		case !l.Ever || l.Took <= 0:
		case here:
			u.looked[t.Observer] = true
			if all {
				u.since = append(u.since, l.Took)
			} else {
				u.before = append(u.before, l.Took)
			}
		case there:
			u.there = append(u.there, l.Took)
		}
	}
}

// Judge says, when the time is over, what went wrong, empty if nothing did, and what was seen.
func (u *Users) Judge() (why, seen string) {
	who := slices.Sorted(maps.Keys(u.looked))
	if len(u.since) == 0 {
		return fmt.Sprintf("nobody who looks as users do was heard of %s; see which observers and towers are silent (haechi status)", u.site), ""
	}
	now, usual := middle(u.since), max(middle(u.before), middle(u.there))
	seen = fmt.Sprintf("%s see it answer in %s, elsewhere and before %s", names(who), brief(now), brief(usual))
	switch {
	case usual > 0 && now > slower*usual+slack:
		return "users wait too long: " + seen, seen
	case u.failed.share() > fails && u.failed.share() > 2*u.failedThere.share():
		return fmt.Sprintf("users are not always answered: %v looks failed, elsewhere %v", u.failed, u.failedThere), seen
	}
	return "", seen
}

func middle(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

// brief shortens how long a look took.
func brief(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// names lists observers for people.
func names(all []string) string {
	if len(all) == 0 {
		return "nobody"
	}
	out := all[0]
	for i, n := range all[1:] {
		if i == len(all)-2 {
			out += " and " + n
		} else {
			out += ", " + n
		}
	}
	return out
}
