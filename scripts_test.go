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
		{"silence", "", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			out := filepath.Join(dir, "out")
			if err := os.WriteFile(out, []byte(began+c.prints), 0o600); err != nil {
				t.Fatal(err)
			}
			target := "#!/bin/sh\ncat " + out + "\n"
			if c.fails {
				target += "exit 1\n"
			}
			said, err := fuzz(t, "cp "+program(t, target)+" $5") // go test -c -fuzz . -o $5
			if (err != nil) != c.told || !strings.Contains(said, "102 inputs") {
				t.Errorf("%v:\n%s", err, said)
			}
			if c.told && !strings.Contains(said, strings.SplitN(c.prints, "\n", 2)[0]) {
				t.Errorf("what went wrong is not shown:\n%s", said)
			}
		})
	}
}

func TestFuzzSaysWhatDoesNotBuild(t *testing.T) {
	said, err := fuzz(t, "echo 'x.go:1: syntax error'; exit 1")
	if err == nil || !strings.Contains(said, "syntax error") {
		t.Errorf("%v:\n%s", err, said)
	}
}

// fuzz runs scripts/fuzz for one target, with a go of our own that builds as told.
func fuzz(t *testing.T, build string) (said string, err error) {
	t.Helper()
	ours := program(t, "#!/bin/sh\n[ \"$1\" = test ] || { echo "+t.TempDir()+"; exit; }\nshift\n"+build+"\n")
	run := exec.CommandContext(t.Context(), "scripts/fuzz", "FuzzAudit")
	run.Env = append(os.Environ(), "GO="+ours)
	out, err := run.CombinedOutput()
	return string(out), err
}

// program is a file that can be run.
func program(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil { //nolint:gosec // it has to run
		t.Fatal(err)
	}
	return path
}
