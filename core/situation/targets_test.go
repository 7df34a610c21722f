package situation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

func TestTargetsOfASite(t *testing.T) {
	var got []string
	for _, x := range situation.Targets(sitesOf(false, "pangyo", "ansan", "anyang")) {
		if x.Site == "pangyo" {
			got = append(got, x.ID+" "+x.Component+" "+x.Address)
		}
	}
	want := []string{
		"pangyo/agent/db-pangyo db-pangyo 10.77.1.21:9444",
		"pangyo/database/talk-db/pangyo talk-db/pangyo 10.77.1.21:5432",
		"pangyo/dns/ns-pangyo ns-pangyo 10.77.1.53:53",
		"pangyo/gateway/talk talk http://10.77.1.5:8080/healthz",
		"pangyo/tower/tower-pangyo tower-pangyo 10.77.1.11:9443",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestSeveralAnswersAreSeveralTargets(t *testing.T) {
	e := sitesOf(false, "pangyo", "ansan", "anyang")
	n := e.Names["talk.example."]
	n.Answers["ansan"] = []string{"10.77.2.5", "fd00::5"}
	var got []string
	for _, x := range situation.Targets(e) {
		if x.Site == "ansan" && x.Kind == situation.KindGateway {
			got = append(got, x.ID+" "+x.Address)
		}
	}
	want := []string{
		"ansan/gateway/talk/10.77.2.5 http://10.77.2.5:8080/healthz",
		"ansan/gateway/talk/fd00::5 http://[fd00::5]:8080/healthz",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestAnAgentSpeaksForAllUnitsAtItsAddress(t *testing.T) {
	e := sitesOf(false, "pangyo", "ansan", "anyang")
	if diff := cmp.Diff([]string{"named", "talk-db"}, situation.Units(e, "ns-pangyo")); diff != "" {
		t.Fatal(diff)
	}
	if got := situation.AgentTarget(e, "ns-pangyo"); got != "pangyo/agent/db-pangyo" {
		t.Fatalf("agent of ns-pangyo is %q", got)
	}
	if got := situation.AgentTarget(estate.Estate{}, "nobody"); got != "" {
		t.Fatalf("agent of an unknown host is %q", got)
	}
}

func TestProfilesAreValid(t *testing.T) {
	for name, p := range situation.Profiles() {
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if p.Name != name {
			t.Errorf("%s calls itself %s", name, p.Name)
		}
	}
	if _, err := situation.Named("fastest"); err == nil {
		t.Error("a profile that there is not was found")
	}
}

func TestProfileTellsEveryProblemAtOnce(t *testing.T) {
	p := situation.Profiles()["fast"]
	p.Silence, p.Stale, p.Settle = 200_000_000, 200_000_000, 100_000_000
	err := p.Validate()
	if err == nil {
		t.Fatal("it was accepted")
	}
	for _, want := range []string{"silence: 200ms is shorter than timeout + 2 x every (500ms)", "stall: 150ms", "stale: 200ms", "settle: 100ms"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %q in:\n%v", want, err)
		}
	}
}

// A probe's own rhythm reaches its targets; the longest that an estate may ask for bears each
// profile's silence as the profile's own Rest would.
func TestAProbeHasItsOwnRhythm(t *testing.T) {
	e := sitesOf(false, "pangyo", "ansan", "anyang")
	e.Services["talk"].Probes[0].Every = 150 * time.Millisecond
	for _, x := range situation.Targets(e) {
		if (x.Rest != 0) != (x.Kind == situation.KindGateway) || x.Rest != 0 && x.Rest != 150*time.Millisecond {
			t.Errorf("%s rests %v", x.ID, x.Rest)
		}
	}
	for name, p := range situation.Profiles() {
		least, most := estate.ProbeEvery(name)
		if p.Rest < least || p.Rest > most {
			t.Errorf("%s: its own rest %v is not from %v to %v", name, p.Rest, least, most)
		}
		p.Rest = most
		if err := p.Validate(); err != nil {
			t.Errorf("the longest: %v", err)
		}
		p.Rest += time.Millisecond
		if p.Validate() == nil {
			t.Errorf("%s: more than %v would do", name, most)
		}
	}
}
