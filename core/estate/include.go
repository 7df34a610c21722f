package estate

import (
	"bytes"
	slash "path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// include is one pattern of a file, and where it stands.
type include struct {
	pattern string
	at      place
}

// includePattern names files of the estate, from the folder of the file that says so downwards.
// What lies outside is refused: an estate is a folder that can be copied, sent and reviewed, and
// to check a stranger's must not read, and perhaps print, other files of the machine.
var includePattern = text[string]("a file or a pattern of files", schema{"pattern": `\.ya?ml$`}, func(s string) string {
	_, malformed := slash.Match(s, "")
	switch {
	case slash.IsAbs(s):
		return "it begins with /; write it from the folder of this file, for example sites/*.yaml"
	case slices.Contains(strings.Split(s, "/"), ".."):
		return "it leaves the folder of this file with ..; keep the files of one estate beside or below the file that includes them, or give them to the command as well"
	case !isYAML(s):
		return "it names no .yaml or .yml file"
	case malformed != nil:
		return "its brackets do not match; * stands for any letters within a name, ? for one, [ab] for a or b"
	}
	return ""
})

func includeField() field[Estate] {
	l := list(includePattern)
	return field[Estate]{key: "include", doc: "further files of the estate, from the folder of this file: [pangyo.yaml, sites/*.yaml]", schema: l.schema, read: func(r *reader, n ast.Node, p path, _ *Estate) {
		patterns, ok := l.read(r, n, p)
		for i, pattern := range patterns {
			if at := r.place(n.(*ast.SequenceNode).Values[i]); ok && pattern != "" {
				r.includes[r.file] = append(r.includes[r.file], include{pattern, at})
			}
		}
	}}
}

// IsFileName says whether a file with this name, without its folder, belongs to an estate whose
// folder is read: .yaml or .yml, and not hidden.
func IsFileName(name string) bool { return isYAML(name) && !strings.HasPrefix(name, ".") }

func isYAML(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

// Includes lists the patterns under include: in a file, as they stand there, for whoever
// reads files. Where the file or a pattern is wrong there are none: [Load] says so.
func Includes(f File) []string {
	if !bytes.Contains(f.Data, []byte("include")) || len(f.Data) > MaxBytes {
		return nil
	}
	tree, problems := parse(f)
	if len(problems) > 0 {
		return nil
	}
	r := newReader()
	entries, _ := r.entries(tree, "")
	for _, e := range entries {
		if e.key == "include" {
			includeField().read(r, e.value, path("").to("include"), nil)
		}
	}
	var out []string
	for _, in := range r.includes[""] {
		out = append(out, in.pattern)
	}
	return out
}

// Included says whether a pattern of the file from includes the file named name. Wildcards pass
// over hidden files and over the file itself.
func Included(from, pattern, name string) bool {
	if wild := strings.ContainsAny(pattern, `*?[\`); wild && (name == from || !IsFileName(slash.Base(name))) {
		return false
	}
	// The folder is no pattern, whatever letters it holds.
	rest, below := name, true
	if dir := slash.Dir(from); dir != "." {
		rest, below = strings.CutPrefix(name, strings.TrimSuffix(dir, "/")+"/")
	}
	ok, _ := slash.Match(slash.Clean(pattern), rest)
	return ok && below
}

// checkIncludes finds patterns that no file answers to, and files that include each other in a
// ring. It is false where a part of the estate may not have been read.
func (r *reader) checkIncludes(files []File) bool {
	whole := !r.bad[path("").to("include")]
	next := map[string][]string{}
	for _, f := range files {
		for _, in := range r.includes[f.Name] {
			found := false
			for _, other := range files {
				if Included(f.Name, in.pattern, other.Name) {
					next[f.Name], found = append(next[f.Name], other.Name), true
				}
			}
			if !found {
				whole = false
				r.report(in.at, path("").to("include"), "%q includes nothing: of the files that were read none answers to it; correct it or leave it away", short(in.pattern))
			}
		}
	}
	for _, ring := range ringsOf(next) {
		from := ring[len(ring)-2]
		i := slices.IndexFunc(r.includes[from], func(in include) bool { return Included(from, in.pattern, ring[0]) })
		r.report(r.includes[from][i].at, path("").to("include"), "files include each other in a ring: %s; take one of these includes away", strings.Join(ring, " -> "))
	}
	return whole
}
