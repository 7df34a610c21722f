package estate

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/token"
)

// attach gives each comment to the unit that it is about. Those that stand before everything, or
// behind everything and not indented, are about the file.
func (b *builder) attach(tokens token.Tokens) (header, footer []comment) {
	last := 0 // the line on which something other than a comment stands
	var alone []*token.Token
	for _, t := range tokens {
		if t.Position == nil {
			continue
		}
		if t.Type != token.CommentType {
			last = t.Position.Line
			continue
		}
		if u := b.before(t.Position.Line + 1); t.Position.Line == last && u != nil {
			b.behind(u, t)
			continue
		}
		alone = append(alone, t)
	}
	for i, t := range alone {
		c := comment{text: "#" + strings.TrimRight(t.Value, " \t\r"), blank: b.emptyBefore(t.Position.Line)}
		end := t.Position.Line // of the comments that stand together
		for _, later := range alone[i+1:] {
			if later.Position.Line > end+1 {
				break
			}
			end = later.Position.Line
		}
		above, below := b.before(t.Position.Line), b.after(t.Position.Line)
		switch u := foot(above, below, t.Position.Column, b.emptyBefore(end+2)); {
		case above == nil:
			header = append(header, c)
		case below == nil && t.Position.Column == 1:
			footer = append(footer, c)
		case u != nil:
			u.foot = append(u.foot, c)
		default:
			below.head = append(below.head, c)
		}
	}
	return header, footer
}

// behind gives a unit the comment at the end of its line. A second one, or one of a value that
// begins on the next line after a dash, goes elsewhere.
func (b *builder) behind(u *unit, t *token.Token) {
	text := "#" + strings.TrimRight(t.Value, " \t\r")
	switch {
	case u.lead == "-" && len(u.kids) > 0 || len(u.block) > 0:
		u.head = append(u.head, comment{text: text})
	case u.tail != "":
		u.foot = append(u.foot, comment{text: text})
	default:
		u.tail = text
	}
}

// foot is the unit after which a comment on a line of its own stands, nil if it is about the unit
// below. above and below are the units around it; apart: an empty line comes before the one below.
func foot(above, below *unit, col int, apart bool) *unit {
	if above == nil {
		return nil
	}
	var done []*unit // those that end above the comment, the innermost first
	for u := above; u != nil && u.lead != "" && !inside(below, u); u = u.up {
		done = append(done, u)
	}
	if below != nil && !apart {
		done = slices.DeleteFunc(done, func(u *unit) bool { return col <= below.col || u.col <= below.col })
	}
	for _, u := range done {
		if u.col <= col {
			return u
		}
	}
	if len(done) > 0 {
		return done[len(done)-1]
	}
	return nil
}

// inside says whether u stands in a unit, or is it.
func inside(u, in *unit) bool {
	for ; u != nil; u = u.up {
		if u == in {
			return true
		}
	}
	return false
}

// before is the last unit that begins before a line; after is the first that begins behind it.
func (b *builder) before(line int) *unit {
	if i := b.first(line); i > 0 {
		return b.units[i-1]
	}
	return nil
}

func (b *builder) after(line int) *unit {
	if i := b.first(line + 1); i < len(b.units) {
		return b.units[i]
	}
	return nil
}

// first is the index of the first unit that begins on a line or behind it.
func (b *builder) first(line int) int {
	i, _ := slices.BinarySearchFunc(b.units, line, func(u *unit, l int) int { return u.line - l })
	return i
}
