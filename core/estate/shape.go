package estate

import (
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// A shape is one kind of value: how it is read from YAML, and how JSON Schema
// tells an editor about it. One table (format.go) is made of shapes and serves
// both, so that the loader and the schema cannot say different things.
type shape[V any] struct {
	schema schema
	read   func(r *reader, n ast.Node, p path) (V, bool)
}

// schema is a piece of JSON Schema.
type schema map[string]any

// A field is one key of a mapping that is read into a T.
type field[T any] struct {
	key, doc string
	must     bool // the mapping says too little without it
	schema   schema
	read     func(r *reader, n ast.Node, p path, into *T)
}

// key makes a field of a shape and the place that it is read into.
func key[T, V any](name, doc string, s shape[V], at func(*T) *V) field[T] {
	return field[T]{key: name, doc: doc, schema: s.schema, read: func(r *reader, n ast.Node, p path, into *T) {
		if v, ok := s.read(r, n, p); ok {
			*at(into) = v
		}
	}}
}

// required marks a key that has to be there.
func (f field[T]) required() field[T] {
	f.must = true
	return f
}

// object is a mapping with known keys. A key without a value is an object
// without keys, so that "ansan:" alone is a site.
func object[T any](fields ...field[T]) shape[T] {
	return shape[T]{schema: objectSchema(fields), read: func(r *reader, n ast.Node, p path) (T, bool) {
		var v T
		ok := readObject(r, n, p, fields, &v)
		return v, ok
	}}
}

// within is an object whose keys are read into the T around it.
func within[T any](name, doc string, fields ...field[T]) field[T] {
	return field[T]{key: name, doc: doc, schema: objectSchema(fields), read: func(r *reader, n ast.Node, p path, into *T) {
		readObject(r, n, p, fields, into)
	}}
}

func readObject[T any](r *reader, n ast.Node, p path, fields []field[T], into *T) bool {
	entries, ok := r.entries(n, p)
	if !ok {
		return false
	}
	if r.order != nil {
		r.order[p] = keysOf(fields)
	}
	missing := map[string]bool{}
	for _, f := range fields {
		missing[f.key] = f.must
	}
	for _, e := range entries {
		i := slices.IndexFunc(fields, func(f field[T]) bool { return f.key == e.key })
		if i < 0 {
			r.report(r.place(e.at), p, "the key %q is not known here; %s", short(e.key), DidYouMean(e.key, keysOf(fields)))
			continue
		}
		missing[e.key] = false
		q := p.to(e.key)
		r.note(e.at, q.key())
		r.note(e.value, q)
		fields[i].read(r, e.value, q, into)
	}
	for _, f := range fields {
		if missing[f.key] {
			at := r.place(n)
			if known, ok := r.at[p.key()]; ok {
				at = known
			}
			r.bad[p.to(f.key)] = true
			r.report(at, p, "%s is missing: %s", f.key, f.doc)
		}
	}
	return true
}

func keysOf[T any](fields []field[T]) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.key
	}
	return out
}

// dict is a mapping whose keys are names of K, checked by name.
func dict[K ~string, V any](name nameRule, of shape[V]) shape[map[K]V] {
	return shape[map[K]V]{schema: dictSchema(name, of.schema), read: func(r *reader, n ast.Node, p path) (map[K]V, bool) {
		entries, ok := r.entries(n, p)
		if !ok || len(entries) == 0 {
			return nil, ok
		}
		out := map[K]V{}
		for _, e := range entries {
			q := p.to(e.key)
			if why := name.wrong(e.key); why != "" {
				r.fail(e.at, p, "%q is no good as %s: %s", short(e.key), name.what, why)
				continue
			}
			r.note(e.at, q.key())
			r.note(e.value, q)
			v, ok := of.read(r, e.value, q)
			if !ok {
				r.bad[q] = true // declared, though nothing is known of it
			}
			out[K(e.key)] = v
		}
		return out, true
	}}
}

// declares is a section of the file: a dict that several files add to.
func declares[K ~string, V any](section, doc string, name nameRule, of shape[V], at func(*Estate) *map[K]V) field[Estate] {
	d := dict[K](name, of)
	return field[Estate]{key: section, doc: doc, schema: d.schema, read: func(r *reader, n ast.Node, p path, into *Estate) {
		all := at(into)
		before := map[K]place{}
		for k := range *all {
			before[k] = r.at[p.to(string(k)).key()]
		}
		more, _ := d.read(r, n, p)
		for k, v := range more {
			if first, twice := before[k]; twice {
				r.duplicate(n, p, string(k), first)
				continue
			}
			if *all == nil {
				*all = map[K]V{}
			}
			(*all)[k] = v
		}
	}}
}

// duplicate reports a name that another file has declared already.
func (r *reader) duplicate(n ast.Node, p path, name string, first place) {
	entries, _ := newReader().entries(n, p)
	for _, e := range entries {
		if e.key == name {
			r.report(r.place(e.at), p.to(name), "is declared already at %s; keep one of them", first)
		}
	}
}

// list is a sequence.
func list[V any](of shape[V]) shape[[]V] {
	return shape[[]V]{schema: schema{"type": "array", "items": of.schema}, read: func(r *reader, n ast.Node, p path) ([]V, bool) {
		s, ok := n.(*ast.SequenceNode)
		if !ok {
			r.fail(n, p, "here a list ([a, b]) is needed, this is %s", kindOf(n))
			return nil, false
		}
		var out []V
		for i, item := range s.Values {
			q := p.item(i)
			r.note(item, q)
			v, ok := of.read(r, item, q)
			if !ok {
				r.bad[q] = true
			}
			out = append(out, v)
		}
		return out, true
	}}
}

// optional is a value of which it matters whether it was said.
func optional[V any](of shape[V]) shape[*V] {
	return shape[*V]{schema: of.schema, read: func(r *reader, n ast.Node, p path) (*V, bool) {
		v, ok := of.read(r, n, p)
		return &v, ok
	}}
}

// oneOrMore is a list for which a single value may stand alone.
func oneOrMore[V any](of shape[V]) shape[[]V] {
	many := list(of)
	return shape[[]V]{schema: schema{"anyOf": []schema{of.schema, many.schema}}, read: func(r *reader, n ast.Node, p path) ([]V, bool) {
		if _, ok := n.(*ast.SequenceNode); ok {
			return many.read(r, n, p)
		}
		r.note(n, p.item(0))
		v, ok := of.read(r, n, p.item(0))
		return []V{v}, ok
	}}
}

func objectSchema[T any](fields []field[T]) schema {
	props, must := schema{}, []string{}
	for _, f := range fields {
		s := schema{"description": f.doc}
		for k, v := range f.schema {
			s[k] = v
		}
		props[f.key] = s
		if f.must {
			must = append(must, f.key)
		}
	}
	out := schema{"type": []string{"object", "null"}, "properties": props, "additionalProperties": false}
	if len(must) > 0 {
		out["type"] = "object"
		out["required"] = must
	}
	return out
}

func dictSchema(name nameRule, of schema) schema {
	return schema{
		"type":                 []string{"object", "null"},
		"propertyNames":        schema{"pattern": name.pattern.String(), "maxLength": maxName},
		"additionalProperties": of,
	}
}
