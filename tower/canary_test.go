package tower

import (
	"strings"
	"testing"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

func TestACanaryTellsHowFarAMemberIsBehind(t *testing.T) {
	for _, c := range []struct {
		primary, member string
		want            int64
	}{
		{"100 50000", "100 50000", 0}, {"100 50000", "99 49000", 0}, {"100 50000", "95 45000", 5000}, {"100 50000", "101 51000", 0},
		{"", "95 45000", -1}, {"100 50000", "", -1}, {"100 50000", "95", -1}, {"x y", "95 45000", -1},
	} {
		p, m := map[string]string{situation.FactCanary: c.primary}, map[string]string{situation.FactCanary: c.member}
		if got := canaryMS(p, m); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.primary, c.member, got, c.want)
		}
	}
}

// A canary that is not written, or that nobody acknowledges, does not look like one that is up to date.
func TestACanaryThatIsSilentIsSaid(t *testing.T) {
	for _, c := range []struct {
		missing, waits, want string
		lag                  int64
	}{
		{"", "", "", 0}, {"", "900", "", 0}, {"", "x", "", 0},
		{"", "12300", "has waited for other members for 12s", 0},
		{"permission denied", "", "no canary is written: permission denied", -1},
	} {
		f := map[string]string{situation.FactCanary: "100 50000", situation.FactCanaryMissing: c.missing, situation.FactCanaryWaits: c.waits}
		if got := silentCanary(f); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q", c, got)
		}
		if got := canaryMS(f, map[string]string{situation.FactCanary: "100 50000"}); got != c.lag {
			t.Errorf("%+v: behind by %d", c, got)
		}
	}
}

// After a loss the last canary that was acknowledged is held against what the new primary found.
func TestTheLastCanaryIsLookedForAfterALoss(t *testing.T) {
	b := believing(t, 2, nil, nil)
	stores := map[estate.StoreID]situation.Store{"talk-db": {Epoch: 2, Primary: "b", Former: []estate.MemberID{"a"}}}
	for _, c := range []struct{ acked, found, want string }{
		{"100 50000", "100 50000", "was on b when it took over"},
		{"100 50000", "101 51000", "was on b when it took over"}, // it was about to be acknowledged
		{"100 50000", "97 47000", "up to 3s are missing"},
		{"", "97 47000", ""}, {"100 50000", "", ""},
	} {
		k := known{"talk-db": {"a": {situation.FactCanaryAcked: c.acked}, "b": {situation.FactCanaryFound: c.found}}}
		got := k.canaries(b.estate, stores)["talk-db"]
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%q, %q: %q", c.acked, c.found, got)
		}
	}
}
