package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
)

var fire = time.Date(2026, 11, 23, 15, 19, 0, 0, time.UTC)

func at(ms int) time.Time { return fire.Add(time.Duration(ms) * time.Millisecond) }

func TestScriptPrintsInTheOrderOfEvents(t *testing.T) {
	var out bytes.Buffer
	s := newScript(&out, false)
	s.add(line{at: at(900), word: "talk", text: "first acknowledgement"})
	s.add(line{at: at(530), word: "verdict", text: "pangyo is LOST"})
	s.burn(fire)
	s.add(line{at: fire, word: "FIRE", text: "fire in pangyo"})
	s.flush(at(600))
	if got := out.String(); strings.Contains(got, "first") {
		t.Fatalf("a line was printed before its time: %s", got)
	}
	s.flush(at(5000))
	want := "   T+0.00s  FIRE      fire in pangyo\n" +
		"  T+0.53s  verdict   pangyo is LOST\n" +
		"  T+0.90s  talk      first acknowledgement\n"
	if diff := cmp.Diff(strings.TrimLeft(want, " "), strings.TrimLeft(out.String(), " ")); diff != "" {
		t.Error(diff)
	}
}

func TestWrapKeepsEveryWord(t *testing.T) {
	text := strings.Repeat("가나다 word ", 40)
	rows := wrap(text, 30)
	if diff := cmp.Diff(strings.Fields(text), strings.Fields(strings.Join(rows, " "))); diff != "" {
		t.Error(diff)
	}
	for _, r := range rows {
		if len([]rune(r)) > 30 {
			t.Errorf("too long: %q", r)
		}
	}
}

func page(t *testing.T, step, status string) trial.Page {
	t.Helper()
	var n trial.Page
	r := trial.PageRun{ID: "r-2", Kind: "lose-site", Subject: "pangyo", Status: status, Started: at(540), Driver: "tower-ansan"}
	if step != "" {
		r.Steps = []trial.PageStep{{ID: 1, Verb: "seal", Component: "talk-db", State: step, Started: at(545), Seconds: .2}}
		n.Runs = []trial.PageRun{r}
	}
	return n
}

func TestStoryTellsEachThingOnce(t *testing.T) {
	s := newStory()
	if got := s.hear(page(t, "", "")); len(got) != 0 {
		t.Fatalf("told before anything happened: %v", got)
	}
	begin := s.hear(page(t, "running", "running"))
	if len(begin) != 1 || !strings.Contains(begin[0].text, "r-2 begins: lose-site pangyo") || begin[0].at != at(540) {
		t.Fatalf("%v", begin)
	}
	end := s.hear(page(t, "done", "running"))
	if len(end) != 1 || !strings.Contains(end[0].text, "seal") || end[0].at != at(745) {
		t.Fatalf("%v", end)
	}
	if again := s.hear(page(t, "done", "running")); len(again) != 0 {
		t.Fatalf("told twice: %v", again)
	}
}

func figures() trial.Figures {
	f := trial.Figures{
		Site: "pangyo", At: fire, Seed: 7, Clients: 200, Rate: 500, Acknowledged: 12345, Verdict: .53, Sealed: .7, Promoted: .95, FirstAck: 1.04, AllServed: 1.9,
		LongestPause: 1.02, Steps: []trial.Step{{Verb: "seal"}, {Verb: "promote"}}, Run: "r-000002", PlanHash: "0123456789abcdef", Judged: []string{"ansan (primary, and through talk)"}, Bars: trial.Bars{From: 2},
	}
	for i := range 60 {
		n := 50
		if i >= 20 && i < 30 {
			n = 0
		}
		f.Bars.Count = append(f.Bars.Count, n)
	}
	return f
}

