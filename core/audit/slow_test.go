package audit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
)

// slow is an obvious evaluator: it asks of everything, again and again, whether it lives, until
// nothing changes. Lost is what is not alive.
type slow struct {
	e     estate.Estate
	taken map[string]bool
	lost  map[string]bool
}

func evaluate(e estate.Estate, taken ...string) slow {
	s := slow{e: e, taken: map[string]bool{}, lost: map[string]bool{}}
	for _, n := range taken {
		s.taken[n] = true
	}
	for changed := true; changed; {
		changed = false
		for n, lives := range s.everything() {
			if !s.lost[n] && (s.taken[n] || !lives) {
				s.lost[n], changed = true, true
			}
		}
	}
	return s
}

func (s slow) everything() map[string]bool {
	out := map[string]bool{}
	for n := range s.e.Sites {
		out[string(n)] = true
	}
	for n, d := range s.e.Domains {
		out[n] = !s.lost[string(d.Site)] && s.holds(d.Requires, string(d.Site))
	}
	for n, p := range s.e.Pools {
		out[n] = !s.lost[string(p.Site)] && s.holds(p.Requires, string(p.Site))
	}
	for n := range s.e.External {
		out[n] = true
	}
	for n, st := range s.e.Stores {
		for m, spec := range st.Members {
			out[string(n)+"/"+string(m)] = !s.lost[string(spec.Site)]
		}
		out[string(n)] = s.holds(st.Requires, "") && s.writes(string(n), st)
	}
	for n, sv := range s.e.Services {
		for site := range s.e.Sites {
			out[string(n)+"@"+string(site)] = s.instance(sv, string(site))
		}
		out[string(n)] = s.works(string(n), sv)
	}
	return out
}

func (s slow) holds(needs []estate.Need, site string) bool {
	return !slices.ContainsFunc(needs, func(n estate.Need) bool { return !s.need(n, site) })
}

func (s slow) need(n estate.Need, site string) bool {
	if n.Of != nil {
		have := 0
		for _, o := range n.Of {
			if s.need(o, site) {
				have++
			}
		}
		return have >= n.AtLeast
	}
	name, beside := strings.CutSuffix(n.Name, estate.SameSite)
	if beside && site != "" {
		if _, ok := s.e.Services[estate.ServiceID(name)]; ok {
			return !s.lost[name] && !s.lost[name+"@"+site]
		}
		for m, spec := range s.e.Stores[estate.StoreID(name)].Members {
			if string(spec.Site) == site && !s.lost[name+"/"+string(m)] {
				return true
			}
		}
		return false
	}
	return !s.lost[name]
}

func (s slow) instance(sv estate.Service, site string) bool {
	pools := false
	for p := range sv.Runs {
		pools = pools || string(s.e.Pools[p].Site) == site && !s.lost[p]
	}
	for _, n := range sv.Requires {
		if strings.Contains(n.String(), estate.SameSite) && !s.need(n, site) {
			return false
		}
	}
	return pools
}

func (s slow) works(name string, sv estate.Service) bool {
	if len(sv.Runs) == 0 {
		return s.holds(sv.Requires, "")
	}
	for _, n := range sv.Requires {
		if !strings.Contains(n.String(), estate.SameSite) && !s.need(n, "") {
			return false
		}
	}
	for site := range s.e.Sites {
		if !s.lost[name+"@"+string(site)] {
			return true
		}
	}
	return false
}

// writes says whether a store takes writes; links are left out of these estates.
func (s slow) writes(name string, st estate.Store) bool {
	alive := func(m estate.MemberID) bool { return !s.lost[name+"/"+string(m)] }
	others, any := 0, false
	for m := range st.Members {
		any = any || alive(m)
		if m != st.Primary && alive(m) {
			others++
		}
	}
	enough := func(hold int) bool { return hold >= st.Any || st.Alone == "allow" }
	switch {
	case st.Any == 0:
		return any
	case alive(st.Primary):
		return enough(others)
	}
	return others >= len(st.Members)-st.Any && others > 0 && enough(others-1)
}

