package generate

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// share hands out the servers of each pool to the services in it by their weight, and gives each
// service a load that what is left after the loss of any of its sites can carry.
func (w *world) share() {
	in := map[string][]estate.ServiceID{}
	for _, s := range w.seated {
		for p := range w.e.Services[s].Runs {
			in[p] = append(in[p], s)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(in)) {
		weights := make([]float64, len(in[p]))
		for i, s := range in[p] {
			weights[i] = w.weight[s]
		}
		for i, n := range split(w.room[p]+len(in[p]), 1, weights) {
			w.e.Services[in[p][i]].Runs[p] = n
		}
		w.room[p] = 0
	}
	for _, id := range w.seated {
		s := w.e.Services[id]
		s.Load = math.Max(1, math.Floor(float64(w.afterAnyLoss(s))*(0.7+0.25*w.Float64())))
		w.e.Services[id] = s
	}
}

// afterAnyLoss is how many of a service's servers are left after the loss of the site that holds most of
// them; of a service in one site it is all.
func (w *world) afterAnyLoss(s estate.Service) int {
	total, most := 0, 0
	at := map[estate.SiteID]int{}
	for p, n := range s.Runs {
		total += n
		at[w.e.Pools[p].Site] += n
		most = max(most, at[w.e.Pools[p].Site])
	}
	if len(at) == 1 {
		return total
	}
	return total - most
}

// staff gives stores the tier of the best that requires them, and those of tiers 0 and 1 machines.
func (w *world) staff() {
	best := map[string]int{}
	for _, id := range w.seated {
		s := w.e.Services[id]
		for _, n := range flat(s.Requires) {
			if t, ok := best[n]; !ok || s.Tier < t {
				best[n] = s.Tier
			}
		}
	}
	for _, id := range w.stores {
		s := w.e.Stores[id]
		s.Tier = 2
		if t, ok := best[string(id)]; ok {
			s.Tier = t
		}
		for _, m := range s.MemberIDs() {
			if at := s.Members[m].Site; s.Tier <= 1 && at != witness {
				s.Members[m] = estate.Member{Site: at, Host: w.host(at)}
			}
		}
		w.e.Stores[id] = s
	}
}

// host is a machine for a member: one that bears few, or a new one.
func (w *world) host(at estate.SiteID) estate.HostID {
	for i := 1; ; i++ {
		h := estate.HostID(fmt.Sprintf("%s/db-%d", at, i))
		if w.bearing[h] == 0 {
			w.e.Hosts[h] = estate.Host{Site: at, Requires: names(string(at) + "/floor-2")}
		}
		if w.bearing[h] < 6 {
			w.bearing[h]++
			return h
		}
	}
}

// measure gives feeds and links what carries all that may fall on them, with something to spare, except
// where a fault has made them too narrow.
func (w *world) measure() {
	w.promiseNothing()
	watts := map[estate.SiteID]float64{}
	for _, p := range slices.Sorted(maps.Keys(w.e.Pools)) {
		watts[w.e.Pools[p].Site] += float64(w.e.Pools[p].Servers) * w.e.Pools[p].Watts
	}
	for n, share := range w.limits {
		d := w.e.Domains[n]
		d.Limit = kilowatts(watts[d.Site] * share)
		w.e.Domains[n] = d
	}
	most := 0.0 // on one link in one direction: all replication of the company
	for _, id := range slices.Sorted(maps.Keys(w.e.Stores)) {
		most += w.e.Stores[id].Gbps * float64(len(w.e.Stores[id].Members)-1)
	}
	for n, l := range w.e.Links {
		l.Gbps = wide(1.2 * most)
		if x, ok := w.narrow[n]; ok {
			l.Gbps = x
		}
		w.e.Links[n] = l
	}
}

// promiseNothing takes the rto off services that stand on a store whose primary acknowledges alone: people
// have to agree before it moves, and nobody promises how fast they are.
func (w *world) promiseNothing() {
	slow := map[string]bool{}
	for id, s := range w.e.Stores {
		slow[string(id)] = s.Any == 0
	}
	var named func([]estate.Need) bool
	named = func(needs []estate.Need) bool {
		return slices.ContainsFunc(needs, func(n estate.Need) bool {
			return slow[strings.TrimSuffix(n.Name, estate.SameSite)] || named(n.Of)
		})
	}
	for changed := true; changed; {
		changed = false
		for id, s := range w.e.Services {
			if !slow[string(id)] && named(s.Requires) {
				slow[string(id)], changed = true, true
				s.RTO = nil
				w.e.Services[id] = s
			}
		}
	}
}

// kilowatts draws a limit in three digits: enough of them that it stays on the side of the load on
// which it is meant to be.
func kilowatts(watts float64) string {
	kw := math.Max(0.1, watts/1000)
	unit := math.Pow(10, math.Floor(math.Log10(kw))-2)
	return strings.TrimSuffix(fmt.Sprintf("%.1f", math.Max(0.1, math.Round(kw/unit)*unit)), ".0") + "kW"
}

// wide is the least common capacity that carries so much, in Gbit/s.
func wide(gbps float64) float64 {
	for _, x := range []float64{1, 10, 40, 100, 200, 400, 800, 1600, 3200, 6400, 12800} {
		if x >= gbps {
			return x
		}
	}
	return math.Ceil(gbps)
}

func addressOf(site, n int) string { return fmt.Sprintf("10.%d.%d.%d", site+1, n/250, n%250+1) }

// flat lists the names in needs, however deep, without where they are meant.
func flat(needs []estate.Need) []string {
	var out []string
	for _, n := range needs {
		if n.Of != nil {
			out = append(out, flat(n.Of)...)
			continue
		}
		out = append(out, strings.TrimSuffix(n.Name, estate.SameSite))
	}
	return out
}

func mentions(needs []estate.Need, n string) bool { return slices.Contains(flat(needs), n) }