func TestBoardIsForStrangers(t *testing.T) {
	got := board(figures(), nil)
	for _, want := range []string{"PANGYO burned at 15:19:00.000", "12,345", "of these lost", "1.04 s", "NOTHING WAS LOST.", "^         |", "fire      +1s", "▄▄▄▄▄▄▄▄▄▄          ▄▄▄"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

func TestOnlyAWholeDemoIsOK(t *testing.T) {
	for name, spoil := range map[string]func(*trial.Figures){
		"lost":         func(f *trial.Figures) { f.Lost = 1 },
		"duplicated":   func(f *trial.Figures) { f.Duplicated = 1 },
		"out of order": func(f *trial.Figures) { f.OutOfOrder = 1 },
		"too few":      func(f *trial.Figures) { f.Acknowledged = Least - 1 },
		"not served":   func(f *trial.Figures) { f.AllServed = trial.Never },
	} {
		f := figures()
		if !result(f, nil).OK {
			t.Fatal("a good demo is not OK")
		}
		if spoil(&f); result(f, nil).OK || strings.Contains(board(f, nil), "NOTHING WAS LOST") {
			t.Errorf("%s: OK", name)
		}
	}
}

func back() *trial.Back {
	return &trial.Back{Up: 3.2, Salvaged: 4, Counted: 6.5, Home: 9, Whole: 14.2, Planted: 15, Alone: 17, Rows: 17, Exact: true, Verified: true, FailbackPause: .21, Primary: "pangyo"}
}

func TestBoardTellsTheReturn(t *testing.T) {
	got := board(figures(), back())
	for _, want := range []string{"from the return of its power", "its database counted again", "6.50 s", "nothing was missing any more", "14.20 s", "exactly what it alone held", "0.21 s", "NOTHING WAS LOST, AND ALL IS AS IT WAS."} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	text, err := json.Marshal(result(figures(), back()))
	for _, want := range []string{`"ok":true`, `"salvaged_rows":17`, `"salvage_exact":true`, `"rejoin_s":6.5`, `"verified":true`, `"failback_pause_s":0.21`, `"redundancy":"whole"`} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s is missing: %v\n%s", want, err, text)
		}
	}
	if text, err := json.Marshal(result(figures(), nil)); err != nil || strings.Contains(string(text), "salvage") {
		t.Errorf("a demo without a return speaks of one: %v %s", err, text)
	}
}

func TestOnlyAWholeReturnIsOK(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*trial.Back)
		want  string
	}{
		"a row too few":  {func(b *trial.Back) { b.Exact, b.Wrong = false, []string{"public.messages x was not salvaged"} }, "what was salvaged is not"},
		"not compared":   {func(b *trial.Back) { b.Verified = false }, "were not compared"},
		"not whole":      {func(b *trial.Back) { b.Missing = []string{"tower-pangyo has no vote"} }, "tower-pangyo has no vote"},
		"never back":     {func(b *trial.Back) { b.Counted, b.Whole = trial.Never, trial.Never }, "did not come back"},
		"not at home":    {func(b *trial.Back) { b.Primary = "ansan" }, "did not come home"},
		"not moved home": {func(b *trial.Back) { b.FailbackPause = trial.Never }, "did not come home"},
	} {
		b := back()
		if !result(figures(), b).OK {
			t.Fatal("a good return is not OK")
		}
		if c.spoil(b); result(figures(), b).OK || !strings.Contains(board(figures(), b), c.want) {
			t.Errorf("%s: OK, or not told:\n%s", name, board(figures(), b))
		}
	}
}

