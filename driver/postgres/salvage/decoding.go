package salvage

import (
	"fmt"
	"strings"
	"time"
)

// Change is one line that test_decoding writes about rows.
type Change struct {
	Op     Op
	Tables []Relation // one, or those of a truncate
	Old    []Value    // nil: the log does not hold them. Columns that were NULL are missing
	New    []Value
	Bare   bool // the log holds no values at all: "(no-tuple-data)"
}

// Relation is a table.
type Relation struct{ Schema, Table string }

// Line is one line of test_decoding. At most one of its fields is set; none, where the line is
// about nothing that a row is made of, such as a message.
type Line struct {
	Begin  bool
	Commit *Commit
	Change *Change
}

// Commit is the end of a transaction.
type Commit struct {
	XID uint32
	At  time.Time // zero, unless it was asked for
}

// ParseLine takes one line of test_decoding apart, as PostgreSQL 14 to 17 write it. What it does not
// understand to the last byte is an error: half a row is worse than none.
func ParseLine(text string) (Line, error) {
	switch {
	case strings.HasPrefix(text, "BEGIN"):
		return Line{Begin: true}, nil
	case strings.HasPrefix(text, "COMMIT "):
		c, err := parseCommit(text)
		return Line{Commit: &c}, err
	case strings.HasPrefix(text, "message: "):
		return Line{}, nil
	case strings.HasPrefix(text, "table "):
		p := &parser{text: text, at: len("table ")}
		c := p.change()
		if p.err != nil {
			return Line{}, fmt.Errorf("test_decoding: %w", p.err)
		}
		return Line{Change: &c}, nil
	}
	return Line{}, fmt.Errorf("test_decoding: %.80q begins with nothing that is known", text)
}

// parseCommit reads "COMMIT 734 (at 2026-11-26 07:05:48.693651+00)".
func parseCommit(text string) (Commit, error) {
	var c Commit
	if _, err := fmt.Sscanf(text, "COMMIT %d", &c.XID); err != nil {
		return c, fmt.Errorf("test_decoding: %.80q: %w", text, err)
	}
	_, at, ok := strings.Cut(text, "(at ")
	if !ok {
		return c, nil
	}
	var err error
	if c.At, err = time.Parse("2006-01-02 15:04:05.999999999Z07", strings.TrimSuffix(at, ")")); err != nil {
		return c, fmt.Errorf("test_decoding: %.80q: %w", text, err)
	}
	c.At = c.At.UTC()
	return c, nil
}

// parser walks over one line. After the first error nothing moves any more.
type parser struct {
	text string
	at   int
	err  error
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("byte %d of %.80q: %s", p.at, p.text, fmt.Sprintf(format, args...))
	}
}

func (p *parser) rest() string { return p.text[p.at:] }

// take goes past text, if it is there.
func (p *parser) take(text string) bool {
	if p.err != nil || !strings.HasPrefix(p.rest(), text) {
		return false
	}
	p.at += len(text)
	return true
}

func (p *parser) want(text string) {
	if p.err == nil && !p.take(text) {
		p.fail("%q is missing", text)
	}
}

// change reads `public.t: UPDATE: old-key: a[integer]:1 new-tuple: a[integer]:2`.
func (p *parser) change() Change {
	c := Change{Tables: []Relation{p.relation()}}
	for p.take(", ") {
		c.Tables = append(c.Tables, p.relation())
	}
	p.want(": ")
	switch {
	case p.take("INSERT:"):
		c.Op = Insert
		c.New, c.Bare = p.tuple()
	case p.take("UPDATE:"):
		c.Op = Update
		if p.take(" old-key:") {
			c.Old, _ = p.values()
			p.want(" new-tuple:")
		}
		c.New, c.Bare = p.tuple()
	case p.take("DELETE:"):
		c.Op = Delete
		c.Old, c.Bare = p.tuple()
	case p.take("TRUNCATE:"):
		c.Op = Truncate
		p.flags()
	default:
		p.fail("it is none of INSERT, UPDATE, DELETE, TRUNCATE")
	}
	if len(c.Tables) > 1 && c.Op != Truncate {
		p.fail("%s of several tables", c.Op)
	}
	if p.err == nil && p.at < len(p.text) {
		p.fail("there is more than was expected")
	}
	return c
}

