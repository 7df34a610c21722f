package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
)

func namesOf(files []estate.File) []string {
	var out []string
	for _, f := range files {
		out = append(out, f.Name)
	}
	return out
}

func TestWithIncludes(t *testing.T) {
	tree := fstest.MapFS{}
	for name, data := range map[string]string{
		"e/a.yaml":            "include: [./b.yaml, sites/*.yaml, \"*.yml\", nothing.yaml]",
		"e/b.yaml":            "include: [sites/pangyo.yaml]",
		"e/c.yml":             "haechi: v1",
		"e/sites/pangyo.yaml": "include: [more/*.yaml]",
		"e/sites/ansan.yaml":  "include: [../../secret.yaml, /secret.yaml, ../b.yaml]",
		"e/sites/.x.yaml":     "haechi: v1",
		"e/sites/notes.txt":   "haechi: v1",
		"e/sites/more/y.yaml": "include: [y.yaml]",
		"secret.yaml":         "haechi: v1",
	} {
		tree[name] = &fstest.MapFile{Data: []byte(data)}
	}
	open := func(dir string) (fs.FS, error) { return fs.Sub(tree, dir) }
	files, err := withIncludes([]estate.File{{Name: "e/a.yaml", Data: tree["e/a.yaml"].Data}}, open)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"e/a.yaml", "e/b.yaml", "e/sites/ansan.yaml", "e/sites/pangyo.yaml", "e/c.yml", "e/sites/more/y.yaml"}
	if diff := cmp.Diff(want, namesOf(files)); diff != "" {
		t.Error(diff)
	}
}

// An estate that includes more than is read of one is no reason to read on.
func TestIncludesStopAtTheLimit(t *testing.T) {
	tree := fstest.MapFS{}
	for _, name := range []string{"b.yaml", "c.yaml", "d.yaml"} {
		tree[name] = &fstest.MapFile{Data: append([]byte("include: [c.yaml, d.yaml]\n"), make([]byte, estate.MaxBytes)...)}
	}
	open := func(string) (fs.FS, error) { return tree, nil }
	files, err := withIncludes([]estate.File{{Name: "a.yaml", Data: []byte("include: [b.yaml]")}}, open)
	if err != nil || len(files) != 2 {
		t.Errorf("%v, %v", namesOf(files), err)
	}
	if _, err := estate.Load(files, nil); err == nil || !strings.Contains(err.Error(), "more than the 10 MB") {
		t.Errorf("loaded: %.100v", err)
	}
}

func TestALinkOutOfTheFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	write := func(name, data string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "e"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("secret.yaml", "password: x")
	if err := os.Symlink("../secret.yaml", filepath.Join(dir, "e", "b.yaml")); err != nil {
		t.Fatal(err)
	}
	for _, include := range []string{"b.yaml", "*.yaml"} {
		write("e/a.yaml", "haechi: v1\ninclude: [\""+include+"\"]\n")
		_, err := readFiles([]string{filepath.Join(dir, "e", "a.yaml")})
		if err == nil || !strings.Contains(err.Error(), "b.yaml") || !strings.Contains(err.Error(), "escapes") {
			t.Errorf("%s: %v", include, err)
		}
	}
}
