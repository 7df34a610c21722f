package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/verify"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/talk"
	"github.com/haechi/haechi/lab/trial"
)

func quiet() *returns {
	return &returns{ReturnOptions: ReturnOptions{GB: 10, Workload: Workload{Clients: trial.ManyClients}, Say: func(string) {}}}
}

func TestReturnReportSaysWhatIsShort(t *testing.T) {
	b := quiet()
	b.is("whole", 12)
	b.is("salvage", 40, "scaled: 2 GB instead of 10")
	b.is("exact", 100)
	b.is("counts", 70)
	if err := b.r.Short(); err != nil {
		t.Errorf("all is reached: %v", err)
	}
	b.is("rejoin", 61)
	b.is("failback", -1, "the way home was refused")
	b.is("writes", 89)
	b.cannot("cost", "nothing to compare with")
	b.cannot("patroni", "it is not installed")
	err := b.r.Short()
	for _, want := range []string{"rejoin by rewind: 61.00 s, must be 60", "failback: longest pause, as clients see it: not measured", "rejoins: 89.00 %", "throughput: not measured", "synchronous: not measured"} {
		if !errors.Is(err, ErrShort) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing: %v", want, err)
		}
	}
	for _, not := range []string{"redundancy whole", "after the member answers", "exact", "counts again"} {
		if strings.Contains(err.Error(), not) {
			t.Errorf("%q is called short: %v", not, err)
		}
	}
	for _, want := range []string{"goal met", "must met (scaled: 2 GB instead of 10)", "NOT MET", "NOT MET, not measured: it never happened; the way home was refused", "NOT MET, not measured: nothing to compare with", "to compare with"} {
		if !strings.Contains(b.r.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.r)
		}
	}
	var order []string
	for _, n := range b.r.Numbers {
		order = append(order, n.Row)
	}
	if got := strings.Join(order, " "); got != "whole failback counts exact salvage rejoin writes cost patroni" {
		t.Errorf("the rows stand as %s", got)
	}
}

// What a part did not come to is a row all the same, and one part alone leaves the others' rows as they were.
func TestEveryRowIsInTheReport(t *testing.T) {
	b := quiet()
	b.Out = filepath.Join(t.TempDir(), "out", "report.json")
	peace := func(do func(*returns, context.Context) error) part {
		return part{name: "peace", do: do, rows: []row{{name: "cost"}}}
	}
	b.is("whole", 12)
	if err := b.part(t.Context(), peace(func(*returns, context.Context) error { return errors.New("the lab is not up") })); err != nil {
		t.Fatal(err)
	}
	if n := b.r.Numbers; len(n) != 2 || n[1].Absent != "the lab is not up" {
		t.Errorf("%+v", n)
	}
	again := quiet()
	again.Out = b.Out
	if err := again.goOn(); err != nil {
		t.Fatal(err)
	}
	if err := again.part(t.Context(), peace(func(b *returns, _ context.Context) error { b.is("cost", .5); return nil })); err != nil {
		t.Fatal(err)
	}
	if n := again.r.Numbers; len(n) != 2 || n[0].Row != "whole" || n[1].Absent != "" || n[1].Reached != "goal" {
		t.Errorf("%+v", n)
	}
	text, err := os.ReadFile(b.Out)
	if err != nil || !strings.Contains(string(text), `"row": "cost"`) {
		t.Errorf("%v: %s", err, text)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.part(over, peace(func(*returns, context.Context) error { return nil })); !errors.Is(err, context.Canceled) {
		t.Errorf("a bench that was called off: %v", err)
	}
}

func TestPartsAreChosenByThemselvesOrByARow(t *testing.T) {
	for names, want := range map[string]string{"": "home large verify peace patroni", "peace": "peace", "rejoin,share": "large verify", "home,whole": "home"} {
		var only []string
		if names != "" {
			only = strings.Split(names, ",")
		}
		parts, err := chosen(only)
		var got []string
		for _, p := range parts {
			got = append(got, p.name)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %v %v, want %s", names, got, err, want)
		}
	}
	if _, err := chosen([]string{"peace", "war"}); err == nil || !strings.Contains(err.Error(), "--only war") || !strings.Contains(err.Error(), "large (exact, ") {
		t.Errorf("%v", err)
	}
	if _, err := Return(t.Context(), ReturnOptions{GB: .001, Rows: 1000}); err == nil || !strings.Contains(err.Error(), "--gb 0.001") {
		t.Errorf("%v", err)
	}
}

// Writes while a member rejoins are held against those before anything was done for that, not against none.
func TestTheLivingAreCompared(t *testing.T) {
	began := time.Unix(1000, 0)
	at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }
	var c cameBack
	ack := func(after float64, wait time.Duration) {
		c.tally.Acks = append(c.tally.Acks, talk.Ack{Acked: at(after), Intended: at(after).Add(-wait)})
	}
	for i := range 150 {
		ack(float64(i-150)/10+.001, 10*time.Millisecond) // ten a second before
	}
	ack(2.5, time.Second) // while the lab looks into the ashes
	for i := range 27 {
		ack(15.001+float64(i)/9, 12*time.Millisecond) // nine a second while it rejoins
	}
	c.back = trial.Back{Began: began, Power: at(10), Steps: []trial.PageStep{
		{Verb: "salvage", Started: at(14), Seconds: .5}, {Verb: "rejoin", Started: at(15), Seconds: 3, Note: "ansan receives, by a rewind: it went on"}, {Verb: "return", Started: at(18), Seconds: 1}}}
	during, before, what := c.around()
	if before.rate != 10 || during.rate != 9 || during.middle != 12*time.Millisecond || before.middle != 10*time.Millisecond || what != "while it rejoined, 3.0 s" {
		t.Errorf("%+v %+v %s", during, before, what)
	}
	b := quiet()
	if b.living(c); len(b.r.Numbers) != 2 || b.r.Numbers[0].Measured != 90 || b.r.Numbers[1].Measured != 1.2 || b.r.Numbers[1].Reached != "must" {
		t.Errorf("%+v", b.r.Numbers)
	}
	c.back.Steps[1].Seconds = 1
	if _, _, what := c.around(); what != "from its salvage until it counted, 5.0 s" {
		t.Error("a second says nothing of a rate:", what)
	}
	if how(c.back) != "ansan receives, by a rewind: it went on" || took(c.back, "verify") != -1 {
		t.Error("a step that was not there took a time")
	}
	b = quiet()
	if b.living(cameBack{trouble: "it burned again"}); len(b.r.Numbers) != 2 || b.r.Numbers[0].Absent != "it burned again" {
		t.Errorf("%+v", b.r.Numbers)
	}
}

