package haechi_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What go test prints when it fuzzes, and whether scripts/fuzz may call that a failure.
func TestFuzzTellsACrasherFromTheEndOfTheTime(t *testing.T) {
	const began = "fuzz: elapsed: 3s, execs: 102 (34/sec), new interesting: 0 (total: 10)\n"
	for _, c := range []struct {
		name, prints string
		fails, told  bool // go test fails; scripts/fuzz does
	}{
		{"nothing found", "PASS\n", false, false},
		{"the end of the time", "--- FAIL: FuzzAudit (60.10s)\n    context deadline exceeded\nFAIL\nexit status 1\nFAIL\tx\t60.1s\n", true, false},
		{"a crasher", "--- FAIL: FuzzAudit (0.10s)\n    --- FAIL: FuzzAudit (0.00s)\n        x_test.go:3: no\n    \n    Failing input written to testdata/fuzz/FuzzAudit/abc\n    To re-run:\n    go test -run=FuzzAudit/abc\nFAIL\n", true, true},
		{"a crasher that says the same", "--- FAIL: FuzzAudit (0.10s)\n    --- FAIL: FuzzAudit/seed#0 (0.00s)\n        x_test.go:3: context deadline exceeded\nFAIL\n", true, true},
		{"a dead worker", "--- FAIL: FuzzAudit (3.10s)\n    fuzzing process hung or terminated unexpectedly: exit status 2\n    Failing input written to testdata/fuzz/FuzzAudit/abc\nFAIL\n", true, true},
		{"what does not build", "x.go:1: syntax error\nFAIL\tx [build failed]\n", true, true},
		{"silence", "", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			out := filepath.Join(dir, "out")
			if err := os.WriteFile(out, []byte(began+c.prints), 0o600); err != nil {
				t.Fatal(err)
			}
			text := "#!/bin/sh\ncat " + out + "\n"
			if c.fails {
				text += "exit 1\n"
			}
			program := filepath.Join(dir, "go")
			if err := os.WriteFile(program, []byte(text), 0o700); err != nil { //nolint:gosec // it has to run
				t.Fatal(err)
			}
			run := exec.CommandContext(t.Context(), "scripts/fuzz", "FuzzAudit")
			run.Env = append(os.Environ(), "GO="+program)
			said, err := run.CombinedOutput()
			if (err != nil) != c.told || !strings.Contains(string(said), "102 inputs") {
				t.Errorf("%v:\n%s", err, said)
			}
			if c.told && !strings.Contains(string(said), strings.SplitN(c.prints, "\n", 2)[0]) {
				t.Errorf("what went wrong is not shown:\n%s", said)
			}
		})
	}
}
