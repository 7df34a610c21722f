package estate

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of what is read. They are far above any real estate (a thousand hosts
// take 60 KB) and keep hostile input from costing more than a few seconds.
const (
	MaxBytes  = 10 << 20 // over all files
	maxTokens = 300_000  // in one file
	maxKeys   = 20_000   // at one level of one file: the parser's cost is its square
	maxDepth  = 32
	maxName   = 253
)

// parse reads one file into its top mapping. What could make the parser run
// long, deep or wide is refused before it sees it. A nil node with no problem
// does not happen.
func parse(f File) (ast.Node, []Problem) {
	at := func(line, col int, format string, args ...any) []Problem {
		return []Problem{{File: f.Name, Line: line, Col: col, Message: fmt.Sprintf(format, args...)}}
	}
	data := bytes.TrimPrefix(f.Data, []byte("\ufeff"))
	if line, col, what := badText(data); what != "" {
		return nil, at(line, col, "%s", what)
	}
	tokens := lexer.Tokenize(string(data))
	if problem := guard(tokens); problem != nil {
		problem.File = f.Name
		return nil, []Problem{*problem}
	}
	tree, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, []Problem{syntax(f.Name, err)}
	}
	var bodies []ast.Node
	for _, d := range tree.Docs {
		if d.Body != nil && d.Body.Type() != ast.CommentType {
			bodies = append(bodies, d.Body)
		}
	}
	switch len(bodies) {
	case 0:
		return nil, at(1, 1, "the file is empty; an estate begins with the line: haechi: v1")
	case 1:
		return bodies[0], nil
	}
	p := placeOf(bodies[1])
	return nil, at(p.line, p.col, "a second document begins here; put it into a file of its own")
}

// badText finds the first byte that no text file should have.
func badText(data []byte) (line, col int, what string) {
	line, col = 1, 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return line, col, fmt.Sprintf("the byte 0x%02x is not UTF-8; save the file as plain UTF-8 text", data[i])
		case unseen(r) != "":
			return line, col, unseen(r)
		case r == '\n':
			line, col = line+1, 0
		}
		i, col = i+n, col+1
	}
	return 0, 0, ""
}

// unseen says what is wrong with a letter that does something to text and shows nothing itself:
// a file must mean what it looks like. Letters of all scripts are fine, those from right to left, too.
func unseen(r rune) string {
	switch {
	case r < ' ' && r != '\n' && r != '\r' && r != '\t', r >= 0x7f && r <= 0x9f:
		return fmt.Sprintf("the control character 0x%02x does not belong into text; save the file as plain UTF-8 text", r)
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return fmt.Sprintf("the character U+%04X turns the direction of text around, so that a file reads other than it is; take it away", r)
	case r == 0x2028, r == 0x2029, r == 0xfeff:
		return fmt.Sprintf("the character U+%04X is not to be seen and means different things to different programs; take it away", r)
	}
	return ""
}

// guard refuses what the parser would pay for dearly: nesting without end,
// aliases (which multiply), tags, and too much of everything.
func guard(tokens token.Tokens) *Problem {
	if len(tokens) > maxTokens {
		return &Problem{Message: fmt.Sprintf("the file has %d words and signs, more than %d; split it into several files", len(tokens), maxTokens)}
	}
	flow, run, line := []int{}, 0, 0 // keys in each open { or [; "- " and "? " in a row on one line
	block := map[int]int{}           // keys by column
	for _, t := range tokens {
		if t.Position == nil {
			continue
		}
		bad := func(format string, args ...any) *Problem {
			return &Problem{Line: t.Position.Line, Col: t.Position.Column, Message: fmt.Sprintf(format, args...)}
		}
		if t.Position.Line != line {
			line, run = t.Position.Line, 0
		}
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			return bad("anchors and aliases (& and * and <<) are not part of the estate file; write the value out")
		case token.TagType, token.DirectiveType:
			return bad("%s: tags and directives (! and %%) are not part of the estate file; leave it away", strings.TrimSpace(t.Value))
		case token.DoubleQuoteType: // the one place where a letter may be written as something else
			for _, r := range t.Value {
				if what := unseen(r); what != "" {
					return bad("%s", what)
				}
			}
		case token.InvalidType:
			return bad("not YAML: %s", invalidToken(t))
		case token.SequenceStartType, token.MappingStartType:
			flow = append(flow, 0)
		case token.SequenceEndType, token.MappingEndType:
			if len(flow) > 0 {
				flow = flow[:len(flow)-1]
			}
		case token.SequenceEntryType, token.MappingKeyType:
			run++
		case token.MappingValueType:
			if n := len(flow); n > 0 {
				flow[n-1]++
				if flow[n-1] > maxKeys {
					return bad("more than %d keys in one mapping; split the estate into several files", maxKeys)
				}
				break
			}
			run++
			block[t.Position.IndentNum]++
			if block[t.Position.IndentNum] > maxKeys {
				return bad("more than %d keys at one level; split the estate into several files", maxKeys)
			}
		}
		if len(flow) > maxDepth || run > maxDepth || t.Position.IndentNum > 20*maxDepth {
			return bad("nested more than %d deep; an estate needs no such depth", maxDepth)
		}
	}
	return nil
}

func invalidToken(t *token.Token) string {
	if t.Error != "" {
		return t.Error + tabHint(t.Error)
	}
	return fmt.Sprintf("%q cannot stand here", strings.TrimSpace(t.Value))
}

// syntax turns the parser's error into a problem with its place.
func syntax(file string, err error) Problem {
	p := Problem{File: file, Message: "not YAML: " + firstLine(err.Error())}
	var e yaml.Error
	if !errors.As(err, &e) {
		return p
	}
	p.Message = "not YAML: " + e.GetMessage()
	if t := e.GetToken(); t != nil && t.Position != nil {
		p.Line, p.Col = t.Position.Line, t.Position.Column
	}
	p.Message += tabHint(p.Message)
	return p
}

func tabHint(message string) string {
	if strings.Contains(message, `'\t'`) {
		return "; indent with spaces, not with tabs"
	}
	return ""
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