func TestLiesAreHeldAgainstWhatIsFound(t *testing.T) {
	planted := lies(lab.Ansan, lab.Anyang, 1000)
	found := []verify.Finding{
		{Kind: verify.Different, Member: "ansan", Table: "talk: bulk.rows", Key: "200"},
		{Kind: verify.Missing, Member: "ansan", Table: "talk: bulk.rows", Key: "500"},
		{Kind: verify.Extra, Member: "ansan", Table: "talk: bulk.rows", Key: "1900"},
		{Kind: verify.Index, Member: "ansan", Table: "talk: bulk.rows_pkey", Why: "a row has no entry"}, // follows
		{Kind: verify.Index, Member: "anyang", Table: "talk: bulk.rows_pkey"},
		{Kind: verify.Broken, Member: "anyang", Table: "talk: bulk.rack"},
		{Kind: verify.Page, Member: "anyang", Table: "talk: bulk.rack"},
		{Kind: verify.Behind, Member: "anyang", Table: "talk: bulk.numbers"},
	}
	if unnamed, strange := weigh(planted, found); len(unnamed)+len(strange) > 0 {
		t.Errorf("%v %v", unnamed, strange)
	}
	unnamed, strange := weigh(planted, append(found[1:], verify.Finding{Kind: verify.Different, Member: "anyang", Table: "talk: bulk.rows", Key: "7"}))
	if len(unnamed) != 1 || !strings.Contains(unnamed[0], "a flipped bit on ansan") || len(strange) != 1 {
		t.Errorf("%v %v", unnamed, strange)
	}
	b := quiet()
	b.weighed(comparison{90, verify.Summary{}}, planted, map[lab.Place]float64{"ansan": 2}, map[lab.Place]float64{"ansan": 20, "anyang": 4})
	if n := b.r.Numbers; len(n) != 3 || n[0].Measured != 0 || n[0].Reached != "no" || n[1].Reached != "goal" || n[2].Measured != 18 || n[2].Reached != "goal" {
		t.Errorf("%+v", n)
	}
}

// The command says by its end that members differ; what it found is read all the same.
func TestAComparisonIsReadThoughMembersDiffer(t *testing.T) {
	out := `{"id":"r-9","status":"done","steps":[{"seconds":12.5,"report":{"found":[{"kind":"missing","member":"ansan","table":"talk: bulk.rows","key":"5"}]}}]}
haechi: the members of talk-db do not hold the same`
	r, err := readCompared(out, errors.New("exit status 1"))
	if err != nil || r.seconds != 12.5 || len(r.report.Found) != 1 {
		t.Errorf("%+v %v", r, err)
	}
	for _, out := range []string{"haechi: nobody answers", `{"status":"failed","why":"a member is silent","steps":[{}]}`} {
		if _, err := readCompared(out, errors.New("exit status 1")); err == nil {
			t.Errorf("%s was taken for a comparison", out)
		}
	}
}

func TestCostIsTakenRoundByRound(t *testing.T) {
	middle, low, high := cost([]float64{99, 196, 300, 98}, []float64{100, 200, 297, 100})
	if middle < 1.49 || middle > 1.51 || low > -1 || high < 1.99 || high > 2.01 {
		t.Error(middle, low, high)
	}
	for with, want := range map[float64]float64{98: 2, 101: 0} {
		b := quiet()
		b.paid(calms[0], rates{With: []float64{with}, Without: []float64{100}})
		if n := b.r.Numbers[0]; n.Measured < want-.01 || n.Measured > want+.01 || !strings.Contains(n.Note, "profile default") || !strings.Contains(n.Note, "1 rounds of") {
			t.Errorf("%v: %+v", with, n)
		}
	}
}
