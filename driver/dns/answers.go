package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// answers is a set of addresses, sorted, each once.
type answers []netip.Addr

func newAnswers(addrs []netip.Addr) answers {
	out := slices.Clone(addrs)
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// parse reads addresses as the estate writes them: the port is for probes and
// has no place in DNS. The estate was checked when it was loaded.
func parse(texts []string) answers {
	var out []netip.Addr
	for _, t := range texts {
		if a, err := netip.ParseAddr(t); err == nil {
			out = append(out, a.Unmap())
		} else if ap, err := netip.ParseAddrPort(t); err == nil {
			out = append(out, ap.Addr().Unmap())
		}
	}
	return newAnswers(out)
}

func (a answers) has(x netip.Addr) bool {
	_, ok := slices.BinarySearchFunc(a, x, netip.Addr.Compare)
	return ok
}

func (a answers) without(b answers) answers {
	return slices.DeleteFunc(slices.Clone(a), b.has)
}

func (a answers) and(b answers) answers {
	return slices.DeleteFunc(slices.Clone(a), func(x netip.Addr) bool { return !b.has(x) })
}

func (a answers) plus(b answers) answers { return newAnswers(slices.Concat(a, b)) }

func (a answers) equal(b answers) bool { return slices.Equal(a, b) }

// String lists the addresses, or says that there is none.
func (a answers) String() string {
	if len(a) == 0 {
		return "no address"
	}
	parts := make([]string, len(a))
	for i, x := range a {
		parts[i] = x.String()
	}
	return strings.Join(parts, ", ")
}

// split returns the addresses that stand for one site alone, and those that the
// other sites have. An address that two sites share belongs to the others, so
// that taking one site out does not take the other with it.
func split(n estate.Name, site estate.SiteID) (own, others answers) {
	for s, texts := range n.Answers {
		if s == site {
			own = own.plus(parse(texts))
			continue
		}
		others = others.plus(parse(texts))
	}
	return own.without(others), others
}

// remaining is what a name answers when some sites are out.
func remaining(n estate.Name, out []estate.SiteID) answers {
	var left answers
	for s, texts := range n.Answers {
		if !slices.Contains(out, s) {
			left = left.plus(parse(texts))
		}
	}
	return left
}
