package audit

import (
	"cmp"
	"slices"
)

// why is how a component came down: the chain from it to where the search stopped, and the cause. In the
// chain an instance stands for a service that is needed beside another and lives elsewhere only.
type why struct {
	chain []id
	cause id
	how   string // why the search stopped there: "taken", "site" (it stands in a lost one), "any", "runs", "members"

	fallen []id // the alternatives that are gone there
}

// reason follows what is required and down from a component, shortest first, then by name, and
// stops at what the scenario itself takes or whose alternatives no longer suffice.
func (l *loss) reason(n id) why {
	back := map[id]id{n: none}
	for edge := []id{n}; len(edge) > 0; {
		slices.SortFunc(edge, func(a, b id) int { return cmp.Compare(l.g.names[a], l.g.names[b]) })
		for _, at := range edge {
			if how, fallen := l.stops(at); how != "" {
				w := why{cause: l.g.whose(at), how: how, fallen: fallen}
				for x := at; x != none; x = back[x] {
					w.chain = append(w.chain, x)
				}
				slices.Reverse(w.chain)
				if c := l.common(fallen); c != none {
					w.cause = c
				}
				return w
			}
		}
		var next []id
		for _, at := range edge {
			for _, r := range l.requiredAndDown(at) {
				if _, seen := back[r]; !seen {
					back[r] = at
					next = append(next, r)
				}
			}
		}
		edge = next
	}
	return why{chain: []id{n}, cause: n, how: "taken"}
}

// stops says whether the search for a cause ends at a component, and which alternatives fell.
func (l *loss) stops(n id) (how string, fallen []id) {
	if slices.Contains(l.taken, n) {
		return "taken", nil
	}
	if l.g.kinds[n] == instance {
		return l.stopsHere(n)
	}
	for _, c := range l.g.children[n] {
		if !l.gone[c] {
			continue
		}
		switch l.g.kinds[c] {
		case copies:
			return "members", l.goneOf(c)
		case instance:
			switch how, fallen := l.stopsHere(c); how {
			case "runs":
				return how, l.poolsOf(n)
			case "any":
				return how, fallen
			}
		case instances:
			if l.allRanOut(c) {
				return "runs", l.poolsOf(n)
			}
			for _, in := range l.g.children[c] {
				if how, fallen := l.stopsHere(in); how == "any" {
					return how, fallen
				}
			}
		case gate:
			return "any", l.goneOf(c)
		}
	}
	if l.g.kinds[n] != site && len(l.lostSites(n)) > 0 {
		return "site", nil // a site is never the cause
	}
	return "", nil
}

// stopsHere is stops for an instance: its pools are gone, or an any that it needs beside it.
func (l *loss) stopsHere(in id) (how string, fallen []id) {
	if l.ranOut(in) {
		return "runs", nil
	}
	for _, c := range l.g.children[in][1:] {
		if l.gone[c] && l.g.kinds[c] == gate {
			return "any", l.goneOf(c)
		}
	}
	return "", nil
}

// lostSites lists the sites that a component stands in, or a link ends in, and that are lost.
func (l *loss) lostSites(n id) []id {
	var out []id
	for _, c := range l.g.children[n] {
		if l.g.kinds[c] == site && l.gone[c] {
			out = append(out, c)
		}
	}
	return out
}

// ranOut says whether an instance is gone because its pools are, or never was: what it needs beside it does not
// run there.
func (l *loss) ranOut(in id) bool {
	return l.gone[l.g.children[in][0]] || slices.ContainsFunc(l.g.children[in], func(c id) bool { return l.g.bears[c] < 0 })
}

func (l *loss) allRanOut(c id) bool {
	return !slices.ContainsFunc(l.g.children[c], func(in id) bool { return !l.ranOut(in) })
}

// goneOf lists the components among a gate's children, however deep, that are gone.
func (l *loss) goneOf(c id) []id {
	var out []id
	for _, x := range l.g.children[c] {
		switch {
		case !l.gone[x]:
		case l.g.kinds[x] == gate:
			out = append(out, l.goneOf(x)...)
		case l.g.kinds[x] == both:
			out = append(out, l.gonePart(x))
		case l.g.kinds[x] != link || l.g.kinds[c] != copies:
			out = append(out, x)
		}
	}
	return out
}

// poolsOf lists a service's pools that are gone.
func (l *loss) poolsOf(s id) []id {
	var out []id
	for p := range l.g.spec(s).Runs {
		if at := l.g.by[p]; l.gone[at] {
			out = append(out, at)
		}
	}
	slices.SortFunc(out, func(a, b id) int { return cmp.Compare(l.g.names[a], l.g.names[b]) })
	return out
}

// gonePart is what is gone of a service and its instance beside me: the service, or else the instance.
func (l *loss) gonePart(pair id) id {
	near, whole := l.g.children[pair][0], l.g.children[pair][1]
	if l.gone[whole] {
		return whole
	}
	return near
}

// requiredAndDown lists the components, and instances of what lives elsewhere, that one requires and that are
// down.
func (l *loss) requiredAndDown(n id) []id {
	if l.g.kinds[n] == instance {
		return l.besides(n)
	}
	var out []id
	for _, c := range l.g.children[n] {
		if !l.gone[c] {
			continue
		}
		switch l.g.kinds[c] {
		case site:
		case instance:
			out = append(out, l.besides(c)...)
		case instances:
			for _, in := range l.g.children[c] {
				if !l.ranOut(in) {
					out = append(out, l.besides(in)...)
				}
			}
		case gate:
			out = append(out, l.goneOf(c)...)
		default:
			out = append(out, c)
		}
	}
	return out
}

// besides lists what an instance needs beside it and does not have.
func (l *loss) besides(in id) []id {
	var out []id
	for _, c := range l.g.children[in][1:] {
		switch {
		case !l.gone[c]:
		case l.g.kinds[c] == gate:
			out = append(out, l.goneOf(c)...)
		case l.g.kinds[c] == both:
			out = append(out, l.gonePart(c))
		default:
			out = append(out, c)
		}
	}
	return out
}

// whose is the component that a node stands for: itself, or of an instance or the members in one site what
// declares them.
func (g *graph) whose(n id) id {
	if !g.isComponent(n) {
		return g.owner[n]
	}
	return n
}

// common is the one thing smaller than a site whose loss takes all of some components that stand in
// several sites, the first by name; none where there is none.
func (l *loss) common(fallen []id) id {
	at := map[id]bool{}
	for _, n := range fallen {
		at[l.g.sites[n]] = true
	}
	if len(at) < 2 {
		return none
	}
	best := none
	for _, n := range l.g.under(fallen) {
		if small(l.g.kinds[n]) && (best == none || l.g.names[n] < l.g.names[best]) && l.takesAll(n, fallen) {
			best = n
		}
	}
	return best
}

// small says whether a kind is smaller than a site, as the rule spof lists them.
func small(k kind) bool {
	switch k {
	case host, domain, pool, link, channel, member, external:
		return true
	}
	return false
}

// under lists what some nodes stand on, themselves left out.
func (g *graph) under(of []id) []id {
	seen := map[id]bool{}
	queue := slices.Clone(of)
	var out []id
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		for _, c := range g.children[n] {
			if !seen[c] {
				seen[c] = true
				out, queue = append(out, c), append(queue, c)
			}
		}
	}
	return out
}

// takesAll says whether the loss of one thing, with nothing else lost, takes all of some nodes along.
func (l *loss) takesAll(one id, all []id) bool {
	o := l.aside()
	defer o.take(one)()
	return !slices.ContainsFunc(all, func(n id) bool { return !o.gone[n] })
}
