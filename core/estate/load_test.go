package estate_test

import (
	"os"
	"testing"

	"github.com/haechi/haechi/core/estate"
)

func TestExamplesLoad(t *testing.T) {
	for _, name := range []string{"messenger.yaml", "three-sites.yaml"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile("../../examples/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := estate.Load([]estate.File{{Name: name, Data: data}}, nil); err != nil {
				t.Fatal(err)
			}
		})
	}
}
