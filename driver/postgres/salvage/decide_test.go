package salvage

import (
	"strings"
	"testing"
)

// row is one about table t with key id and a column v.
func row(n int, op Op, oldID, newID, v string) Row {
	r := Row{N: n, Database: "d", Schema: "s", Table: "t", Op: op, Key: []string{"id"}, Told: Never}
	if oldID != "" {
		r.Old = []Value{NewValue("id", "integer", oldID)}
	}
	if newID != "" {
		r.New = []Value{NewValue("id", "integer", newID), NewValue("v", "text", v)}
	}
	return r
}

// table is a primary's: id and v, and whether the row was written since the fork.
type table map[string]Now

func (t table) place(r Row) Place {
	before, _ := r.Before()
	after, _ := r.After()
	return Place{r, t[before[0].String()], t[after[0].String()]}
}

func stands(id, v string, untouched bool) Now {
	return Now{Values: []Value{NewValue("id", "integer", id), NewValue("v", "text", v)}, Untouched: untouched}
}

// write does what was decided.
func (t table) write(r Row, a Act) {
	before, _ := r.Before()
	after, _ := r.After()
	switch a {
	case Remove:
		delete(t, before[0].String())
	case Make, Alter:
		delete(t, before[0].String())
		v, _ := value(r.New, "v")
		t[after[0].String()] = stands(after[0].String(), v.String(), false)
	case Skip, Conflict:
	}
}

func TestDecide(t *testing.T) {
	whole := row(1, Update, "1", "1", "new")
	whole.Old, whole.Whole = append(whole.Old, NewValue("v", "text", "old")), true
	toast := row(1, Update, "", "1", "new")
	toast.New = append(toast.New, Value{Column: "big", State: Untouched})
	for what, c := range map[string]struct {
		r      Row
		now    table
		others []Row
		want   Act
	}{
		"insert, nothing there":             {row(1, Insert, "", "1", "new"), table{}, nil, Make},
		"insert, it is there":               {row(1, Insert, "", "1", "new"), table{"1": stands("1", "new", false)}, nil, Skip},
		"insert, another is there":          {row(1, Insert, "", "1", "new"), table{"1": stands("1", "other", false)}, nil, Conflict},
		"insert, another is there for long": {row(1, Insert, "", "1", "new"), table{"1": stands("1", "other", true)}, nil, Conflict},
		"update, as it was at the fork":     {row(1, Update, "", "1", "new"), table{"1": stands("1", "old", true)}, nil, Alter},
		"update, written since":             {row(1, Update, "", "1", "new"), table{"1": stands("1", "old", false)}, nil, Conflict},
		"update, written since as it was":   {whole, table{"1": stands("1", "old", false)}, nil, Alter},
		"update, written since otherwise":   {whole, table{"1": stands("1", "other", false)}, nil, Conflict},
		"update, it is so":                  {row(1, Update, "", "1", "new"), table{"1": stands("1", "new", false)}, nil, Skip},
		"update, gone":                      {row(1, Update, "", "1", "new"), table{}, nil, Conflict},
		"update, a large value unchanged":   {toast, table{"1": stands("1", "new", false)}, nil, Skip},
		"another key":                       {row(1, Update, "1", "2", "new"), table{"1": stands("1", "old", true)}, nil, Alter},
		"another key, it is so":             {row(1, Update, "1", "2", "new"), table{"2": stands("2", "new", false)}, nil, Skip},
		"another key, taken":                {row(1, Update, "1", "2", "new"), table{"1": stands("1", "old", true), "2": stands("2", "x", true)}, nil, Conflict},
		"delete, as it was":                 {row(1, Delete, "1", "", ""), table{"1": stands("1", "old", true)}, nil, Remove},
		"delete, gone":                      {row(1, Delete, "1", "", ""), table{}, nil, Skip},
		"delete, written since":             {row(1, Delete, "1", "", ""), table{"1": stands("1", "old", false)}, nil, Conflict},
		"a later row stands there":          {row(1, Update, "", "1", "a"), table{"1": stands("1", "b", false)}, []Row{row(2, Update, "", "1", "b")}, Skip},
		"an earlier row stands there":       {row(2, Update, "", "1", "b"), table{"1": stands("1", "a", false)}, []Row{row(1, Update, "", "1", "a")}, Alter},
		"made and removed again":            {row(1, Insert, "", "1", "a"), table{}, []Row{row(2, Delete, "1", "", "")}, Skip},
	} {
		got, why := Decide(c.now.place(c.r), c.others)
		if got != c.want || (why != "") != (got == Conflict) {
			t.Errorf("%s: %s (%s), want %s", what, got, why, c.want)
		}
	}
}

