package estate

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// SameSite ends a need that means the instance beside me, not any live one.
const SameSite = "@same-site"

// needs is a list of requirements. Its schema is a reference, since needs nest.
var needs = shape[[]Need]{schema: schema{"$ref": "#/$defs/needs"}, read: readNeeds}

func readNeeds(r *reader, n ast.Node, p path) ([]Need, bool) {
	return list(shape[Need]{read: readNeed}).read(r, n, p)
}

func readNeed(r *reader, n ast.Node, p path) (Need, bool) {
	if name, ok := stringOf(n); ok {
		if why := needRule(name); why != "" {
			r.fail(n, p, "%q is no name: %s", short(name), why)
			return Need{}, false
		}
		return Need{Name: name}, true
	}
	if _, scalar := n.(ast.ScalarNode); scalar {
		r.fail(n, p, "here a name, {any: […]} or {atleast: 2, of: […]} is needed, this is %s", kindOf(n))
		return Need{}, false
	}
	return readCount(r, n, p)
}

func needRule(name string) string {
	name = strings.TrimSuffix(name, SameSite)
	if dnsName.wrong(name) == "" {
		return ""
	}
	return plainName.wrong(name)
}

// countNeed is {any: […]} or {atleast: n, of: […]}.
type countNeed struct {
	any, of []Need
	atleast int
}

func countFields() []field[countNeed] {
	return []field[countNeed]{
		{key: "any", doc: "one of these is enough", read: func(r *reader, n ast.Node, p path, into *countNeed) { into.any, _ = readNeeds(r, n, p) }},
		key("atleast", "how many of them are enough", count(1, most), func(c *countNeed) *int { return &c.atleast }),
		{key: "of", doc: "the needs that are counted", read: func(r *reader, n ast.Node, p path, into *countNeed) { into.of, _ = readNeeds(r, n, p) }},
	}
}

func readCount(r *reader, n ast.Node, p path) (Need, bool) {
	var c countNeed
	if !readObject(r, n, p, countFields(), &c) {
		return Need{}, false
	}
	_, hasAny := r.at[p.to("any")]
	_, hasOf := r.at[p.to("of")]
	_, hasLeast := r.at[p.to("atleast")]
	switch {
	case hasAny && !hasOf && !hasLeast:
		if len(c.any) == 0 {
			r.fail(n, p, "any of nothing can never be met; name at least one")
			return Need{}, false
		}
		return Need{AtLeast: 1, Of: c.any}, true
	case hasAny || !hasOf || !hasLeast:
		r.fail(n, p, "write either {any: […]} or {atleast: 2, of: […]}")
		return Need{}, false
	case r.bad[p.to("atleast")] || r.bad[p.to("of")]:
		return Need{}, false
	case c.atleast > len(c.of):
		r.fail(n, p, "atleast %d of %d can never be met", c.atleast, len(c.of))
		return Need{}, false
	}
	return Need{AtLeast: c.atleast, Of: c.of}, true
}

// needsSchema is what "#/$defs/needs" stands for.
func needsSchema() schema {
	self := schema{"$ref": "#/$defs/needs"}
	return schema{"type": "array", "items": schema{"anyOf": []schema{
		{"type": "string"},
		{"type": "object", "additionalProperties": false, "required": []string{"any"}, "properties": schema{"any": self}},
		{"type": "object", "additionalProperties": false, "required": []string{"atleast", "of"}, "properties": schema{
			"atleast": schema{"type": "integer", "minimum": 1}, "of": self,
		}},
	}}}
}

// httpURL is where a probe looks.
var httpURL = text[string]("a URL", nil, func(s string) string {
	u, err := url.Parse(strings.ReplaceAll(s, "{address}", "192.0.2.1"))
	switch {
	case err != nil:
		return "it cannot be read as a URL"
	case u.Scheme != "http" && u.Scheme != "https":
		return "it begins neither with http:// nor with https://"
	case u.Host == "":
		return "it names no host; write for example https://{address}/healthz"
	case u.User != nil:
		return "the estate holds no passwords"
	}
	return ""
})

var absolutePath = text[string]("an absolute path", nil, func(s string) string {
	if filepath.IsAbs(s) && filepath.Clean(s) == s {
		return ""
	}
	return "write the whole path, beginning with /, without . or .."
})

// settingsShape keeps an engine's settings raw, as JSON would hold them:
// numbers are float64.
var settingsShape = shape[map[string]any]{schema: schema{"type": []string{"object", "null"}}, read: func(r *reader, n ast.Node, p path) (map[string]any, bool) {
	v, ok := readRaw(r, n, p)
	m, _ := v.(map[string]any)
	if ok && m == nil && v != nil {
		r.fail(n, p, "here a mapping (key: value) is needed, this is %s", kindOf(n))
		return nil, false
	}
	if len(m) == 0 {
		return nil, ok
	}
	return m, ok
}}

func readRaw(r *reader, n ast.Node, p path) (any, bool) {
	r.note(n, p)
	switch v := n.(type) {
	case *ast.NullNode:
		return nil, true
	case *ast.BoolNode:
		return v.Value, true
	case *ast.MappingNode, *ast.MappingValueNode:
		return readRawMapping(r, n, p)
	case *ast.SequenceNode:
		out, all := []any{}, true
		for i, item := range v.Values {
			x, ok := readRaw(r, item, p.item(i))
			out, all = append(out, x), all && ok
		}
		return out, all
	}
	if s, ok := stringOf(n); ok {
		return s, true
	}
	if f, ok := floatOf(n); ok {
		return f, true
	}
	r.fail(n, p, "%s cannot be a setting", kindOf(n))
	return nil, false
}

func readRawMapping(r *reader, n ast.Node, p path) (any, bool) {
	entries, ok := r.entries(n, p)
	out := map[string]any{}
	for _, e := range entries {
		q := p.to(e.key)
		r.note(e.at, q.key())
		v, fine := readRaw(r, e.value, q)
		out[e.key], ok = v, ok && fine
	}
	return out, ok
}

// String draws the need as the file spells it.
func (n Need) String() string {
	if n.Of == nil {
		return n.Name
	}
	parts := make([]string, len(n.Of))
	for i, o := range n.Of {
		parts[i] = o.String()
	}
	list := "[" + strings.Join(parts, ", ") + "]"
	if n.AtLeast == 1 {
		return "{any: " + list + "}"
	}
	return fmt.Sprintf("{atleast: %d, of: %s}", n.AtLeast, list)
}
