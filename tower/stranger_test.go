package tower

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/web"
)

// A tower that comes back with a certificate of another authority believes nobody and is believed by nobody. Both sides say
// so, and what to do, and that is all that has to be done.
func TestATowerOfAnotherAuthorityIsHealedByTheWayItIsTold(t *testing.T) {
	w := newTown(t, "a", "b", "c")
	for _, s := range []string{"a", "b", "c"} {
		w.up(s)
	}
	w.apply(w.driver(), w.estate())
	w.down("c")
	d := w.driver()
	cfg := w.cfg["c"]
	cfg.TLS = newPlace(t).files(pki.Tower, "tower-c")
	w.cfg["c"] = cfg
	c := w.up("c")
	told := func(n *Node) bool {
		return slices.ContainsFunc(n.own(time.Now()), func(f web.Finding) bool {
			return f.Level == web.Bad && strings.Contains(f.Text, "certificate of another CA") && strings.Contains(f.Do, "haechi pki issue tower tower-c,")
		})
	}
	until(t, "the others name it", func() bool { return told(d) })
	until(t, "it says so itself", func() bool { return told(c) })
	if c.quorum().Have || c.isDriving() || !d.quorum().Have {
		t.Errorf("it counts: %+v, and the others: %+v", c.quorum(), d.quorum())
	}
	w.down("c")
	cfg.TLS = place{t, w.ca}.files(pki.Tower, "tower-c")
	w.cfg["c"] = cfg
	c = w.up("c")
	until(t, "it is one of them again", func() bool { return c.quorum().Have && c.beliefs().snap.Estate.Version > 0 })
	until(t, "nobody says so any more", func() bool { return !told(d) && !told(c) })
}