// To write a salvage back twice changes nothing the second time, whatever its rows do to each other.
func TestWritingBackTwiceChangesNothing(t *testing.T) {
	for what, rows := range map[string][]Row{
		"one row again and again": {row(1, Insert, "", "1", "a"), row(2, Update, "", "1", "b"), row(3, Update, "", "1", "c")},
		"made and removed":        {row(1, Insert, "", "1", "a"), row(2, Delete, "1", "", "")},
		"removed and made":        {row(1, Delete, "7", "", ""), row(2, Insert, "", "7", "b")},
		"changed and back":        {row(1, Update, "", "7", "b"), row(2, Update, "", "7", "seven")},
		"another key":             {row(1, Update, "7", "8", "b"), row(2, Update, "", "8", "c"), row(3, Delete, "8", "", "")},
	} {
		now := table{"7": stands("7", "seven", true)}
		pass := func() (writes int) {
			for _, r := range rows {
				a, why := Decide(now.place(r), rows)
				if a == Conflict {
					t.Fatalf("%s: row %d: %s", what, r.N, why)
				}
				if a != Skip {
					writes++
				}
				now.write(r, a)
			}
			return writes
		}
		pass()
		if n := pass(); n != 0 {
			t.Errorf("%s: %d writes the second time", what, n)
		}
	}
}

func TestOverwrite(t *testing.T) {
	toast := row(1, Update, "", "1", "new")
	toast.New = append(toast.New, Value{Column: "big", State: Untouched})
	for what, c := range map[string]struct {
		r    Row
		now  table
		want Act
	}{
		"another stands there":            {row(1, Insert, "", "1", "new"), table{"1": stands("1", "x", false)}, Alter},
		"it is gone":                      {row(1, Update, "", "1", "new"), table{}, Make},
		"it is gone, and was never whole": {toast, table{}, Conflict},
		"two rows":                        {row(1, Update, "1", "2", "new"), table{"1": stands("1", "x", false), "2": stands("2", "x", false)}, Conflict},
		"removed":                         {row(1, Delete, "1", "", ""), table{"1": stands("1", "x", false)}, Remove},
	} {
		got, err := Overwrite(c.now.place(c.r))
		if got != c.want || (err != nil) != (got == Conflict) {
			t.Errorf("%s: %s, %v, want %s", what, got, err, c.want)
		}
	}
}

func TestRowsThatCannotBeWrittenBackSayWhy(t *testing.T) {
	nokey := row(1, Insert, "", "1", "x")
	nokey.Key = nil
	for says, r := range map[string]Row{"TRUNCATE": {Op: Truncate}, "no key": nokey} {
		if err := r.Writable(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q in it", err, says)
		}
	}
	if _, err := row(1, Insert, "", "1", "x").Fit(map[string]bool{"id": false}); err == nil || !strings.Contains(err.Error(), `"v"`) {
		t.Errorf("a column that is gone: %v", err)
	}
	r, err := row(1, Insert, "", "1", "x").Fit(map[string]bool{"id": false, "v": true})
	if err != nil || len(r.New) != 1 {
		t.Errorf("a generated column: %+v, %v", r.New, err)
	}
}
