package haechi

import (
	"go/ast"
	"os"
	"regexp"
	"strings"
	"testing"
)

// A promise is as good as the test beside it: each row of docs/guarantees.md names a
// test, all that it names exist, and every proof against a fault stands in it.
func TestGuaranteesNameTheirTests(t *testing.T) {
	page, err := os.ReadFile("docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	exist, proofs := map[string]bool{}, map[string]string{}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !s.test || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") || f.Name.Name == "TestMain" {
				continue
			}
			exist[s.dir+" "+f.Name.Name] = true
			if s.dir == "lab/proof" {
				proofs[f.Name.Name] = s.path
			}
		}
	}
	named := map[string]bool{}
	test := regexp.MustCompile("`([a-z/-]+) (Test\\w+)`")
	inTable := false
	for line := range strings.Lines(string(page)) {
		row := strings.HasPrefix(line, "|")
		head := row && !inTable || strings.HasPrefix(line, "|---")
		inTable = row
		if !row || head {
			continue
		}
		cells := strings.Split(strings.TrimSpace(line), "|")
		tests := test.FindAllStringSubmatch(cells[len(cells)-2], -1)
		if len(tests) == 0 {
			t.Errorf("docs/guarantees.md: no test in the last cell of %s", line)
		}
		for _, m := range tests {
			named[m[1]+" "+m[2]] = true
			if !exist[m[1]+" "+m[2]] {
				t.Errorf("docs/guarantees.md: there is no test %s in %s", m[2], m[1])
			}
		}
	}
	if len(named) == 0 {
		t.Error("docs/guarantees.md names no test")
	}
	for name, path := range proofs {
		if !named["lab/proof "+name] {
			t.Errorf("%s: docs/guarantees.md has no row for `lab/proof %s`", path, name)
		}
	}
}
