package estate

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Diff says in words what changes from a to b, one change a line, sorted. It
// is empty when the two mean the same.
func Diff(a, b Estate) []string {
	var out []string
	compare(reflect.ValueOf(a), reflect.ValueOf(b), "", &out)
	slices.Sort(out)
	return out
}

// compare walks two values of one type side by side.
func compare(a, b reflect.Value, label string, out *[]string) {
	switch {
	case a.Kind() == reflect.Struct:
		for i := range a.NumField() {
			k, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
			compare(a.Field(i), b.Field(i), join(label, k), out)
		}
	case a.Kind() == reflect.Map && a.Type().Elem().Kind() != reflect.Interface:
		compareMaps(a, b, strings.TrimSuffix(label, "s"), out)
	case draw(a) != draw(b):
		*out = append(*out, fmt.Sprintf("%s: %s -> %s", label, draw(a), draw(b)))
	}
}

func compareMaps(a, b reflect.Value, label string, out *[]string) {
	for _, k := range a.MapKeys() {
		name := fmt.Sprintf("%s %v", label, k)
		if other := b.MapIndex(k); other.IsValid() {
			compare(a.MapIndex(k), other, name, out)
			continue
		}
		*out = append(*out, name+" removed")
	}
	for _, k := range b.MapKeys() {
		if !a.MapIndex(k).IsValid() {
			*out = append(*out, fmt.Sprintf("%s %v added%s", label, k, drawn(b.MapIndex(k))))
		}
	}
}

// drawn adds a value that is short enough to stand in one line.
func drawn(v reflect.Value) string {
	if v.Kind() == reflect.Struct {
		return ""
	}
	return ": " + draw(v)
}

func join(label, key string) string {
	if label == "" {
		return key
	}
	return label + ": " + key
}

// draw shows a leaf as the file spells it.
func draw(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String()
	case []Need:
		parts := make([]string, len(x))
		for i, n := range x {
			parts[i] = n.String()
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		if len(x) == 0 {
			return "{}"
		}
		raw, err := json.Marshal(x)
		if err != nil {
			return fmt.Sprint(x)
		}
		return string(raw)
	}
	switch v.Kind() {
	case reflect.String:
		if v.Len() == 0 {
			return "nothing"
		}
		return v.String()
	case reflect.Slice, reflect.Array:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = draw(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}
