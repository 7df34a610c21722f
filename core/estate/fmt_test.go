package estate_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/haechi/haechi/core/estate"
)

var dot = regexp.MustCompile(`(?m)^\.$`)

func TestFormat(t *testing.T) {
	datadriven.RunTest(t, "testdata/format.txt", func(t *testing.T, d *datadriven.TestData) string {
		// Empty lines end datadriven's input, so that they are written as a dot.
		in := dot.ReplaceAllString(d.Input+"\n", "")
		out, err := estate.Format(estate.File{Name: "x.yaml", Data: []byte(in)})
		if err != nil {
			return err.Error() + "\n"
		}
		again, err := estate.Format(estate.File{Name: "x.yaml", Data: out})
		if err != nil || string(again) != string(out) {
			t.Errorf("formatted again (%v): %s", err, cmp.Diff(string(out), string(again)))
		}
		return strings.ReplaceAll(string(out), "\n\n", "\n.\n")
	})
}

func TestExamplesAreFormatted(t *testing.T) {
	for _, name := range []string{"messenger.yaml", "three-sites.yaml"} {
		data, err := os.ReadFile("../../examples/" + name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := estate.Format(estate.File{Name: name, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(data), string(out)); diff != "" {
			t.Errorf("%s: haechi estate fmt -w examples/%s\n%s", name, name, diff)
		}
	}
}

// mangled draws an example that somebody has worked on: lines moved, taken away, said twice,
// commented, spaced and spread.
func mangled(t *rapid.T) []byte {
	name := rapid.SampledFrom([]string{"messenger.yaml", "three-sites.yaml"}).Draw(t, "example")
	data, err := os.ReadFile("../../examples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	for i := range rapid.IntRange(0, 12).Draw(t, "edits") {
		at := rapid.IntRange(0, len(lines)-1).Draw(t, "line")
		switch rapid.SampledFrom([]string{"comment", "tail", "empty", "cut", "twice", "swap", "spread", "move", "quote"}).Draw(t, "edit") {
		case "comment":
			lines = slices.Insert(lines, at, strings.Repeat(" ", rapid.IntRange(0, 7).Draw(t, "indent"))+fmt.Sprint("# c", i))
		case "tail":
			lines[at] += fmt.Sprint(" # t", i)
		case "empty":
			lines = slices.Insert(lines, at, "")
		case "cut":
			lines = slices.Delete(lines, at, at+1)
		case "twice":
			lines = slices.Insert(lines, at, lines[at])
		case "swap":
			to := min(at+1, len(lines)-1)
			lines[at], lines[to] = lines[to], lines[at]
		case "spread":
			lines[at] = strings.Replace(lines[at], "{", "{\n         ", 1)
		case "quote":
			lines[at] = strings.Replace(lines[at], ": pangyo", `: "pangyo"`, 1)
		case "move": // what stands between two empty lines
			parts := strings.Split(strings.Join(lines, "\n"), "\n\n")
			p := rapid.IntRange(0, len(parts)-1).Draw(t, "part")
			parts = append(append(parts[:p:p], parts[p+1:]...), parts[p])
			lines = strings.Split(strings.Join(parts, "\n\n"), "\n")
		}
		if len(lines) == 0 {
			lines = []string{""}
		}
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}

func TestFormatNeverChangesWhatIsLoaded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := mangled(t)
		out, err := estate.Format(estate.File{Name: "x", Data: data})
		if err != nil {
			if strings.Contains(err.Error(), "formatting would") {
				t.Fatalf("%v:\n%s", err, data)
			}
			return // it is no YAML any more
		}
		again, err := estate.Format(estate.File{Name: "x", Data: out})
		if err != nil || string(again) != string(out) {
			t.Fatalf("formatted again (%v): %s\n%s", err, cmp.Diff(string(out), string(again)), data)
		}
		before, errBefore := estate.Load([]estate.File{{Name: "x", Data: data}}, nil)
		after, errAfter := estate.Load([]estate.File{{Name: "x", Data: out}}, nil)
		if (errBefore == nil) != (errAfter == nil) || !cmp.Equal(before, after) {
			t.Fatalf("loaded otherwise (%v, then %v): %s", errBefore, errAfter, cmp.Diff(before, after))
		}
	})
}
