package estate

import (
	"bytes"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// Format writes a file in its canonical form: sections and keys in the order of the format, two
// spaces of indentation, at most one empty line in a row and one around each section of several
// lines. Comments stay with what they are about, what stands on one line in { } or [ ] stays there,
// and components, members and lists keep the order that their author gave them. What the file
// means does not change, and a formatted file stays as it is. It need not be valid, but YAML of
// the format's kind: the error is a [*Invalid] that says why it is not.
func Format(f File) ([]byte, error) {
	tree, problems := parse(f)
	if len(problems) > 0 {
		return nil, &Invalid{Problems: problems}
	}
	r := newReader()
	r.order = map[path][]string{}
	if _, ok := r.entries(tree, ""); !ok || tree.Type() == ast.NullType {
		return nil, &Invalid{Problems: []Problem{{File: f.Name, Line: 1, Col: 1, Message: "here a mapping (key: value) is needed, this is " + kindOf(tree)}}}
	}
	readObject(r, tree, "", fileFields(), &Estate{})

	lines := strings.Split(string(bytes.TrimPrefix(f.Data, []byte("\ufeff"))), "\n")
	b := &builder{lines: lines, order: r.order, busy: map[int]bool{}}
	tokens := lexer.Tokenize(strings.Join(lines, "\n"))
	for _, t := range tokens {
		if t.Type == token.CommentType {
			b.busy[t.Position.Line] = true
		}
	}
	top := &unit{}
	b.within(top, tree, "")
	if b.wrong != nil {
		at := placeOf(b.wrong)
		return nil, &Invalid{Problems: []Problem{{File: f.Name, Line: at.line, Col: at.col, Message: "this cannot stand in an estate file, so that nothing was formatted; see haechi estate check"}}}
	}
	out := top.file(b.attach(tokens))
	if same, why := means(f, tree, tokens, out); !same {
		return nil, &Invalid{Problems: []Problem{{File: f.Name, Message: why + ", so it was left as it is; write that part more plainly"}}}
	}
	return out, nil
}

// means says whether a formatted file says what the source says, comments included: a file is
// rather left alone than changed by a slip.
func means(f File, tree ast.Node, tokens token.Tokens, out []byte) (bool, string) {
	again, problems := parse(File{Name: f.Name, Data: out})
	if len(problems) > 0 || !alike(tree, again) {
		return false, "formatting would change what the file means"
	}
	if !slices.Equal(commentTexts(tokens), commentTexts(lexer.Tokenize(string(out)))) {
		return false, "formatting would lose a comment"
	}
	return true, ""
}

func commentTexts(tokens token.Tokens) []string {
	var out []string
	for _, t := range tokens {
		if t.Type == token.CommentType {
			out = append(out, strings.TrimSpace(t.Value))
		}
	}
	slices.Sort(out)
	return out
}

// alike compares two trees; the order of a mapping's keys means nothing.
func alike(a, b ast.Node) bool {
	if s, ok := a.(*ast.SequenceNode); ok {
		t, ok := b.(*ast.SequenceNode)
		return ok && slices.EqualFunc(s.Values, t.Values, alike)
	}
	if x, ok := stringOf(a); ok {
		y, ok := stringOf(b)
		return ok && x == y
	}
	if _, scalar := a.(ast.ScalarNode); scalar {
		return a.Type() == b.Type() && (a.Type() == ast.NullType || a.GetToken().Value == b.GetToken().Value)
	}
	if n := b.Type(); n != ast.MappingType && n != ast.MappingValueType {
		return false
	}
	byKey := func(n ast.Node) []*ast.MappingValueNode {
		all := slices.Clone(pairs(n))
		slices.SortStableFunc(all, func(x, y *ast.MappingValueNode) int {
			k, _ := keyText(x.Key)
			l, _ := keyText(y.Key)
			return strings.Compare(k, l)
		})
		return all
	}
	return slices.EqualFunc(byKey(a), byKey(b), func(x, y *ast.MappingValueNode) bool {
		k, _ := keyText(x.Key)
		l, _ := keyText(y.Key)
		return k == l && alike(x.Value, y.Value)
	})
}

// line is one line of the formatted file.
type line struct {
	text  string
	blank bool // an empty line comes before it
}

// file draws the whole, between what is said before and after it.
func (u *unit) file(header, footer []comment) []byte {
	out := linesOf(header)
	for i, kid := range u.kids {
		lines := kid.draw()
		switch {
		case i > 0 && (len(kid.kids) > 0 || len(u.kids[i-1].kids) > 0 || len(u.kids[i-1].foot) > 0):
			lines[0].blank = true
		case i == 0:
			lines[0].blank = len(header) > 0 && u.firstIsApart()
		}
		out = append(out, lines...)
	}
	var text bytes.Buffer
	for i, l := range append(out, linesOf(footer)...) {
		if l.blank && i > 0 {
			text.WriteByte('\n')
		}
		text.WriteString(l.text)
		text.WriteByte('\n')
	}
	return text.Bytes()
}

// firstIsApart says whether the source has an empty line between its header and what follows.
func (u *unit) firstIsApart() bool {
	first := u.kids[0]
	for _, kid := range u.kids {
		if kid.line < first.line {
			first = kid
		}
	}
	return first.blank
}

// draw returns the lines of a unit, not indented.
func (u *unit) draw() []line {
	before, own := u.parts()
	return append(before, own...)
}

// parts returns the comments before a unit, and the unit.
func (u *unit) parts() (before, own []line) {
	before = linesOf(u.head)
	first := line{text: strings.TrimSuffix(u.lead+" "+u.text, " "), blank: u.blank && len(u.head) == 0}
	if u.tail != "" {
		first.text += " " + u.tail
	}
	own = []line{first}
	for _, text := range u.block {
		own = append(own, indented(line{text: text}))
	}
	for i, kid := range u.kids {
		if i == 0 && u.lead == "-" { // its first key stands on the line of the dash
			var above []line
			above, own = kid.parts()
			before = append(before, above...)
			own[0] = line{text: "- " + own[0].text, blank: first.blank && len(before) == 0}
			for j := range own[1:] {
				own[j+1] = indented(own[j+1])
			}
			continue
		}
		lines := kid.draw()
		lines[0].blank = i > 0 && (lines[0].blank || len(u.kids[i-1].foot) > 0)
		for _, l := range lines {
			own = append(own, indented(l))
		}
	}
	return before, append(own, linesOf(u.foot)...)
}

func linesOf(comments []comment) []line {
	var out []line
	for _, c := range comments {
		out = append(out, line(c))
	}
	return out
}

func indented(l line) line {
	if l.text != "" {
		l.text = "  " + l.text
	}
	return l
}
