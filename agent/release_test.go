package agent

import (
	"reflect"
	"strings"
	"testing"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/pki"
)

// An agent of the release before refuses what it does not know, so it is not given it.
func TestOrdersFitTheAgent(t *testing.T) {
	seal := Order{Version: 1, Verb: Seal, Unit: "db"}
	if o, err := seal.fit(0); err != nil || !reflect.DeepEqual(o, seal) {
		t.Fatalf("an order that it knows: %+v, %v", o, err)
	}
	for v, since := range sinceVerb {
		if _, err := (Order{Verb: v}).fit(since - 1); err == nil || !strings.Contains(err.Error(), "upgrade haechi-agent") {
			t.Errorf("%s for release %d: %v", v, since-1, err)
		}
		if _, err := (Order{Verb: v}).fit(since); err != nil {
			t.Errorf("%s for release %d: %v", v, since, err)
		}
	}
}

// Each field that came later says so, in the form that fit reads.
func TestTagsOfOrdersCanBeRead(t *testing.T) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Order]()) {
		tag, ok := f.Tag.Lookup("since")
		if !ok {
			continue
		}
		number, optional, _ := strings.Cut(tag, ",")
		if (number != "2" || plan.Release < 2) || optional != "" && optional != "optional" {
			t.Errorf("%s: since %q is none of \"2\" and \"2,optional\" for release %d", f.Name, tag, plan.Release)
		}
	}
}

// What release 1 knew is what its orders held; anything else needs a tag.
func TestFieldsThatCameLaterAreTagged(t *testing.T) {
	first := strings.Fields("Version Verb Unit Term Epoch Reign Run Step Life Sent Within Upstream Sync Any Alone Renew Mandate Self Clean")
	known := map[string]bool{}
	for _, name := range first {
		known[name] = true
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Order]()) {
		if _, tagged := f.Tag.Lookup("since"); tagged == known[f.Name] {
			t.Errorf("%s: known to release 1 %v, tagged %v: an agent of release 1 refuses an order with a key that it does not know", f.Name, known[f.Name], tagged)
		}
	}
}

func TestAnOlderAgentIsNotAskedForMore(t *testing.T) {
	w := newWorld(t)
	c := w.client(w.files(w.ca, pki.Tower, "tower-a"), "db-1")
	a, err := c.Call(t.Context(), Order{Version: 1, Verb: Status, Unit: "db"})
	if err != nil || a.Release != plan.Release || a.Facts[FactRelease] == "" {
		t.Fatalf("%+v, %v", a, err)
	}
	c.release = 1 // as one of the release before has said
	acts := len(w.unit.acts)
	_, err = c.Call(t.Context(), Order{Version: 1, Verb: Salvage, Unit: "db", Term: 9, Epoch: 9})
	if !Unchanged(err) || !strings.Contains(err.Error(), "upgrade haechi-agent") || len(w.unit.acts) != acts {
		t.Fatalf("%v, %v", err, w.unit.acts)
	}
}
