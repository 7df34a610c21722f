// Package generate draws estates of companies that do not exist, of any size, and plants faults in
// them: for proofs, measurements and first tries. It is pure: equal orders and equal luck give equal estates.
package generate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
)

// Order says what to draw.
type Order struct {
	Sites    int // with load; two get a witness besides
	Servers  int // over all sites
	Services int
	Plant    []string // rules of the audit, each with one fault; one may be named several times
}

// Chance is where a drawing takes its luck from; [math/rand/v2.Rand] is one.
type Chance interface {
	IntN(n int) int
	Float64() float64
	NormFloat64() float64
	Shuffle(n int, swap func(i, j int))
}

// How large an estate may be.
const (
	leastSites, mostSites       = 2, 30
	leastServers, mostServers   = 100, 1_000_000
	leastServices, mostServices = 10, 4000
)

// Each service needs a few servers in two sites or more, and each site some of every role.
const serversPerService, serversPerSite = 6, 20

// Make draws an estate and says what an audit of it must find. Without faults that is nothing above
// low. The error says what is wrong with the order.
func Make(o Order, luck Chance) (estate.Estate, []Answer, error) {
	if err := o.check(); err != nil {
		return estate.Estate{}, nil, err
	}
	w := newWorld(o, luck)
	w.places()
	w.people()
	w.tools()
	w.products()
	w.decoys()
	w.staff()
	p := newPlanter(w)
	for _, f := range faults {
		for _, rule := range o.Plant {
			if rule == f.rule {
				pick(p.Chance, f.ways)(p)
			}
		}
	}
	if len(p.lacking) > 0 {
		return estate.Estate{}, nil, fmt.Errorf("the estate is too small for so many faults: %s", strings.Join(p.lacking, "; "))
	}
	w.measure()
	return w.e, p.answers(), nil
}

func (o Order) check() error {
	for _, n := range []struct {
		what            string
		is, least, most int
	}{
		{"sites", o.Sites, leastSites, mostSites},
		{"servers", o.Servers, leastServers, mostServers},
		{"services", o.Services, leastServices, mostServices},
	} {
		if n.is < n.least || n.is > n.most {
			return fmt.Errorf("%d %s: an estate can be drawn with %d to %d", n.is, n.what, n.least, n.most)
		}
	}
	if least := serversPerService*o.Services + serversPerSite*o.Sites; o.Servers < least {
		return fmt.Errorf("%d servers are too few for %d services in %d sites: at least %d, %d for each service and %d for each site",
			o.Servers, o.Services, o.Sites, least, serversPerService, serversPerSite)
	}
	return plantable(o.Plant)
}

// Rules lists what can be planted.
func Rules() []string {
	out := make([]string, len(faults))
	for i, f := range faults {
		out[i] = f.rule
	}
	return out
}

// unplantable are rules that a file alone cannot break, and why.
var unplantable = map[string]string{
	"stale": "it compares the file with what a tower sees",
}

func plantable(rules []string) error {
	for _, r := range rules {
		if why, no := unplantable[r]; no {
			return fmt.Errorf("%s cannot be planted: %s; what can is %s", r, why, strings.Join(Rules(), ", "))
		}
		if !slices.Contains(Rules(), r) {
			return fmt.Errorf("%q is no rule that can be planted; those are %s", r, strings.Join(Rules(), ", "))
		}
	}
	return nil
}

func pick[T any](luck Chance, of []T) T { return of[luck.IntN(len(of))] }
