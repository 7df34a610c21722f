package audit

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// hop is one link of a way, in the direction in which it is gone along.
type hop struct {
	link     id
	from, to id
}

// line is a link as a site sees it.
type line struct {
	hop
	latency time.Duration
}

// lines lists the links of each site in the order in which ways prefer them.
func (g *graph) lines() map[id][]line {
	out := map[id][]line{}
	for _, n := range slices.Sorted(maps.Keys(g.e.Links)) {
		spec := g.e.Links[n]
		a, b := g.by[string(spec.Between[0])], g.by[string(spec.Between[1])]
		out[a] = append(out[a], line{hop{g.by[n], a, b}, spec.Latency})
		out[b] = append(out[b], line{hop{g.by[n], b, a}, spec.Latency})
	}
	return out
}

// reached is how a search came to a site.
type reached struct {
	hops    int
	latency time.Duration
	by      []hop
}

// better compares ways: fewest links, then latency, then the names of the links.
func (r reached) better(o reached, names []string) bool {
	return cmp.Or(cmp.Compare(r.hops, o.hops), cmp.Compare(r.latency, o.latency), slices.CompareFunc(r.by, o.by, func(a, b hop) int { return cmp.Compare(names[a.link], names[b.link]) })) < 0
}

// way is the best way over living links from one site to another, nil where there is none. Where the best
// of all lives nothing beats it.
func (l *loss) way(a, b id) []hop {
	if l.gone[a] || l.gone[b] {
		return nil
	}
	best, known := l.g.ways[[2]id{a, b}]
	if !known {
		best = l.g.way(a, b, func(id) bool { return false })
		l.g.ways[[2]id{a, b}] = best
	}
	if !slices.ContainsFunc(best, func(h hop) bool { return l.gone[h.link] || l.gone[h.to] }) {
		return best
	}
	return l.g.way(a, b, func(n id) bool { return l.gone[n] })
}

// way is the best way from one site to another, without what is gone. Sites are few: a search by rounds
// (Bellman, 1958) that keeps the best way of each length is plain and enough.
func (g *graph) way(a, b id, gone func(id) bool) []hop {
	seen := map[id]reached{a: {by: []hop{}}}
	for edge := []id{a}; len(edge) > 0; {
		next := map[id]reached{}
		for _, at := range edge {
			for _, ln := range g.links[at] {
				if _, before := seen[ln.to]; before || gone(ln.link) || gone(ln.to) {
					continue
				}
				r := reached{seen[at].hops + 1, seen[at].latency + ln.latency, append(slices.Clip(slices.Clone(seen[at].by)), ln.hop)}
				if o, ok := next[ln.to]; !ok || r.better(o, g.names) {
					next[ln.to] = r
				}
			}
		}
		maps.Copy(seen, next)
		if r, ok := seen[b]; ok {
			return r.by
		}
		edge = slices.Sorted(maps.Keys(next))
	}
	return nil
}

// traffic is what replication puts on each link, for each direction, in Gbit/s.
func (l *loss) traffic() map[hop]float64 {
	out := map[hop]float64{}
	for i := range l.g.stores {
		s := &l.g.stores[i]
		if s.spec.Gbps <= 0 {
			continue
		}
		for h, x := range l.worst(s) {
			out[h] += x
		}
	}
	return out
}

// worst is what one store puts on the links, with its primary, or, where that is lost, with the
// promotable member that puts most on one link (the first by name among equals).
func (l *loss) worst(s *storeNode) map[hop]float64 {
	if !l.gone[s.members[s.primary]] {
		return l.spread(s, s.primary)
	}
	var out map[hop]float64
	most := -1.0
	for c := range s.members {
		if c == s.primary || l.gone[s.members[c]] || s.spec.Any > 0 && !l.sealable(s, c) {
			continue
		}
		one := l.spread(s, c)
		if x := heaviest(one); x > most {
			out, most = one, x
		}
	}
	return out
}

func heaviest(m map[hop]float64) float64 {
	most := 0.0
	for _, x := range m {
		most = max(most, x)
	}
	return most
}

func (l *loss) spread(s *storeNode, primary int) map[hop]float64 {
	out := map[hop]float64{}
	from := l.g.sites[s.members[primary]]
	for m := range s.members {
		if m == primary || l.gone[s.members[m]] {
			continue
		}
		for _, h := range l.way(from, l.g.sites[s.members[m]]) {
			out[h] += s.spec.Gbps
		}
	}
	return out
}

// gbps is the capacity of a link; 0 where the file does not say.
func (g *graph) gbps(link id) float64 { return g.e.Links[g.names[link]].Gbps }
