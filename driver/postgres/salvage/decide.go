package salvage

import (
	"fmt"
	"slices"
)

// Now is what stands under a key on the primary.
type Now struct {
	Values []Value `json:"values,omitempty"` // nil: there is no such row
	// Untouched says that nobody wrote the row since the fork, so it is what the member had, too.
	Untouched bool `json:"untouched,omitempty"`
}

// There says whether there is such a row.
func (n Now) There() bool { return n.Values != nil }

// Act is what writing a row back comes to.
type Act string

// The acts.
const (
	Skip     Act = "skip"   // it stands as wanted already, or a later row of the salvage does
	Make     Act = "insert" // the row is made
	Alter    Act = "update" // it is changed to the new values
	Remove   Act = "delete" // it is removed
	Conflict Act = "conflict"
)

// Place is a row of a salvage with what the primary has where it is, and where it is to be.
// They differ only where the change is one of the key.
type Place struct {
	Row    Row
	Before Now // under the key before the change
	After  Now // under the key after it
}

// Fit says whether the primary's table takes the row, and leaves out of it what the table makes
// itself. columns are the table's, and whether each is generated.
func (r Row) Fit(columns map[string]bool) (Row, error) {
	keep := func(all []Value) ([]Value, error) {
		var out []Value
		for _, v := range all {
			generated, there := columns[v.Column]
			if !there {
				return nil, fmt.Errorf("row %d: column %q of %s is gone on the primary: write this row by hand, or not at all", r.N, v.Column, r.Name())
			}
			if !generated || slices.Contains(r.Key, v.Column) {
				out = append(out, v)
			}
		}
		return out, nil
	}
	var err error
	if r.New, err = keep(r.New); err != nil {
		return r, err
	}
	r.Old, err = keep(r.Old)
	return r, err
}

// Writable says why a row can never be written back by itself; nil: it can.
func (r Row) Writable() error {
	switch {
	case r.Op == Truncate:
		return fmt.Errorf("row %d: %s was emptied by TRUNCATE; that is not done again by this command: decide by hand", r.N, r.Name())
	case len(r.Key) == 0:
		return fmt.Errorf("row %d: %s has no key, so nobody can tell whether the row stands there already: write it by hand", r.N, r.Name())
	}
	if _, ok := r.Before(); !ok {
		return fmt.Errorf("row %d: the log does not say which row of %s it was: %s", r.N, r.Name(), r.Note)
	}
	return nil
}

// Stands says whether the primary is as the row wants it.
func (p Place) Stands() bool {
	key, _ := p.Row.After()
	return p.Row.leaves(key, p.After)
}

// leaves says whether what stands under a key is what a row leaves there.
func (r Row) leaves(key []Value, now Now) bool {
	if at, _ := r.After(); r.Op == Delete || !same(at, key) {
		return !now.There()
	}
	return now.There() && matches(r.New, now.Values)
}

// touches says whether a row is about a key, before the change or after it.
func (r Row) touches(key []Value) bool {
	before, _ := r.Before()
	after, _ := r.After()
	return same(before, key) || same(after, key)
}

// Decide says what to do about a row so that the primary is as it wants, and why not where there is
// a conflict: what is there is neither as the member had it, nor as the salvage leaves it. others
// are the rows of the same table and salvage, before it and after.
func Decide(p Place, others []Row) (Act, string) {
	r := p.Row
	before, _ := r.Before()
	after, _ := r.After()
	if p.Stands() {
		return Skip, ""
	}
	for _, o := range others {
		if o.N > r.N && o.touches(after) && o.leaves(after, p.After) {
			return Skip, ""
		}
	}
	ours := p.Before.Untouched || r.Whole && matches(r.Old, p.Before.Values) ||
		slices.ContainsFunc(others, func(o Row) bool { return o.N < r.N && o.touches(before) && o.leaves(before, p.Before) })
	switch {
	case r.Op == Insert && !p.After.There():
		return Make, ""
	case r.Op == Insert:
		return Conflict, "another row stands under this key"
	case !p.Before.There():
		return Conflict, "the row is not there any more, or never was"
	case !ours:
		return Conflict, "somebody has changed the row since"
	case r.Op == Delete:
		return Remove, ""
	case !same(before, after) && p.After.There():
		return Conflict, "another row stands under the key that it is to have"
	}
	return Alter, ""
}

// Overwrite is what to do about a conflict where people have said that the salvage is right. The
// error says where even that decides nothing.
func Overwrite(p Place) (Act, error) {
	r := p.Row
	before, _ := r.Before()
	after, _ := r.After()
	unknown := slices.IndexFunc(r.New, func(v Value) bool { return v.State == Untouched })
	switch {
	case r.Op == Delete:
		return Remove, nil
	case !same(before, after) && p.After.There():
		return Conflict, fmt.Errorf("row %d: %s has a row under the old key and one under the new: decide by hand which stays", r.N, r.Name())
	case p.Before.There() || p.After.There():
		return Alter, nil
	case unknown >= 0:
		return Conflict, fmt.Errorf("row %d: it cannot be made anew in %s, since the log does not hold its column %q", r.N, r.Name(), r.New[unknown].Column)
	}
	return Make, nil
}

// same says whether two lists of key values are equal.
func same(a, b []Value) bool {
	return slices.EqualFunc(a, b, func(x, y Value) bool { return x.Column == y.Column && x.Same(y) })
}

// matches says whether all values that are known of a row are the ones that stand there. Where a
// column is missing on one side it is not compared; those of old rows are missing where they were NULL.
func matches(want, have []Value) bool {
	if len(have) == 0 {
		return false
	}
	for _, w := range want {
		if h, ok := value(have, w.Column); ok && w.State != Untouched && !w.Same(h) {
			return false
		}
	}
	return true
}
