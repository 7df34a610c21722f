package audit_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
)

// Whatever loads, alone or beside the sound estate of docs/audit.md, can be audited, and what is
// found can be written. Only services that are down with nothing lost are an error.
func FuzzAudit(f *testing.F) {
	page, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		f.Fatal(err)
	}
	var sound []byte
	for i, part := range strings.Split(string(page), "```yaml\n") {
		text, _, ok := strings.Cut(part, "```")
		if !ok || i == 0 {
			continue
		}
		block := []byte("haechi: v1\n" + text)
		if sound == nil {
			sound = block
		}
		f.Add(block)
	}
	for _, name := range []string{"messenger.yaml", "three-sites.yaml"} {
		data, err := os.ReadFile("../../examples/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, files := range [][]estate.File{{{Name: "x", Data: data}}, {{Name: "sound", Data: sound}, {Name: "x", Data: data}}} {
			e, err := estate.Load(files, nil)
			if err != nil || len(e.Sites)+len(e.Domains)+len(e.Pools)+len(e.Hosts)+len(e.Services)+len(e.Stores) > 60 {
				continue
			}
			r, err := audit.Audit(audit.Input{Estate: e, Depth: 2})
			if err != nil {
				continue
			}
			if _, err := json.Marshal(r); err != nil {
				t.Fatal(err)
			}
		}
	})
}
