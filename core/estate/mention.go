package estate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// mention is one place where a name is used, and the sections that may declare it.
type mention struct {
	at    path
	name  string
	kinds []kind // nil: any
}

// mentions finds names that nothing declares, or that are of the wrong kind.
func mentions(e Estate, names map[string]kind) []finding {
	byKind := map[kind][]string{}
	for _, n := range slices.Sorted(maps.Keys(names)) {
		byKind[names[n]] = append(byKind[names[n]], n)
		byKind[""] = append(byKind[""], n)
	}
	var out []finding
	for _, m := range allMentions(e) {
		name, beside := strings.CutSuffix(m.name, SameSite)
		k, known := names[name]
		switch {
		case m.name == "":
		case !known:
			out = append(out, finding{at: m.at, say: undeclared(name, m.kinds, byKind), missing: true, mayBeFrom: m.kinds})
		case m.kinds != nil && !slices.Contains(m.kinds, k):
			out = append(out, finding{at: m.at, say: fmt.Sprintf("%q stands under %s, but one of the %s is needed here; %s", name, k, m.kinds[0], DidYouMean(name, byKind[m.kinds[0]]))})
		case beside && k != "services" && k != "stores":
			out = append(out, finding{at: m.at, say: fmt.Sprintf("%s works for services and stores, which have instances; %q stands under %s", SameSite, name, k)})
		}
	}
	return out
}

func undeclared(name string, kinds []kind, byKind map[kind][]string) string {
	if kinds == nil {
		if n, ok := nearest(name, byKind[""]); ok {
			return fmt.Sprintf("%q is not declared; did you mean %q?", name, n)
		}
		return fmt.Sprintf("%q is not declared; declare it, or under external: if it is not yours", name)
	}
	return fmt.Sprintf("%q is not declared under %s; %s", name, kinds[0], DidYouMean(name, byKind[kinds[0]]))
}

// allMentions walks the whole estate.
func allMentions(e Estate) []mention {
	w := &walker{}
	for _, id := range sorted(e.Domains) {
		d, at := e.Domains[id], w.section("domains", id)
		w.name(at.to("site"), string(d.Site), "sites")
		w.needs(at.to("requires"), d.Requires)
	}
	for _, id := range sorted(e.Links) {
		l, at := e.Links[id], w.section("links", id)
		for i, s := range l.Between {
			w.name(at.to("between").item(i), string(s), "sites")
		}
		w.needs(at.to("requires"), l.Requires)
	}
	for _, id := range sorted(e.Pools) {
		p, at := e.Pools[id], w.section("pools", id)
		w.name(at.to("site"), string(p.Site), "sites")
		w.needs(at.to("requires"), p.Requires)
	}
	for _, id := range sorted(e.Hosts) {
		h, at := e.Hosts[id], w.section("hosts", string(id))
		w.name(at.to("site"), string(h.Site), "sites")
		w.needs(at.to("requires"), h.Requires)
	}
	for _, id := range sorted(e.Towers) {
		w.name(w.section("towers", string(id)).to("site"), string(e.Towers[id].Site), "sites")
	}
	w.stores(e)
	w.services(e)
	w.people(e)
	w.risks(e)
	return w.found
}

type walker struct{ found []mention }

func (w *walker) section(section, id string) path { return path("").to(section, id) }

func (w *walker) name(at path, name string, kinds ...kind) {
	w.found = append(w.found, mention{at: at, name: name, kinds: kinds})
}

// needs walks requirements; each may be anything that is declared.
func (w *walker) needs(at path, ns []Need) {
	for i, n := range ns {
		q := at.item(i)
		if n.Of == nil {
			w.name(q, n.Name)
			continue
		}
		// The file spells a count as any or of; only one of the paths is on record.
		w.needs(q.to("any"), pick(n, n.AtLeast == 1))
		w.needs(q.to("of"), pick(n, n.AtLeast != 1))
	}
}

func pick(n Need, yes bool) []Need {
	if yes {
		return n.Of
	}
	return nil
}

func (w *walker) stores(e Estate) {
	for _, id := range sorted(e.Stores) {
		s, at := e.Stores[id], w.section("stores", string(id))
		for _, m := range sorted(s.Members) {
			w.name(at.to("members", string(m), "site"), string(s.Members[m].Site), "sites")
			w.name(at.to("members", string(m), "host"), string(s.Members[m].Host), "hosts")
		}
		w.needs(at.to("requires"), s.Requires)
		w.needs(at.to("after"), s.After)
		for i, b := range s.Backup {
			w.name(at.to("backup").item(i).to("at"), b.At)
		}
	}
}

func (w *walker) services(e Estate) {
	for _, id := range sorted(e.Services) {
		s, at := e.Services[id], w.section("services", string(id))
		for _, pool := range sorted(s.Runs) {
			w.name(at.to("runs", pool).key(), pool, "pools")
		}
		w.needs(at.to("requires"), s.Requires)
		w.needs(at.to("wants"), s.Wants)
		w.needs(at.to("after"), s.After)
		w.name(at.to("team"), s.Team, "teams")
	}
	for _, id := range sorted(e.Names) {
		n, at := e.Names[id], w.section("names", string(id))
		w.name(at.to("service"), string(n.Service), "services")
		for i, h := range n.Servers {
			w.name(at.to("servers").item(i), string(h), "hosts")
		}
		for _, site := range sorted(n.Answers) {
			w.name(at.to("answers", string(site)).key(), string(site), "sites")
		}
	}
}

func (w *walker) people(e Estate) {
	for _, id := range sorted(e.Channels) {
		w.needs(w.section("channels", id).to("requires"), e.Channels[id].Requires)
	}
	for _, id := range sorted(e.Teams) {
		for i, c := range e.Teams[id].Channels {
			w.name(w.section("teams", id).to("channels").item(i), c, "channels")
		}
	}
}

// risks are scenarios; they may also name a member of a store, as store/member.
func (w *walker) risks(e Estate) {
	for _, id := range sorted(e.Scenarios) {
		for i, c := range e.Scenarios[id] {
			if !e.IsMember(c) {
				w.name(w.section("scenarios", id).item(i), c)
			}
		}
	}
}
