package response

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
)

func compare[T cmp.Ordered](a, b T) int { return cmp.Compare(a, b) }

func (in Input) facts(id estate.StoreID, m estate.MemberID) map[string]string {
	return in.Now.Facts[situation.DatabaseTarget(in.Estate, id, m)]
}

// oldPrimaries wants members stopped that run as primaries and are not, or would as soon as
// anybody started them. One that runs and that
// the record does not know for a former primary was made one by other hands: while the
// record's primary does not run either, stopping it could stop the only one there is.
func (in Input) oldPrimaries() (out []want) {
	for _, id := range slices.Sorted(maps.Keys(in.Stores)) {
		r := in.Stores[id]
		for _, m := range slices.Sorted(maps.Keys(in.Estate.Stores[id].Members)) {
			site := in.siteOf(id, m)
			f, how := in.facts(id, m), "runs as a primary"
			switch {
			case r.Epoch == 0 || m == r.Primary || in.Now.Sites[site].Gone():
				continue
			case f[situation.FactRole] == situation.RolePrimary:
			case slices.Contains(r.Former, m) && f[situation.FactMade] == situation.RolePrimary && f[situation.FactFenced] == "false" && f[situation.FactHalted] == "":
				how = "would start as a primary"
			default:
				continue
			}
			w := want{
				kind: plan.FenceOld, subject: string(id), member: m, site: site, stores: []estate.StoreID{id},
				anew:    in.reached(site, situation.AgentTarget(in.Estate, in.Estate.Stores[id].Members[m].Host)),
				because: []string{fmt.Sprintf("%s %s of %s, which is %s since epoch %d", m, how, id, r.Primary, r.Epoch)},
			}
			if !slices.Contains(r.Former, m) {
				w.ask = fmt.Sprintf("the record does not know %s for a former primary, so other hands made it one: compare the two by hand, then stop one", m)
			}
			out = append(out, w)
		}
	}
	return out
}

// reached is since when a target and its site can be reached, as far as that is known.
func (in Input) reached(site estate.SiteID, target string) time.Time {
	at := in.Now.Sites[site].Since
	if thing := in.Now.Things[target].Since; thing.After(at) {
		at = thing
	}
	return at
}

// strays wants members let go that receive from nobody, or were pointed at somebody who was never
// promoted, though no run wants that any more: the run that did it could not reach them when it was
// taken back, or they carried out what they were told before only after that. They are safe, and
// can acknowledge nothing.
func (in Input) strays() (out []want) {
	for _, id := range slices.Sorted(maps.Keys(in.Stores)) {
		r := in.Stores[id]
		for _, m := range slices.Sorted(slices.Values(r.Sync)) {
			f, site := in.facts(id, m), in.siteOf(id, m)
			if r.Epoch == 0 || m == r.Primary || slices.Contains(r.Former, m) || in.Now.Sites[site].Gone() {
				continue
			}
			reign, _ := strconv.ParseUint(f[situation.FactReign], 10, 64)
			sealed := f[situation.FactSealed] == "true" || f[situation.FactSealed] == "begun"
			if !sealed && reign <= r.Epoch {
				continue
			}
			out = append(out, want{
				kind: plan.LetGo, subject: string(id), member: m, site: site, stores: []estate.StoreID{id},
				because: []string{fmt.Sprintf("%s does not receive from %s, the primary of %s: a run that is over left it sealed, or pointed elsewhere", m, r.Primary, id)},
			})
		}
	}
	return out
}

// acknowledgers looks whether the living primary of each store has enough others to
// acknowledge, and whether one that goes on alone, or may hold what nobody else does, has them again.
func (in Input) acknowledgers() (out []want) {
	for _, id := range slices.Sorted(maps.Keys(in.Stores)) {
		s, known := in.Estate.Stores[id]
		r := in.Stores[id]
		f := in.facts(id, r.Primary)
		if !known || r.Epoch == 0 || f[situation.FactRole] != situation.RolePrimary || f[situation.FactAnswers] != "true" {
			continue // who receives from it only its agent says
		}
		w := want{subject: string(id), site: in.siteOf(id, r.Primary), stores: []estate.StoreID{id}}
		streaming := in.streaming(id, f)
		acknowledge := slices.DeleteFunc(slices.Clone(streaming), func(m estate.MemberID) bool { return !slices.Contains(r.Sync, m) })
		switch {
		case (r.Alone || r.LeastAny < 1) && s.Any > 0 && len(acknowledge) >= s.Any:
			w.kind, w.since = plan.EndAlone, in.since(id, acknowledge)
			w.because = []string{fmt.Sprintf("%v receive from %s again; %d of them can acknowledge", acknowledge, r.Primary, s.Any)}
		case !r.Alone && len(acknowledge) < r.Any:
			in.tooFew(&w, s, r, acknowledge)
		default:
			continue
		}
		out = append(out, w)
	}
	return out
}

// tooFew is what to do about writes that wait. A mandate is only for members that are
// gone: one that lives and does not acknowledge is a fault to mend.
func (in Input) tooFew(w *want, s estate.Store, r situation.Store, acknowledge []estate.MemberID) {
	w.kind = plan.GoAlone
	w.because = []string{fmt.Sprintf("%s lives, but only %d of the %d members that must acknowledge do: %v; writes wait", r.Primary, len(acknowledge), r.Any, acknowledge)}
	var living, gone []estate.MemberID
	for _, m := range r.Sync {
		switch in.Now.Things[situation.DatabaseTarget(in.Estate, estate.StoreID(w.subject), m)].State {
		case situation.Dead, situation.Lost, situation.Isolated:
			gone = append(gone, m)
		default:
			living = append(living, m)
		}
	}
	w.since = in.since(estate.StoreID(w.subject), gone)
	switch {
	case s.Alone != "allow":
		w.refuse = "the estate says alone: refuse, so writes wait until enough members are back"
	case len(living) >= r.Any:
		w.refuse = fmt.Sprintf("%v are not dead, so they are waited for; see why they do not receive (haechi doctor)", living)
	}
}

// since is when the last of some members became what it is. What happened to one anew is a
// new cause, though a run about the store ended a moment ago.
func (in Input) since(id estate.StoreID, members []estate.MemberID) (last time.Time) {
	for _, m := range members {
		if v := in.Now.Things[situation.DatabaseTarget(in.Estate, id, m)]; v.Since.After(last) {
			last = v.Since
		}
	}
	return last
}

// streaming lists the members that receive from the primary now, by what it says itself. Former
// primaries do not count before they were proven.
func (in Input) streaming(id estate.StoreID, f map[string]string) (out []estate.MemberID) {
	for _, m := range slices.Sorted(maps.Keys(in.Estate.Stores[id].Members)) {
		if slices.Contains(in.Stores[id].Former, m) || m == in.Stores[id].Primary {
			continue
		}
		if strings.HasPrefix(f[situation.FactClient+string(m)], "streaming ") {
			out = append(out, m)
		}
	}
	return out
}
