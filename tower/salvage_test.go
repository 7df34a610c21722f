package tower

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/driver/postgres"
	"github.com/haechi/haechi/driver/postgres/salvage"
	"github.com/haechi/haechi/tower/web"
)

func shownRow(op salvage.Op, id, v string) postgres.ShownRow {
	row := postgres.ShownRow{Row: salvage.Row{Database: "talk", Schema: "public", Table: "w", Op: op, Key: []string{"id"}, Told: salvage.Never}}
	values := []postgres.Shown{{Column: "id", Text: id}, {Column: "v", Text: v}}
	if op == salvage.Delete {
		row.Old = values[:1]
	} else {
		row.New = values
	}
	return row
}

func TestHowARowStands(t *testing.T) {
	there := func(v string, untouched bool) postgres.ShownNow {
		return postgres.ShownNow{There: true, Untouched: untouched, Values: []postgres.Shown{{Column: "id", Text: "1"}, {Column: "v", Text: v}}}
	}
	long := shownRow(salvage.Insert, "1", "begin")
	long.New[1].Bytes, long.New[1].SHA256 = 2000, "aa"
	other := there("begin", false)
	other.Values[1].Bytes, other.Values[1].SHA256 = 2000, "bb"
	for what, c := range map[string]struct {
		row  postgres.ShownRow
		now  postgres.ShownNow
		want string
	}{
		"made, and there":          {shownRow(salvage.Insert, "1", "new"), there("new", false), web.StandsSo},
		"made, and not there":      {shownRow(salvage.Insert, "1", "new"), postgres.ShownNow{}, web.StandsMissing},
		"made, another is there":   {shownRow(salvage.Insert, "1", "new"), there("x", false), web.StandsChanged},
		"changed, still as before": {shownRow(salvage.Update, "1", "new"), there("old", true), web.StandsBefore},
		"removed, and gone":        {shownRow(salvage.Delete, "1", ""), postgres.ShownNow{}, web.StandsSo},
		"removed, and there":       {shownRow(salvage.Delete, "1", ""), there("old", true), web.StandsBefore},
		"long, with another end":   {long, other, web.StandsChanged},
	} {
		if got := stands(c.row, c.now); got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
}

// Long keys are asked about in several questions, and each answer comes to its row.
func TestWhatStandsIsAskedInPieces(t *testing.T) {
	var rows []postgres.ShownRow
	for i := range 100 {
		row := shownRow(salvage.Insert, fmt.Sprint(i)+strings.Repeat("x", 1000), "v")
		if i%10 == 0 {
			row.Key = nil
		}
		rows = append(rows, row)
	}
	asked := 0
	ask := func(keys []agent.RowKey) (out []postgres.ShownNow, err error) {
		asked++
		for _, k := range keys {
			out = append(out, postgres.ShownNow{There: true, Values: []postgres.Shown{{Text: k.Values[0]}}})
		}
		return out, nil
	}
	now, err := standing(rows, ask)
	if err != nil || asked < 3 {
		t.Fatalf("%d questions, %v", asked, err)
	}
	for i, n := range now {
		if (n == nil) != (i%10 == 0) || n != nil && !strings.HasPrefix(n.Values[0].Text, fmt.Sprint(i)+"x") {
			t.Errorf("row %d: %+v", i, n)
		}
	}
	now, err = standing(rows, func([]agent.RowKey) ([]postgres.ShownNow, error) { return nil, errors.New("no answer") })
	if err == nil || now[1] != nil {
		t.Errorf("%v, %v", now[1], err)
	}
	if row := webRow(rows[1], nil, err); row.Stands != web.StandsUnknown || row.Why != "no answer" {
		t.Errorf("%+v", row)
	}
}