// anEstate draws a small estate without links.
func anEstate(t *rapid.T) estate.Estate {
	text := estateText(t)
	e, err := estate.Load([]estate.File{{Name: "x", Data: []byte(text)}}, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return e
}

func estateText(t *rapid.T) string {
	var text strings.Builder
	text.WriteString("haechi: v1\nestate: x\nsites: {s0: {}, s1: {}, s2: {}}\nexternal: {e0: {}, e1: {}}\n")
	text.WriteString("domains:\n")
	for i := range 4 {
		fmt.Fprintf(&text, "  d%d: {site: s%d, requires: [%s]}\n", i, i%3, some(t, "e0", "e1"))
	}
	text.WriteString("pools:\n")
	for i := range 5 {
		fmt.Fprintf(&text, "  p%d: {site: s%d, servers: 10, requires: [%s]}\n", i, i%3, some(t, "d0", "d1", "d2", "d3"))
	}
	text.WriteString("stores:\n")
	for i := range 2 {
		members := rapid.IntRange(2, 4).Draw(t, "members")
		fmt.Fprintf(&text, "  b%d: {engine: x, alone: %s, acknowledge: {any: %d}, members: {", i, rapid.SampledFrom([]string{"allow", "refuse"}).Draw(t, "alone"), rapid.IntRange(0, members-1).Draw(t, "any"))
		for m := range members {
			fmt.Fprintf(&text, "m%d: {site: s%d}, ", m, rapid.IntRange(0, 2).Draw(t, "site"))
		}
		text.WriteString("}}\n")
	}
	text.WriteString("services:\n")
	for i := range 5 {
		fmt.Fprintf(&text, "  v%d: {tier: %d, load: 5, runs: {%s}, requires: [%s], wants: [%s]}\n", i, i%4, runs(t), some(t, "b0", "b1", "v0", "v1", "v2", "v3", "v4", "v1@same-site", "v3@same-site", "b1@same-site", "e0"), some(t, "v2", "e1"))
	}
	return text.String()
}

func runs(t *rapid.T) string {
	var out []string
	for p := range 5 {
		if rapid.Bool().Draw(t, "runs") {
			out = append(out, fmt.Sprintf("p%d: 3", p))
		}
	}
	return strings.Join(out, ", ")
}

// some draws needs: names, and any and atleast of names.
func some(t *rapid.T, names ...string) string {
	var out []string
	for range rapid.IntRange(0, 2).Draw(t, "needs") {
		of := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, min(3, len(names)), rapid.ID[string]).Draw(t, "of")
		switch k := rapid.IntRange(0, len(of)).Draw(t, "atleast"); {
		case len(of) == 1:
			out = append(out, of[0])
		case k < 2:
			out = append(out, "{any: ["+strings.Join(of, ", ")+"]}")
		default:
			out = append(out, fmt.Sprintf("{atleast: %d, of: [%s]}", k, strings.Join(of, ", ")))
		}
	}
	return strings.Join(out, ", ")
}

func TestWhatIsDownIsWhatTheSlowEvaluatorSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anEstate(t)
		r, err := audit.Audit(audit.Input{Estate: e})
		if err != nil {
			if s := evaluate(e); !slices.ContainsFunc(services(e), func(n string) bool { return s.lost[n] }) {
				t.Fatalf("%v; the slow evaluator finds nothing down", err)
			}
			t.Skip("down with nothing lost")
		}
		for site, got := range r.Survives {
			s := evaluate(e, site)
			for _, n := range services(e) {
				if down := got.Services[n] == "down"; down != s.lost[n] {
					t.Fatalf("%s lost: %s is %s, the slow evaluator says lost %v", site, n, got.Services[n], s.lost[n])
				}
			}
		}
		found := map[string]bool{}
		for _, f := range r.Findings {
			if f.Rule == audit.SPOF {
				found[f.Component] = true
			}
		}
		for _, n := range services(e) {
			var by []string
			for _, one := range []string{"e0", "e1", "d0", "d1", "d2", "d3", "p0", "p1", "p2", "p3", "p4"} {
				if evaluate(e, one).lost[n] {
					by = append(by, one)
				}
			}
			for b, st := range e.Stores {
				for m := range st.Members {
					if evaluate(e, string(b)+"/"+string(m)).lost[n] {
						by = append(by, string(b)+"/"+string(m))
					}
				}
			}
			if found[n] != (len(by) > 0) {
				t.Fatalf("spof %s: found %v, the slow evaluator has it fall to %v", n, found[n], by)
			}
		}
	})
}

func services(e estate.Estate) []string {
	var out []string
	for n := range e.Services {
		out = append(out, string(n))
	}
	slices.Sort(out)
	return out
}
