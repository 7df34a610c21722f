package salvage

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Op is what a transaction did to a row.
type Op string

// The ops. By comparison alone an update cannot be told from what it replaced, see [Row.Before].
const (
	Insert   Op = "insert"
	Update   Op = "update"
	Delete   Op = "delete"
	Truncate Op = "truncate" // of a whole table; it is shown, and never written back
)

// Told is what is known of whether a client was told that the row is saved.
type Told string

// What may be known.
const (
	Never   Told = "never"   // the session waited for other members until its server was stopped
	Unknown Told = "unknown" // nobody can say; Row.Why says why
)

// Row is one change that only the member that was read holds.
type Row struct {
	N        int    `json:"n"` // from 1, in the order of commits
	Database string `json:"database"`
	Schema   string `json:"schema"`
	Table    string `json:"table"`
	Op       Op     `json:"op"`
	// Key are the columns by which the row is found; empty where the table has none.
	Key []string `json:"key,omitempty"`
	// Old are values before the change: those of the key, or all of them where Whole says so.
	Old   []Value `json:"old,omitempty"`
	Whole bool    `json:"whole,omitempty"`
	New   []Value `json:"new,omitempty"`
	XID   uint32  `json:"xid,omitempty"` // of the transaction
	// At is when it was committed, by the member's clock; zero where only a comparison found it.
	At   time.Time `json:"at,omitzero"`
	Told Told      `json:"told"`
	Why  string    `json:"why,omitempty"`  // with Unknown
	Note string    `json:"note,omitempty"` // what could not be found out about this row, in words
}

// Value is one column's.
type Value struct {
	Column string `json:"column"`
	Type   string `json:"type,omitempty"`
	State  State  `json:"state,omitempty"`
	Text   string `json:"text,omitempty"` // as the type's output function writes it
	Raw    []byte `json:"raw,omitempty"`  // instead of Text, where that would be no UTF-8
}

// State says what a value is beyond its text.
type State string

// The states.
const (
	Known     State = ""
	Null      State = "null"
	Untouched State = "untouched" // a large value that the transaction did not change, so the log does not hold it
)

// NewValue is a known value with the text that a server gave.
func NewValue(column, typ, text string) Value {
	if utf8.ValidString(text) {
		return Value{Column: column, Type: typ, Text: text}
	}
	return Value{Column: column, Type: typ, Raw: []byte(text)}
}

// String is the value's text, whatever its encoding; empty where it has none.
func (v Value) String() string {
	if v.Raw != nil {
		return string(v.Raw)
	}
	return v.Text
}

// Same says whether two values are known to be equal.
func (v Value) Same(o Value) bool {
	return v.State == o.State && v.State != Untouched && v.String() == o.String()
}

// Name is the table as a person writes it: database, schema and table.
func (r Row) Name() string { return r.Database + "." + r.Schema + "." + r.Table }

// value finds a column.
func value(all []Value, column string) (Value, bool) {
	i := slices.IndexFunc(all, func(v Value) bool { return v.Column == column })
	if i < 0 {
		return Value{}, false
	}
	return all[i], true
}

// Before are the key's values before the change, by which the row is found now; false where they
// are not known.
func (r Row) Before() ([]Value, bool) { return r.keyOf(r.Old, r.New) }

// After are the key's values after the change: where the row is to be found once it is written back.
func (r Row) After() ([]Value, bool) {
	if r.Op == Delete {
		return r.Before()
	}
	return r.keyOf(r.New, r.Old)
}

func (r Row) keyOf(first, then []Value) ([]Value, bool) {
	out := make([]Value, 0, len(r.Key))
	for _, k := range r.Key {
		v, ok := value(first, k)
		if !ok {
			v, ok = value(then, k)
		}
		if !ok || v.State != Known {
			return nil, false
		}
		out = append(out, v)
	}
	return out, len(out) > 0
}

// check holds a row to what the format promises.
func (r Row) check(n int) error {
	switch {
	case r.N != n:
		return fmt.Errorf("row %d stands at place %d", r.N, n)
	case r.Database == "" || r.Schema == "" || r.Table == "":
		return fmt.Errorf("row %d names no table", n)
	case r.Told != Never && r.Told != Unknown:
		return fmt.Errorf("row %d: told is %q; it is %s or %s", n, r.Told, Never, Unknown)
	case r.Told == Unknown && r.Why == "":
		return fmt.Errorf("row %d does not say why it is unknown whether a client was told", n)
	}
	switch r.Op {
	case Insert, Update:
		if len(r.New) == 0 {
			return fmt.Errorf("row %d: an %s without new values", n, r.Op)
		}
	case Delete:
		if len(r.New) > 0 {
			return fmt.Errorf("row %d: a delete with new values", n)
		}
	case Truncate:
		if len(r.New)+len(r.Old)+len(r.Key) > 0 {
			return fmt.Errorf("row %d: a truncate with values", n)
		}
	default:
		return fmt.Errorf("row %d: op %q is none of %s, %s, %s, %s", n, r.Op, Insert, Update, Delete, Truncate)
	}
	for _, side := range [][]Value{r.Old, r.New} {
		if err := checkValues(side); err != nil {
			return fmt.Errorf("row %d: %w", n, err)
		}
	}
	if _, ok := r.After(); len(r.Key) > 0 && !ok {
		return fmt.Errorf("row %d: its key (%s) has no values", n, strings.Join(r.Key, ", "))
	}
	return nil
}

func checkValues(all []Value) error {
	seen := map[string]bool{}
	for _, v := range all {
		switch {
		case v.Column == "":
			return fmt.Errorf("a value without a column")
		case seen[v.Column]:
			return fmt.Errorf("column %q stands there twice", v.Column)
		case v.State != Known && v.State != Null && v.State != Untouched:
			return fmt.Errorf("column %q: state %q is not known", v.Column, v.State)
		case v.State != Known && v.String() != "":
			return fmt.Errorf("column %q is %s and has a value", v.Column, v.State)
		case v.Text != "" && v.Raw != nil:
			return fmt.Errorf("column %q has two values", v.Column)
		}
		seen[v.Column] = true
	}
	return nil
}
