package plan

import (
	"strings"
	"testing"

	"github.com/haechi/haechi/core/estate"
)

// Whatever came after release 1 says so, or a tower of that release would take it for something that it knows.
func TestPlansSayWhichReleaseTheyNeed(t *testing.T) {
	p, err := Make(Input{Kind: Reseat, Subject: Towers, Seats: towersOf("a voter waits, b voter well, c voter well")})
	if err != nil || p.Version != 2 || p.Carried() != nil {
		t.Fatalf("version %d, %v, %v", p.Version, err, p.Carried())
	}
	e := estate.Estate{Sites: map[estate.SiteID]estate.Site{"a": {}}, Hosts: map[estate.HostID]estate.Host{"ns": {Site: "a"}}}
	old, err := Make(Input{Kind: LevelDNS, Subject: "ns", Estate: e})
	if err != nil || old.Version != 1 {
		t.Fatalf("version %d, %v: what the release before knows must go on being carried by it", old.Version, err)
	}
}

func TestWhatIsNotKnownIsNotCarried(t *testing.T) {
	for says, p := range map[string]Plan{
		"upgrade it":          {Version: Release + 1, Kind: "quell", Steps: []Step{{ID: 1, Verb: Level}}},
		`step 1 says "quell"`: {Version: 1, Kind: LoseSite, Steps: []Step{{ID: 1, Verb: "quell"}}},
	} {
		if err := p.Carried(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not say %q", err, says)
		}
	}
}
