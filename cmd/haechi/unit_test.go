package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// What systemd starts are calls that haechi understands: each gets as far as to its file.
func TestTheUnitsCallsAreUnderstood(t *testing.T) {
	for _, file := range []string{"haechi.service", "haechi-observer.service"} {
		raw, err := os.ReadFile("../../deploy/systemd/" + file)
		if err != nil {
			t.Fatal(err)
		}
		_, call, _ := strings.Cut(string(raw), "\nExecStart=/usr/local/bin/haechi ")
		call, _, _ = strings.Cut(call, "\n")
		root := newRoot(func() {})
		root.SetArgs(strings.Fields(strings.ReplaceAll(call, "/etc/haechi/", t.TempDir()+"/")))
		if err := root.Execute(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: haechi %s: %v", file, call, err)
		}
	}
}
