package estate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
)

func TestPlacesAreWhereThingsAreDeclared(t *testing.T) {
	got := estate.Places([]estate.File{
		{Name: "sites.yaml", Data: []byte("haechi: v1\nsites:\n  pangyo: {title: 판교}\n  ansan:\npolicy: {profile: fast}\n")},
		{Name: "stores.yaml", Data: []byte("haechi: v1\nstores:\n  db: {engine: x, members: {a: {site: pangyo}, b: {site: ansan}}}\nservices: {profile: {requires: [db]}}\n")},
	})
	want := map[string]estate.Place{
		"pangyo": {File: "sites.yaml", Line: 3, Col: 3}, "ansan": {File: "sites.yaml", Line: 4, Col: 3},
		"db": {File: "stores.yaml", Line: 3, Col: 3}, "db/a": {File: "stores.yaml", Line: 3, Col: 29}, "db/b": {File: "stores.yaml", Line: 3, Col: 48},
		"profile": {File: "stores.yaml", Line: 4, Col: 12}, // and not the key of policy
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
