package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The command gets the lab's own estate and answers with a report, whatever it found.
func TestAuditAsksTheCommand(t *testing.T) {
	for name, c := range map[string]struct{ script, says string }{
		"clean":    {`grep -q "^estate: lab$" "$4" && echo '{"components": 7, "findings": []}'`, ""},
		"critical": {`cat >/dev/null; echo '{"components": 7, "findings": [{"severity": "critical"}]}'; exit 1`, ""},
		"invalid":  {`cat >/dev/null; echo 'lab.yaml:3: no' >&2; exit 2`, "lab.yaml:3: no"},
		"broken":   {`cat >/dev/null; echo 'all is well'`, "printed no report"},
	} {
		bin := t.TempDir()
		if err := os.WriteFile(filepath.Join(bin, "haechi"), []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		l, err := New(Options{Bin: bin})
		if err != nil {
			t.Fatal(err)
		}
		r, took, err := l.Audit(t.Context())
		if c.says == "" && (err != nil || r.Components != 7 || took <= 0) {
			t.Errorf("%s: %+v after %v: %v", name, r, took, err)
		}
		if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	l, err := New(Options{Bin: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Audit(t.Context()); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("without the program: %v", err)
	}
}
