package plan

import (
	"slices"
	"testing"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// A recovery brings users back, unless people emptied the site; a person who lets it serve always does.
func TestPeopleBringBackWhatTheyEmptied(t *testing.T) {
	e := estate.Estate{Sites: map[estate.SiteID]estate.Site{"pangyo": {}}, Hosts: map[estate.HostID]estate.Host{"ns": {Site: "pangyo"}},
		Names: map[estate.NameID]estate.Name{"talk.": {Servers: []estate.HostID{"ns"}, Answers: map[estate.SiteID][]string{"pangyo": {"192.0.2.1"}}}}}
	for _, c := range []struct {
		kind   Kind
		intent situation.Intent
		want   []int
	}{{Recover, situation.Serving, []int{1}}, {Recover, situation.Drained, nil}, {Recover, situation.Draining, nil}, {Serve, situation.Drained, []int{1}}} {
		m := &maker{gone: map[estate.SiteID]bool{}, in: Input{Kind: c.kind, Estate: e, Intents: map[estate.SiteID]situation.Intent{"pangyo": c.intent},
			Withdrawn: map[estate.NameID][]estate.SiteID{"talk.": {"pangyo"}}}}
		if got := m.home("pangyo"); !slices.Equal(got, c.want) {
			t.Errorf("%s of a site that is %s: %v, want %v", c.kind, c.intent, got, c.want)
		}
	}
}
