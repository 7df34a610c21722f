package bench

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/lab/talk"
	"github.com/haechi/haechi/lab/trial"
)

func TestReturnReportSaysWhatIsShort(t *testing.T) {
	b := &returns{ReturnOptions: ReturnOptions{Say: func(string) {}}}
	b.less("quick enough", "s", 12, 60, 20, "")
	b.less("just so", "s", 40, 60, 20, "512 MB instead of 10 GB")
	b.more("exact", "%", 100, 100, 100, "")
	if err := b.r.Short(); err != nil {
		t.Errorf("all is reached: %v", err)
	}
	b.less("too slow", "s", 61, 60, 20, "")
	b.less("never came", "s", -1, 60, 20, "")
	b.more("too few", "%", 89, 90, 97, "")
	b.absent("nobody looked", "%", 3, 1, false, "nothing to compare with")
	b.absent("beside us", "s", 0, 0, false, "not tried")
	err := b.r.Short()
	for _, want := range []string{"too slow: 61.00 s, must be 60", "never came", "too few: 89.00 %", "nobody looked: not measured"} {
		if !errors.Is(err, ErrShort) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing: %v", want, err)
		}
	}
	for _, not := range []string{"quick", "just so", "exact", "beside"} {
		if strings.Contains(err.Error(), not) {
			t.Errorf("%q is called short: %v", not, err)
		}
	}
	for _, want := range []string{"goal reached", "must reached (512 MB instead of 10 GB)", "NOT REACHED", "NOT MEASURED (must 3, goal 1): nothing to compare with", "NOT MEASURED (to compare with): not tried"} {
		if !strings.Contains(b.r.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.r)
		}
	}
}

// Writes while a member rejoins are held against those before the site came back, not against none.
func TestTheLivingAreCompared(t *testing.T) {
	power := time.Unix(1000, 0)
	var y talk.Tally
	ack := func(after, wait time.Duration) {
		at := power.Add(after)
		y.Acks = append(y.Acks, talk.Ack{Acked: at, Intended: at.Add(-wait)})
	}
	for i := range 50 {
		ack(time.Duration(i-50)*100*time.Millisecond, 10*time.Millisecond) // ten a second before
	}
	for i := range 27 {
		ack(5*time.Second+time.Duration(i)*100*time.Millisecond+time.Millisecond, 12*time.Millisecond) // nine a second while it rejoins
	}
	back := trial.Back{Power: power, Steps: []trial.PageStep{{Verb: "rejoin", Started: power.Add(5 * time.Second), Seconds: 3, Note: "pg_rewind"}}}
	writes, latency, ok := living(back, y)
	if !ok || writes < .89 || writes > .93 || latency < 1.19 || latency > 1.21 {
		t.Errorf("%v %v %v", writes, latency, ok)
	}
	if back.Steps[0].Seconds = 1; how(back) != "pg_rewind" {
		t.Error(how(back))
	}
	if _, _, ok := living(back, y); ok {
		t.Error("a second says nothing of a rate")
	}
	if took(back, "verify") != -1 {
		t.Error("a step that was not there took a time")
	}
}