// What an agent is at is told once for each phase, and a site that is up again is told, too.
func TestStoryTellsTheReturn(t *testing.T) {
	s := newStory()
	look := func(state, phase string) string {
		var n trial.Page
		text := `{"sites":[{"id":"pangyo","state":"` + state + `","because":["seen by ansan"]}],"stores":[{"id":"talk-db","members":[{"id":"pangyo","jobs":[{"what":"rejoin","phase":"` + phase + `"}]}]}]}`
		if err := json.Unmarshal([]byte(text), &n); err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, l := range s.hear(n) {
			out = append(out, l.text)
		}
		return strings.Join(out, "; ")
	}
	for _, c := range []struct{ state, phase, want string }{
		{"lost", "reads", ""}, {"lost", "reads", ""}, {"lost", "copies", "rejoin talk-db/pangyo: copies"}, {"up", "copies", "pangyo is UP: seen by ansan"}, {"up", "copies", ""},
	} {
		if got := look(c.state, c.phase); got != c.want {
			t.Errorf("%s, %s: told %q, want %q", c.state, c.phase, got, c.want)
		}
	}
}

// A lab that was up before, or that another demo has just raised, is not ours to remove.
func TestOnlyWhatTheDemoStartedIsTakenDown(t *testing.T) {
	refused := errors.New("a lab is up already")
	for _, c := range []struct {
		name    string
		started bool
		want    int
	}{{"nothing was started", false, 0}, {"it came up half", true, 1}} {
		lowered := 0
		o := Options{Lab: lab.Options{Name: "haechi-demo-unit"}, Lose: lab.Ansan, Clients: 10, Rate: 100, Out: io.Discard, Err: io.Discard}
		o.Raise = func(context.Context, lab.Options) (func(context.Context) error, error) {
			if !c.started {
				return nil, refused
			}
			return func(context.Context) error { lowered++; return nil }, refused
		}
		if err := Run(t.Context(), o); !errors.Is(err, refused) || strings.Count(err.Error(), refused.Error()) != 1 {
			t.Errorf("%s: %v", c.name, err)
		}
		if lowered != c.want {
			t.Errorf("%s: taken down %d times, want %d", c.name, lowered, c.want)
		}
	}
}

func TestAcksThatCannotBeKeptAreRefusedAtOnce(t *testing.T) {
	o := Options{Lab: lab.Options{Name: "haechi-demo-unit"}, Lose: lab.Ansan, Clients: 10, Rate: 100, Out: io.Discard, Err: io.Discard, Acks: t.TempDir()}
	o.Raise = func(context.Context, lab.Options) (func(context.Context) error, error) {
		t.Error("a lab was raised")
		return nil, errors.New("raised")
	}
	if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--acks: open "+o.Acks) {
		t.Error(err)
	}
}

func TestWhatIsOnPaperIsALineAndWhatIsBad(t *testing.T) {
	r := audit.Report{Components: 24, Scenarios: 21, Findings: []audit.Finding{
		{Severity: audit.Critical, Rule: audit.SPOF, Message: "talk is down when pangyo/battery is lost", Remedy: "give it a second one"},
		{Severity: audit.High, Rule: audit.Power, Message: "taken on", Accepted: &estate.Accepted{Owner: "kim"}},
		{Severity: audit.Low, Rule: audit.Residual, Message: "two at once"},
	}}
	want := `  On paper first: haechi audit tries 21 losses among 24 components and finds 1 critical, 0 high, 0 medium, 1 low, in 62 ms.
  CRITICAL spof: talk is down when pangyo/battery is lost; do: give it a second one

`
	if diff := cmp.Diff(want, paper(r, 62*time.Millisecond)); diff != "" {
		t.Error(diff)
	}
}

// Without the program that audits there is a demo all the same, and it says so.
func TestNoAuditIsTold(t *testing.T) {
	o := Options{Lab: lab.Options{Bin: t.TempDir()}}
	if got := o.audited(t.Context()); !strings.Contains(got, "nobody knows") || !strings.Contains(got, "make build") {
		t.Errorf("%q", got)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{Lose: lab.Ansan, Clients: 10, Rate: 100}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	err := Options{Lose: "busan", Clients: 0, Rate: 1e6}.Validate()
	if err == nil || strings.Count(err.Error(), "--") != 3 {
		t.Errorf("not every problem is said: %v", err)
	}
}
