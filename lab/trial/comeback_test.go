package trial

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/talk"
)

func TestSalvagedRowsAreFoundByTheirKey(t *testing.T) {
	var rows []salvagedRow
	err := json.Unmarshal([]byte(`[
		{"n":1,"database":"talk","schema":"public","table":"messages","op":"insert","key":["id"],"new":[{"column":"id","text":"a"},{"column":"body","text":"x"}]},
		{"n":2,"database":"talk","schema":"public","table":"방","op":"delete","key":["room","n"],"old":[{"column":"room","text":"r"},{"column":"n","text":"7"}]}]`), &rows)
	if err != nil || len(rows) != 2 || rows[0].key() != "a" || rows[0].Table != "messages" || rows[1].key() != "r,7" || rows[1].Table != "방" {
		t.Errorf("%v: %+v", err, rows)
	}
}

// A salvage that holds something else than was there, or says of a row that nobody was told of it where somebody was, is none
// to rely on.
func TestASalvageThatIsUntrueIsNotExact(t *testing.T) {
	planted := lab.Planted{Cancelled: []string{"c"}, OptedOut: []string{"o"}, Waiting: []string{"w"}}
	row := func(id, told string) salvagedRow {
		return salvagedRow{Table: "messages", Key: []string{"id"}, New: []value{{"id", id}, {"body", planted.Body(id)}}, Told: told}
	}
	if wrong := untrue([]salvagedRow{row("c", "unknown"), row("o", "unknown"), row("w", "never"), row("x", "never")}, planted); len(wrong) > 0 {
		t.Error(wrong)
	}
	if wrong := untrue([]salvagedRow{row("c", "never"), row("o", "never"), row("w", "unknown")}, planted); len(wrong) != 2 {
		t.Error(wrong)
	}
	other := row("w", "never")
	other.New[1].Text = planted.Body("c")
	if wrong := untrue([]salvagedRow{other}, planted); len(wrong) != 1 || !strings.Contains(wrong[0], "other contents") {
		t.Error(wrong)
	}
}

func TestPartsOfAReturnAreTimed(t *testing.T) {
	power := time.Unix(1000, 0)
	step := func(verb string, began int, seconds float64) PageStep {
		return PageStep{Verb: verb, State: "done", Started: power.Add(time.Duration(began) * time.Second), Seconds: seconds}
	}
	n := Page{Runs: []PageRun{
		{ID: "r-9", Kind: "recover", Subject: "ansan", Started: power.Add(9 * time.Second)},
		{ID: "r-3", Kind: "recover", Subject: "pangyo", Started: power.Add(3 * time.Second), Ended: power.Add(20 * time.Second),
			Steps: []PageStep{step("salvage", 3, 1), step("rejoin", 4, 2), step("return", 6, .5), step("announce", 3, .1), step("watch", 4, 4)}},
		{ID: "r-2", Kind: "recover", Subject: "pangyo", Started: power.Add(-time.Hour)},
	}}
	r, ok := n.latest("recover", "pangyo", power)
	if !ok || r.ID != "r-3" {
		t.Fatalf("%+v", r)
	}
	b := Back{Power: power, Salvaged: Never, Counted: Never, Home: Never, Whole: Never}
	if b.take(r); b.Salvaged != 4 || b.Counted != 6.5 || b.Home != 8 || b.Whole != 20 {
		t.Errorf("%+v", b)
	}
}

// The pause of the way home is the longest after it was ordered, not that of the fire.
func TestPauseOfTheWayHome(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	y := talk.Tally{Began: at(0), Ended: at(10)}
	for _, s := range []float64{1, 4, 8, 8.25, 9, 10} {
		y.Acks = append(y.Acks, talk.Ack{FirstSent: at(s), Intended: at(s), Acked: at(s)})
	}
	b := Back{Failback: at(8.1), FailbackPause: Never}
	if b.Measure(y); b.FailbackPause != 1 {
		t.Errorf("%v", b.FailbackPause)
	}
	b = Back{FailbackPause: Never}
	if b.Measure(y); b.FailbackPause != Never {
		t.Error("what was not ordered has a pause")
	}
}

func TestARunSaysWhereItIs(t *testing.T) {
	r := PageRun{Steps: []PageStep{{ID: 1, Verb: "salvage", State: "done"}, {ID: 2, Verb: "rejoin", Component: "talk-db", State: "running", Note: "copies"}}}
	if got := r.At(); !strings.Contains(got, "step 2 rejoin talk-db (running) copies") {
		t.Error(got)
	}
}
