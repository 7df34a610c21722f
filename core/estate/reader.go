package estate

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// reader walks syntax trees, remembers where each value stands, and collects
// what is wrong instead of stopping at it.
type reader struct {
	file     string
	at       map[path]place       // of each value, and of each key under path.key()
	bad      map[path]bool        // values that were reported; checks on them would only echo
	includes map[string][]include // by file
	order    map[path][]string    // if not nil: the known keys of each mapping that was read
	problems []Problem
}

func newReader() *reader {
	return &reader{at: map[path]place{}, bad: map[path]bool{}, includes: map[string][]include{}}
}

func (r *reader) place(n ast.Node) place {
	p := placeOf(n)
	p.file = r.file
	return p
}

// placeOf returns line and column of a node's first letter.
func placeOf(n ast.Node) (at place) {
	// A mapping's own token is its first colon; people look for its first key.
	switch v := n.(type) {
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return placeOf(v.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return placeOf(v.Key)
	case nil:
		return at
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		at.line, at.col = t.Position.Line, t.Position.Column
	}
	return at
}

// fail reports that the value p, which stands at n, is wrong.
func (r *reader) fail(n ast.Node, p path, format string, args ...any) {
	r.bad[p] = true
	r.report(r.place(n), p, format, args...)
}

func (r *reader) report(at place, p path, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	if p != "" {
		msg = p.String() + ": " + msg
	}
	r.problems = append(r.problems, Problem{File: at.file, Line: at.line, Col: at.col, Message: msg})
}

// note remembers where a value stands.
func (r *reader) note(n ast.Node, p path) {
	if _, ok := r.at[p]; !ok {
		r.at[p] = r.place(n)
	}
}

// said says whether the file has the value p, right or wrong.
func (r *reader) said(p path) bool {
	_, ok := r.at[p]
	return ok
}

// find returns where p stands, or failing that the nearest thing around it.
func (r *reader) find(p path) place {
	for ; p != ""; p = p.parent() {
		for _, q := range []path{p, p.key()} {
			if at, ok := r.at[q]; ok {
				return at
			}
		}
	}
	return place{}
}

// spoilt says whether p, or something around it, was reported already.
func (r *reader) spoilt(p path) bool {
	p = path(strings.TrimSuffix(string(p), keyMark))
	for ; p != ""; p = p.parent() {
		if r.bad[p] {
			return true
		}
	}
	return false
}

// entry is one key of a mapping with its value.
type entry struct {
	key   string
	at    ast.Node // the key
	value ast.Node
}

// entries lists a mapping's keys in their order, each once; a key that stands
// twice is reported. ok is false when n is no mapping.
func (r *reader) entries(n ast.Node, p path) (out []entry, ok bool) {
	var values []*ast.MappingValueNode
	switch v := n.(type) {
	case *ast.MappingNode:
		values = v.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{v}
	case *ast.NullNode:
		return nil, true
	default:
		r.fail(n, p, "here a mapping (key: value) is needed, this is %s", kindOf(n))
		return nil, false
	}
	seen := map[string]place{}
	for _, v := range values {
		k, ok := keyText(v.Key)
		if !ok {
			r.fail(v.Key, p, "a key has to be a plain word, this is %s", kindOf(v.Key))
			continue
		}
		if first, twice := seen[k]; twice {
			r.report(r.place(v.Key), p.to(k), "stands here for the second time, first at %s; keep one of them", first)
			continue
		}
		seen[k] = r.place(v.Key)
		out = append(out, entry{key: k, at: v.Key, value: v.Value})
	}
	return out, true
}

func keyText(n ast.MapKeyNode) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.IntegerNode:
		return v.Token.Value, true
	}
	return "", false
}

// kindOf names what stands there, in a person's words.
func kindOf(n ast.Node) string {
	switch v := n.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode:
		return fmt.Sprintf("the text %q", short(v.Value))
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.BoolNode:
		return "the truth value " + v.Token.Value
	case *ast.IntegerNode:
		return "the number " + short(v.Token.Value)
	case *ast.FloatNode:
		return "the number " + short(v.Token.Value)
	case *ast.InfinityNode, *ast.NanNode:
		return "no number that one can count with"
	}
	return "something else"
}

func short(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
