package haechi

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

const module = "github.com/haechi/haechi/"

// mayImport is the diagram: which of our own rooms a room may import. A room is
// named by its longest matching prefix; "core" within core is checked apart.
var mayImport = map[string][]string{
	"core":             {"core"},
	"pki":              {},
	"agent":            {"core", "pki"},
	"driver":           {"core", "agent", "driver", "pki"},
	"tower/etcd":       {"pki"},
	"tower/state":      {"core", "tower/etcd"},
	"tower/peer":       {"core", "pki"},
	"tower/probe":      {"core", "pki", "agent"},
	"tower/executor":   {"core", "driver"},
	"tower/web":        {"core", "pki", "tower/report"},
	"tower":            {"core", "pki", "agent", "driver", "tower"},
	"tower/report":     {"core"},
	"tower/forecast":   {"core"},
	"examples":         {},
	"testkit":          {"core", "driver", "tower/executor"},
	"lab":              {"core", "pki", "lab"},
	"lab/talk":         {},
	"lab/wan":          {},
	"cmd/haechi":       {"core", "pki", "tower", "driver", "agent", "examples"},
	"cmd/haechi-agent": {"agent", "driver", "pki"},
	"cmd/haechi-lab":   {"lab"},
}

// ARCHITECTURE.md draws the house: each room that has code stands in its picture.
func TestTheHouseIsDrawnWhole(t *testing.T) {
	raw, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, house, _ := strings.Cut(string(raw), "## The house\n")
	house, _, _ = strings.Cut(house, "\n## ")
	drawn := map[string]bool{}
	for _, word := range strings.FieldsFunc(house, func(r rune) bool { return !unicode.IsLetter(r) && r != '-' }) {
		drawn[word] = true
	}
	for _, s := range sources(t) {
		for name := range strings.SplitSeq(s.dir, "/") {
			if name != "." && !drawn[name] {
				t.Errorf("%s: the house in ARCHITECTURE.md has no %q", s.dir, name)
				drawn[name] = true // said once
			}
		}
	}
}

// coreOrder is core from the bottom up: a room imports only rooms before it.
var coreOrder = []string{"count", "estate", "seats", "generate", "audit", "journal", "verify", "situation", "plan", "run", "history", "response", "simulate", "replay"}

// forbidden is what core does without: whatever it imported could not be pure.
var forbidden = []string{"net", "net/http", "os", "os/exec", "math/rand", "math/rand/v2", "crypto/rand", "log", "log/slog", "sync", "context"}

// neverIn names what a room must not even reach through others' packages: a path, or
// all that begins with one that ends in a slash.
var neverIn = map[string][]string{
	"agent":            {"go.etcd.io/", "html/template", module + "lab/"},
	"driver":           {"go.etcd.io/", "html/template", module + "tower/", module + "lab/"},
	"cmd/haechi-agent": {"go.etcd.io/", "html/template", module + "tower/", module + "lab/"},
	"cmd/haechi":       {module + "lab/"},
}

var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

type source struct {
	dir  string // slash path below the root
	path string
	file *ast.File
	fset *token.FileSet
	test bool
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || slices.Contains([]string{"testdata", "out", "bin", "node_modules"}, d.Name())) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(filepath.Dir(path)), path, f, fset, strings.HasSuffix(path, "_test.go")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func room(dir string) string {
	best := ""
	for r := range mayImport {
		if (dir == r || strings.HasPrefix(dir, r+"/")) && len(r) > len(best) {
			best = r
		}
	}
	return best
}

// within says whether dir is one of rooms or lies below it. A room that has rooms
// of its own in the diagram ("tower") opens them only to those that name it.
func within(dir string, rooms []string) bool {
	return slices.ContainsFunc(rooms, func(r string) bool { return dir == r || strings.HasPrefix(dir, r+"/") })
}

func TestImportsPointOneWay(t *testing.T) {
	for _, s := range sources(t) {
		here := room(s.dir)
		if here == "" || s.test {
			continue
		}
		for _, spec := range s.file.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			if here == "core" && slices.Contains(forbidden, path) {
				t.Errorf("%s: core imports %s, which it must do without", s.fset.Position(spec.Pos()), path)
			}
			ours, ok := strings.CutPrefix(path, module)
			if !ok || ours == s.dir {
				continue
			}
			if !within(ours, mayImport[here]) {
				t.Errorf("%s: %s must not import %s (see the diagram in ARCHITECTURE.md)", s.fset.Position(spec.Pos()), here, ours)
			}
			if here == "core" && slices.Index(coreOrder, strings.TrimPrefix(ours, "core/")) >= slices.Index(coreOrder, strings.TrimPrefix(s.dir, "core/")) {
				t.Errorf("%s: %s imports %s: within core imports point down only, %v", s.fset.Position(spec.Pos()), s.dir, ours, coreOrder)
			}
		}
	}
}

func TestNobodyReachesWhatIsNotForThem(t *testing.T) {
	for here, never := range neverIn {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./"+here+"/...").Output()
		if err != nil {
			t.Fatalf("go list -deps ./%s/...: %v", here, err)
		}
		for path := range strings.FieldsSeq(string(out)) {
			if slices.ContainsFunc(never, func(p string) bool {
				return path+"/" == p || path == p || strings.HasSuffix(p, "/") && strings.HasPrefix(path, p)
			}) {
				t.Errorf("%s reaches %s by way of others, which it must do without (go list -deps shows the way)", here, path)
			}
		}
	}
}

// Importing time is fine, since times are values. Asking for the time is not.
func TestCoreAsksNoClock(t *testing.T) {
	for _, s := range sources(t) {
		if room(s.dir) != "core" || s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s: a goroutine in a pure package", s.fset.Position(g.Pos()))
			}
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, sel.Sel.Name) {
				t.Errorf("%s: time.%s in a pure package; take the time as an argument", s.fset.Position(n.Pos()), sel.Sel.Name)
			}
			return true
		})
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	said := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test {
			said[s.dir] = said[s.dir] || s.file.Doc != nil
		}
	}
	for dir, ok := range said {
		if !ok {
			t.Errorf("%s: no package comment", dir)
		}
	}
}

func TestEveryPackageStandsInTheDiagram(t *testing.T) {
	for _, s := range sources(t) {
		if s.dir != "." && room(s.dir) == "" {
			t.Errorf("%s: no room in the diagram for %s; add it to ARCHITECTURE.md and to mayImport", s.path, s.dir)
		}
	}
}

func TestFilesFitAMind(t *testing.T) {
	for _, s := range sources(t) {
		if lines := s.fset.File(s.file.Pos()).LineCount(); lines > 560 {
			t.Errorf("%s has %d lines: split it by noun", s.path, lines)
		}
	}
}

func TestNoReplaceInGoMod(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mod)) {
		if strings.HasPrefix(strings.TrimSpace(line), "replace ") {
			t.Errorf("go.mod: %s: a replace builds on this machine only", strings.TrimSpace(line))
		}
	}
}
