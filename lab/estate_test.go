package lab

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/simulate"
)

func TestEstateIsValid(t *testing.T) {
	for _, profile := range []string{"default", "fast"} {
		l, err := New(Options{Profile: profile})
		if err != nil {
			t.Fatal(err)
		}
		e, err := estate.Load([]estate.File{{Name: "estate.yaml", Data: []byte(l.estateYAML())}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Sites) != 3 || len(e.Stores["talk-db"].Members) != 3 || e.Policy.Profile != profile {
			t.Errorf("%+v", e)
		}
	}
}

// What the lab shows is worth showing: nothing that the audit holds for high or critical.
func TestEstateAuditsClean(t *testing.T) {
	for _, profile := range []string{"default", "fast"} {
		l, err := New(Options{Profile: profile})
		if err != nil {
			t.Fatal(err)
		}
		e, err := estate.Load([]estate.File{{Name: "estate.yaml", Data: []byte(l.estateYAML())}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		back := simulate.Back(e, simulate.Defaults(e), func(n int) simulate.Chance { return rand.New(rand.NewPCG(1, uint64(n))) })
		r, err := audit.Audit(audit.Input{Estate: e, Back: func(service string, scenario []string) (audit.Return, bool) {
			asked++
			return back(service, scenario)
		}})
		if err != nil || asked == 0 {
			t.Fatalf("%s: %v; asked %d times how long it takes", profile, err, asked)
		}
		for _, f := range r.Open(audit.High) {
			t.Errorf("%s: %s %s: %s; %s", profile, f.Severity, f.Rule, f.Message, f.Remedy)
		}
	}
}

func TestOptionsSayEverythingThatIsWrong(t *testing.T) {
	_, err := New(Options{Dir: "relative", Name: "UPPER", Profile: "slow", Only: []Role{"cook"}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"dir:", "name:", "profile:", "only:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if _, err := New(Options{Dir: "/etc"}); err == nil {
		t.Error("a directory right below the root was accepted")
	}
}

func TestActionsCheckTheirArguments(t *testing.T) {
	l, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{"fire"}, {"fire", "seoul"}, {"fire", "users"}, {"slow", "pangyo", "ansan", "1", "0"}, {"flood", "pangyo"}} {
		if _, err := l.Act(t.Context(), words[0], words[1:]...); err == nil {
			t.Errorf("%v was accepted", words)
		} else {
			t.Log(err)
		}
	}
}
