package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// told is a chain in words, link by link.
func (g *graph) told(w why) []string {
	out := make([]string, len(w.chain))
	for i, n := range w.chain {
		out[i] = g.names[g.whose(n)]
	}
	return out
}

// sentence is the chain in one sentence: "talk needs deploy, deploy needs registry, registry
// runs in pangyo alone".
func (g *graph) sentence(w why) string {
	var parts []string
	for i := range w.chain[1:] {
		parts = append(parts, g.spoken(w.chain[i])+" needs "+g.spoken(w.chain[i+1]))
	}
	last := w.chain[len(w.chain)-1]
	switch w.how {
	case "runs":
		if g.kinds[last] == instance {
			parts = append(parts, g.names[last]+" has no pool left")
			break
		}
		parts = append(parts, g.names[last]+" runs in "+strings.Join(g.placesOf(last), " and ")+alone(g.placesOf(last))+g.lacking(last))
	case "members":
		parts = append(parts, fmt.Sprintf("the members of %s that are left cannot take writes", g.names[last]))
	case "any":
		few := fmt.Sprintf("too few of what %s may use instead of each other are left", g.names[g.whose(last)])
		if len(w.fallen) > 0 {
			few += " without " + g.listed(w.fallen)
		}
		parts = append(parts, few)
	case "site":
		if g.kinds[last] == link {
			parts = append(parts, g.names[last]+" ends there")
			break
		}
		parts = append(parts, fmt.Sprintf("%s stands in %s", g.names[last], g.names[g.sites[last]]))
	}
	if w.cause != g.whose(last) {
		parts = append(parts, "all of it stands on "+g.names[w.cause])
	}
	if len(parts) == 0 {
		parts = append(parts, g.names[last]+" itself is lost")
	}
	return strings.Join(parts, ", ")
}

// spoken is a component's name; "deploy in pangyo" where one of its instances is meant.
func (g *graph) spoken(n id) string {
	if g.kinds[n] == nearby {
		return g.names[g.owner[n]]
	}
	return g.names[n]
}

func alone(places []string) string {
	if len(places) == 1 {
		return " alone"
	}
	return ""
}

// lacking says what a service needs beside it in sites in which that does not run.
func (g *graph) lacking(s id) string {
	out := ""
	for _, where := range g.allSites {
		in, ok := g.beside[[2]id{s, where}]
		if !ok {
			continue
		}
		for _, c := range g.children[in] {
			if g.bears[c] < 0 {
				out += fmt.Sprintf(", and there is no %s, which it needs beside it", g.names[c])
			}
		}
	}
	return out
}

// placesOf lists the sites in which a service has pools.
func (g *graph) placesOf(s id) []string {
	var out []string
	for _, where := range g.allSites {
		if _, ok := g.beside[[2]id{s, where}]; ok {
			out = append(out, g.names[where])
		}
	}
	return out
}

// otherSites lists sites with load that are none of some, by name.
func (g *graph) otherSites(not []string) []string {
	var out []string
	for _, where := range g.allSites {
		n := g.names[where]
		if !slices.Contains(not, n) && !g.e.Sites[estate.SiteID(n)].Witness {
			out = append(out, n)
		}
	}
	return out
}

// mentioned lists the components that some needs name, however deep, by name.
func (g *graph) mentioned(needs []estate.Need) []id {
	var names []string
	var walk func([]estate.Need)
	walk = func(ns []estate.Need) {
		for _, n := range ns {
			if n.Of != nil {
				walk(n.Of)
				continue
			}
			names = append(names, strings.TrimSuffix(n.Name, estate.SameSite))
		}
	}
	walk(needs)
	slices.Sort(names)
	var out []id
	for _, n := range slices.Compact(names) {
		out = append(out, g.by[n])
	}
	return out
}
