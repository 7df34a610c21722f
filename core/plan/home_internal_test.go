package plan

import (
	"slices"
	"strings"
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

// A name server that is away while users come home is reached by the last stage, if it is back by then; none of the
// stages before it send anybody by way of it.
func TestTheLastStageReachesServersThatCameBackMeanwhile(t *testing.T) {
	e := estate.Estate{Sites: map[estate.SiteID]estate.Site{"pangyo": {}, "ansan": {}, "anyang": {}},
		Hosts:    map[estate.HostID]estate.Host{"ns-a": {Site: "ansan"}, "ns-b": {Site: "anyang"}, "ns-c": {Site: "pangyo"}},
		Pools:    map[string]estate.Pool{"ansan/talk": {Site: "ansan", Servers: 1}},
		Services: map[estate.ServiceID]estate.Service{"talk": {Runs: map[string]int{"ansan/talk": 1}, Probes: []estate.Probe{{HTTP: "http://{address}/"}}}},
		Names: map[estate.NameID]estate.Name{"talk.": {Service: "talk", Servers: []estate.HostID{"ns-a", "ns-b", "ns-c"},
			Answers: map[estate.SiteID][]string{"ansan": {"192.0.2.1:80"}, "anyang": {"192.0.2.2:80"}}}}}
	m := &maker{gone: map[estate.SiteID]bool{"pangyo": true}, in: Input{Kind: Recover, Estate: e, Withdrawn: map[estate.NameID][]estate.SiteID{"talk.": {"ansan"}}}}
	m.home("ansan")
	var got []string
	for _, s := range m.steps {
		if s.Verb == Announce {
			got = append(got, strings.Join(s.Members, " ")+" also "+s.Args[ArgAlso])
		}
	}
	if want := []string{"ns-b also ", "ns-a ns-b also ns-c"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