// flags reads those of a truncate.
func (p *parser) flags() {
	if p.take(" (no-flags)") {
		return
	}
	restart := p.take(" restart_seqs")
	if cascade := p.take(" cascade"); !restart && !cascade {
		p.fail("flags are missing")
	}
}

func (p *parser) tuple() (values []Value, bare bool) {
	if p.take(" (no-tuple-data)") {
		return nil, true
	}
	return p.values()
}

// values reads ` a[integer]:1 b[text]:'x'` up to the end, or to " new-tuple:".
func (p *parser) values() (out []Value, _ bool) {
	for p.err == nil && p.at < len(p.text) && !strings.HasPrefix(p.rest(), " new-tuple:") {
		p.want(" ")
		v := Value{Column: p.identifier()}
		p.want("[")
		v.Type = p.typeName()
		p.want("]:")
		p.literal(&v)
		out = append(out, v)
	}
	return out, false
}

// relation reads a name with its schema. A temporary or dropped schema has none in the log.
func (p *parser) relation() Relation {
	first := p.identifier()
	if p.err == nil && !p.take(".") {
		p.fail("a table without a schema")
	}
	return Relation{first, p.identifier()}
}

// identifier reads a name that may be quoted as SQL quotes it.
func (p *parser) identifier() string {
	if p.err != nil {
		return ""
	}
	if p.take(`"`) {
		return p.quoted('"')
	}
	start := p.at
	for p.at < len(p.text) && plain(p.text[p.at]) {
		p.at++
	}
	if p.at == start {
		p.fail("a name is missing")
	}
	return p.text[start:p.at]
}

// plain says whether PostgreSQL leaves a byte of a name without quotes.
func plain(b byte) bool {
	return b == '_' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9'
}

// quoted reads up to the closing quote, which stands twice where it is meant.
func (p *parser) quoted(q byte) string {
	if i := strings.IndexByte(p.rest(), q); p.err == nil && i >= 0 && (p.at+i+1 == len(p.text) || p.text[p.at+i+1] != q) {
		text := p.text[p.at : p.at+i] // most have none inside, and some are a hundred megabytes long
		p.at += i + 1
		return text
	}
	var out strings.Builder
	for p.err == nil {
		i := strings.IndexByte(p.rest(), q)
		if i < 0 {
			p.fail("%c is not closed", q)
			break
		}
		out.WriteString(p.text[p.at : p.at+i])
		p.at += i + 1
		if p.at >= len(p.text) || p.text[p.at] != q {
			break
		}
		out.WriteByte(q)
		p.at++
	}
	return out.String()
}

// typeName reads up to the bracket that closes it: names may be quoted, and arrays have brackets of their own.
func (p *parser) typeName() string {
	start, depth := p.at, 0
	for p.err == nil && p.at < len(p.text) {
		switch p.text[p.at] {
		case '"':
			p.at++
			p.quoted('"')
			continue
		case '[':
			depth++
		case ']':
			if depth == 0 {
				if p.at == start {
					p.fail("a type is missing")
				}
				return p.text[start:p.at]
			}
			depth--
		}
		p.at++
	}
	p.fail("a type is not closed")
	return ""
}

// literal reads a value as test_decoding writes it: numbers bare, bits as B'…', booleans as words,
// all else between quotes.
func (p *parser) literal(v *Value) {
	switch {
	case p.take("'"):
		*v = NewValue(v.Column, v.Type, p.quoted('\''))
		return
	case p.take("B'"):
		v.Text = p.quoted('\'')
		return
	}
	start := p.at
	if i := strings.IndexByte(p.rest(), ' '); i >= 0 {
		p.at += i
	} else {
		p.at = len(p.text)
	}
	switch word := p.text[start:p.at]; {
	case p.err != nil:
	case word == "null":
		v.State = Null
	case word == "unchanged-toast-datum":
		v.State = Untouched
	case v.Type == "boolean" && word == "true":
		v.Text = "t"
	case v.Type == "boolean" && word == "false":
		v.Text = "f"
	case number(word):
		v.Text = word
	default:
		p.at = start
		p.fail("%.20q is no value", word)
	}
}

// number says whether a bare word can be a number: test_decoding writes no others bare.
func number(word string) bool {
	switch strings.TrimPrefix(word, "-") {
	case "":
		return false
	case "Infinity", "NaN":
		return true
	}
	for _, c := range word {
		if !strings.ContainsRune("0123456789+-.eE", c) {
			return false
		}
	}
	return true
}
