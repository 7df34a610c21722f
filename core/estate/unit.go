package estate

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// unit is what stands on lines of its own when a file is formatted: a key with its value, or an
// item of a list, and the comments that belong to it.
type unit struct {
	up        *unit
	lead      string // "key:" or "-"
	text      string // the value, where it stands on the same line
	block     []string
	kids      []*unit
	rank      int // its place among the keys of its mapping
	line, col int // where it stands in the source
	blank     bool
	head      []comment // before it, after it, and at the end of its first line
	foot      []comment
	tail      string
}

// comment is one line of comment.
type comment struct {
	text  string
	blank bool // an empty line stands before it
}

// builder makes units of a syntax tree.
type builder struct {
	lines []string          // of the source
	order map[path][]string // the keys of each mapping that has known ones, in the order of the format
	busy  map[int]bool      // source lines with a comment
	units []*unit           // all, as they stand in the source
	wrong ast.Node          // something that no estate holds
}

func (b *builder) add(up *unit, lead string, value ast.Node, p path, at place) *unit {
	u := &unit{up: up, lead: lead, line: at.line, col: at.col, blank: b.emptyBefore(at.line)}
	b.units = append(b.units, u)
	switch {
	case b.standsOnOneLine(value):
		u.text = b.oneLine(value, p, !strings.HasSuffix(lead, ":"))
	case value.Type() == ast.LiteralType:
		b.literal(u, value.(*ast.LiteralNode))
	default:
		b.within(u, value, p)
	}
	return u
}

// within makes the units of a mapping or a list.
func (b *builder) within(u *unit, n ast.Node, p path) {
	if s, ok := n.(*ast.SequenceNode); ok {
		for i, item := range s.Values {
			at := placeOf(item)
			if !s.IsFlowStyle && i < len(s.Entries) && s.Entries[i].Start != nil {
				at.line, at.col = s.Entries[i].Start.Position.Line, s.Entries[i].Start.Position.Column
			}
			u.kids = append(u.kids, b.add(u, "-", item, p.item(i), at))
		}
		return
	}
	for _, v := range pairs(n) {
		key := b.scalar(v.Key)
		name, _ := keyText(v.Key)
		kid := b.add(u, key+":", v.Value, p.to(name), placeOf(v.Key))
		kid.rank = b.rank(p, name)
		u.kids = append(u.kids, kid)
	}
	slices.SortStableFunc(u.kids, func(x, y *unit) int { return x.rank - y.rank })
}

// rank orders known keys as the format does, and all others after them as they come.
func (b *builder) rank(p path, key string) int {
	known := b.order[p]
	if i := slices.Index(known, key); i >= 0 {
		return i
	}
	return len(known)
}

func pairs(n ast.Node) []*ast.MappingValueNode {
	switch v := n.(type) {
	case *ast.MappingNode:
		return v.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{v}
	}
	return nil
}

// standsOnOneLine says whether a value is written behind its key: a scalar, or a { } or [ ] that
// the source has on one line. A comment within makes it stand on several.
func (b *builder) standsOnOneLine(n ast.Node) bool {
	var from, to *token.Token
	switch v := n.(type) {
	case *ast.MappingNode:
		from, to = v.Start, v.End
		if len(v.Values) == 0 {
			return !b.commented(from, to)
		}
		if !v.IsFlowStyle {
			return false
		}
	case *ast.SequenceNode:
		from, to = v.Start, v.End
		if len(v.Values) == 0 {
			return !b.commented(from, to)
		}
		if !v.IsFlowStyle {
			return false
		}
	case *ast.MappingValueNode:
		return v.IsFlowStyle
	default:
		return n.Type() != ast.LiteralType
	}
	return from != nil && to != nil && from.Position.Line == to.Position.Line
}

func (b *builder) commented(from, to *token.Token) bool {
	if from == nil || to == nil {
		return false
	}
	for l := from.Position.Line; l < to.Position.Line; l++ {
		if b.busy[l] {
			return true
		}
	}
	return false
}

// oneLine writes a value on one line. item: it is an item of a list, so that nothing has to be written out.
func (b *builder) oneLine(n ast.Node, p path, item bool) string {
	switch v := n.(type) {
	case *ast.SequenceNode:
		out := make([]string, len(v.Values))
		for i, x := range v.Values {
			out[i] = b.oneLine(x, p.item(i), true)
		}
		return "[" + strings.Join(out, ", ") + "]"
	case *ast.MappingNode, *ast.MappingValueNode:
		kids := slices.Clone(pairs(n))
		rank := func(v *ast.MappingValueNode) int {
			name, _ := keyText(v.Key)
			return b.rank(p, name)
		}
		slices.SortStableFunc(kids, func(x, y *ast.MappingValueNode) int { return rank(x) - rank(y) })
		out := make([]string, len(kids))
		for i, v := range kids {
			name, _ := keyText(v.Key)
			out[i] = strings.TrimSuffix(b.scalar(v.Key)+": "+b.oneLine(v.Value, p.to(name), false), " ")
		}
		return "{" + strings.Join(out, ", ") + "}"
	case *ast.NullNode:
		if !item {
			return ""
		}
	}
	return b.scalar(n)
}

// scalar writes a value as the source does, quotes included.
func (b *builder) scalar(n ast.Node) string {
	switch v := n.(type) {
	case *ast.StringNode:
		switch {
		case v.Token.Type == token.DoubleQuoteType || strings.ContainsAny(v.Value, "\n\r"):
			return quoted(v.Value)
		case v.Token.Type == token.SingleQuoteType:
			return "'" + strings.ReplaceAll(v.Value, "'", "''") + "'"
		}
		return v.Value
	case *ast.LiteralNode: // where a block cannot stand
		return quoted(v.Value.Value)
	case *ast.NullNode:
		return "null"
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return v.GetToken().Value
	}
	if b.wrong == nil {
		b.wrong = n
	}
	return ""
}

func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}

// literal keeps the lines of a block of text (| or >) as they are, indentation apart.
func (b *builder) literal(u *unit, n *ast.LiteralNode) {
	text := n.Value.Value
	header := strings.TrimSpace(n.Start.Value)
	if strings.Trim(header, "|>-") != "" || strings.TrimSpace(text) == "" || strings.ContainsAny(text[:1], " \t\n") || strings.Contains(text, "\r") {
		u.text = quoted(text)
		return
	}
	indent := -1
	for _, line := range b.lines[min(n.Start.Position.Line, len(b.lines)):] {
		in := len(line) - len(strings.TrimLeft(line, " "))
		switch {
		case strings.TrimSpace(line) == "":
			u.block = append(u.block, "")
			continue
		case indent < 0:
			indent = in
		}
		if in < indent {
			break
		}
		u.block = append(u.block, line[indent:])
	}
	for len(u.block) > 0 && u.block[len(u.block)-1] == "" {
		u.block = u.block[:len(u.block)-1]
	}
	u.text = header
}

func (b *builder) emptyBefore(line int) bool {
	return line >= 2 && line-2 < len(b.lines) && strings.TrimSpace(b.lines[line-2]) == ""
}
