package estate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with an estate file, where it stands, and
// what to do about it. Line and Col count from 1; they are 0 where the problem
// belongs to no place (for example a section that is missing altogether).
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Col     int    `json:"col,omitempty"`
	Message string `json:"message"`
}

// String draws the problem the way compilers do, so that editors can jump to it.
func (p Problem) String() string {
	switch {
	case p.File == "":
		return p.Message
	case p.Line == 0:
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Col, p.Message)
}

// Invalid is the error of [Load]: every problem that was found, sorted by file
// (in the order given), line and column. It is never empty.
type Invalid struct{ Problems []Problem }

// Error lists all problems, one a line.
func (e *Invalid) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// maxProblems bounds what is reported: whoever made a thousand mistakes made one
// mistake a thousand times.
const maxProblems = 1000

// invalid sorts the problems as the files were given and bounds their number.
func invalid(problems []Problem, files []File) error {
	if len(problems) == 0 {
		return nil
	}
	order := map[string]int{}
	for i, f := range files {
		order[f.Name] = i + 1
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(order[a.File], order[b.File]),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Message, b.Message),
		)
	})
	problems = slices.Compact(problems)
	if n := len(problems); n > maxProblems {
		problems = append(problems[:maxProblems:maxProblems],
			Problem{Message: fmt.Sprintf("… and %d more problems; mend the ones above first", n-maxProblems)})
	}
	return &Invalid{Problems: problems}
}

// place is where something stands in the files.
type place struct {
	file      string
	line, col int
}

func (p place) String() string { return fmt.Sprintf("%s:%d:%d", p.file, p.line, p.col) }

// path names one value in the estate: its keys from the top, each after a sep.
// Keys may hold slashes and dots, so the separator is one that they cannot hold.
type path string

const (
	sep     = "\x00"
	keyMark = "\x01" // the path of a key itself, apart from its value
)

func (p path) to(keys ...string) path {
	for _, k := range keys {
		p += path(sep + k)
	}
	return p
}

func (p path) item(i int) path { return p.to(fmt.Sprint(i)) }

// key is where the key stands that leads to the value p.
func (p path) key() path { return p + keyMark }

func (p path) parent() path {
	i := strings.LastIndex(string(p), sep)
	if i < 0 {
		return ""
	}
	return p[:i]
}

// String shows the path as a person would say it.
func (p path) String() string {
	s := strings.TrimSuffix(strings.TrimPrefix(string(p), sep), keyMark)
	return strings.ReplaceAll(s, sep, ": ")
}
