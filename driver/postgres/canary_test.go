package postgres

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/agent"
)

// Only a primary whose promotion stands has a canary: on any other member it would be a row more that
// nobody else has.
func TestACanarySingsOnlyOnAPrimaryThatStands(t *testing.T) {
	whole := memory{Role: asPrimary, Reign: 3}
	if !sings(whole) {
		t.Error("the primary has none")
	}
	for name, edit := range map[string]func(*memory){
		"a follower":      func(m *memory) { m.Role, m.Upstream = asFollower, &agent.Upstream{} },
		"not adopted":     func(m *memory) { m.Reign = 0 },
		"a fenced one":    func(m *memory) { m.Fenced = true },
		"a sealed one":    func(m *memory) { m.Sealed = true },
		"one that halted": func(m *memory) { m.Halted = &halted{} },
		"nobody has said": func(m *memory) { *m = memory{} },
	} {
		m := whole
		edit(&m)
		if sings(m) {
			t.Errorf("%s has one", name)
		}
	}
}

func TestALookTellsWhatIsKnownOfTheCanary(t *testing.T) {
	c := canary{acked: "12 5000", why: ""}
	f := map[string]string{}
	c.tell(f)
	if diff := cmp.Diff(map[string]string{"canary_acked": "12 5000"}, f); diff != "" {
		t.Error(diff)
	}
	c.set(func(c *canary) { c.since, c.found, c.why = time.Now().Add(-time.Minute), "9 4000", "no room" })
	f = map[string]string{}
	c.tell(f)
	if f["canary_found"] != "9 4000" || f["canary_missing"] != "no room" || toNumber(f["canary_waits_ms"]) < 60_000 {
		t.Error(f)
	}
}
