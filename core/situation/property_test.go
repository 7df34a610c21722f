package situation_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// Whatever breaks and heals: nobody begins to hold a site for lost or isolated
// while a majority of sites has heard it all along, and nobody speaks of a
// majority without having one.
func TestNobodyLosesWhatAMajorityHears(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []estate.SiteID{"pangyo", "ansan", "anyang", "seoul", "busan"}[:rapid.SampledFrom([]int{3, 3, 5}).Draw(t, "sites")]
		w := newWorld(sitesOf(rapid.Bool().Draw(t, "witness"), names...), situation.Profiles()["fast"])
		w.run(time.Second)
		h := &hearing{w: w, since: map[[2]string]time.Time{}}
		was := map[string]bool{}
		w.must = func(fold string, s situation.Situation) {
			h.note()
			for site, v := range s.Sites {
				key := fold + " " + string(site)
				if v.Gone() && !was[key] && h.majority(string(site)) {
					t.Fatalf("%s begins to hold %s for %s, which a majority hears: %q", fold, site, v.State, v.Because)
				}
				was[key] = v.Gone()
			}
		}
		for range rapid.IntRange(1, 6).Draw(t, "acts") {
			breakSomething(t, w)
			w.run(time.Duration(rapid.IntRange(0, 900).Draw(t, "ms")) * time.Millisecond)
		}
	})
}

func breakSomething(t *rapid.T, w *world) {
	a, b := rapid.SampledFrom(w.places()).Draw(t, "a"), rapid.SampledFrom(w.places()).Draw(t, "b")
	tower := rapid.SampledFrom(slices.Sorted(maps.Keys(w.folds))).Draw(t, "tower")
	x := rapid.SampledFrom(w.targets).Draw(t, "target")
	switch rapid.SampledFrom([]string{"cut", "one-way", "heal", "heal-all", "kill", "start", "stun", "restart", "fire"}).Draw(t, "act") {
	case "cut":
		w.cut[[2]string{a, b}], w.cut[[2]string{b, a}] = true, true
	case "one-way":
		w.cut[[2]string{a, b}] = true
	case "heal":
		w.cut[[2]string{a, b}], w.cut[[2]string{b, a}] = false, false
	case "heal-all":
		clear(w.cut)
	case "kill":
		w.dead[x.ID], w.refuse[x.ID] = true, rapid.Bool().Draw(t, "refuses")
	case "start":
		w.dead[x.ID] = false
	case "stun":
		stall := time.Duration(rapid.IntRange(150, 3000).Draw(t, "stall")) * time.Millisecond
		w.eyes[tower].stall, w.stunned[tower] = stall, w.now.Add(stall)
	case "restart":
		o := w.eyes[tower]
		w.open(tower, o.site)
		w.eyes[tower].boot = o.boot + 1
		w.folds[tower] = situation.New(w.estate, w.profile)
	case "fire":
		if a != users {
			w.fire(a)
		}
	}
}

// hearing is the slow and obvious truth: since when each site could have heard
// each other without break.
type hearing struct {
	w     *world
	since map[[2]string]time.Time
}

func (h *hearing) note() {
	for _, from := range h.w.places() {
		for _, to := range h.w.places() {
			key := [2]string{from, to}
			if !h.can(from, to) {
				delete(h.since, key)
			} else if h.since[key].IsZero() {
				h.since[key] = h.w.now
			}
		}
	}
}

func (h *hearing) can(from, to string) bool {
	tower := "tower-" + from
	if from == users || !h.w.runs(tower) || h.w.cut[[2]string{from, to}] || h.w.cut[[2]string{to, from}] {
		return false
	}
	for _, t := range h.w.targets {
		if string(t.Site) == to && !h.w.dead[t.ID] && !h.w.stopped(t) {
			return true
		}
	}
	return false
}

// majority says that more than half of all sites, it among them, have been able
// to hear a site for long enough that all that was said before is forgotten.
func (h *hearing) majority(site string) bool {
	n, long := 0, h.w.profile.Stale+h.w.profile.Silence
	for voter := range h.w.estate.Sites {
		if at := h.since[[2]string{string(voter), site}]; !at.IsZero() && h.w.now.Sub(at) > long {
			n++
		}
	}
	return n > len(h.w.estate.Sites)/2
}

// Views of different observers may arrive in any order, and equal calls give
// equal situations.
func TestOrderOfObserversDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e, p := sitesOf(false, "pangyo", "ansan", "anyang"), situation.Profiles()["fast"]
		at := time.Date(2022, 10, 15, 6, 0, 0, 0, time.UTC)
		one, two := situation.New(e, p), situation.New(e, p)
		for seq := range rapid.IntRange(1, 5).Draw(t, "rounds") {
			views := anyViews(t, e, uint64(seq+1))
			shuffled := rapid.Permutation(views).Draw(t, "order")
			for i := range views {
				one.Heard(views[i], at)
				two.Heard(shuffled[i], at)
			}
			at = at.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "pause")) * time.Millisecond)
			if diff := cmp.Diff(one.At(at), two.At(at)); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func anyViews(t *rapid.T, e estate.Estate, seq uint64) (out []situation.View) {
	for name, tower := range e.Towers {
		out = append(out, situation.View{Observer: string(name), Site: tower.Site})
	}
	for name := range e.Observers {
		out = append(out, situation.View{Observer: string(name)})
	}
	slices.SortFunc(out, func(a, b situation.View) int {
		return len(a.Observer)*256 + int(a.Observer[len(a.Observer)-2]) - len(b.Observer)*256 - int(b.Observer[len(b.Observer)-2])
	})
	for i := range out {
		out[i].Seq, out[i].Boot = seq, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "boot")
		out[i].Late = time.Duration(rapid.IntRange(0, 300).Draw(t, "late")) * time.Millisecond
		for _, x := range situation.Targets(e) {
			out[i].Looks = append(out[i].Looks, situation.Look{
				Target: x.ID, Ever: rapid.Bool().Draw(t, "ever"), Refused: rapid.Bool().Draw(t, "refused"),
				Silent: time.Duration(rapid.IntRange(0, 1200).Draw(t, "silent")) * time.Millisecond,
				Facts:  map[string]string{"by": fmt.Sprint(i)},
			})
		}
	}
	return out
}
