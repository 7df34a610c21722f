package talk

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var start = time.Unix(1_700_000_000, 0)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

// ack is one acknowledgement of a client, with times in milliseconds.
func ack(client, n, intended, sent, acked int) Ack {
	return Ack{
		ID: messageID(1, "", client, n), Room: roomOf(client, 2), Client: client, N: n, Seq: int64(acked), Tries: 1,
		Intended: at(intended), FirstSent: at(sent), Acked: at(acked), By: "10.77.2.5",
	}
}

func fire() Tally {
	return Tally{
		Seed: 1, Clients: 2, Rate: 5, Began: at(0), Ended: at(3000), Failures: map[string]int{"no answer": 3},
		Acks: []Ack{
			ack(0, 1, 10, 10, 15),
			ack(1, 1, 900, 900, 905),
			ack(0, 2, 990, 990, 1003),   // in flight at the fire: no sign of life
			ack(0, 3, 1100, 1100, 2200), // first life
			ack(0, 4, 1500, 2200, 2204), // queued behind it
			ack(1, 2, 1200, 1200, 2300), // all served
			ack(1, 3, 2950, 2950, 2955), // the end
		},
	}
}

func TestAfterIgnoresWhatWasInFlight(t *testing.T) {
	ms := time.Millisecond
	want := Figures{
		FirstAck: 1200 * ms, AllServed: 1300 * ms, Served: 2, Acknowledged: 5,
		LongestPause: 1197 * ms, LongestPauseAt: 3 * ms, LongestClientPause: 1395 * ms,
		P50: 1100 * ms, P99: 1100 * ms, Worst: 1100 * ms,
	}
	if diff := cmp.Diff(want, fire().After(at(1000))); diff != "" {
		t.Error(diff)
	}
}

func TestAfterSaysWhatNeverHappened(t *testing.T) {
	y := fire()
	y.Acks = y.Acks[:3]
	f := y.After(at(1000))
	if f.FirstAck != Never || f.AllServed != Never || f.Served != 0 {
		t.Errorf("nothing was sent and acknowledged after the fire: %+v", f)
	}
	if f.LongestPause != 1997*time.Millisecond {
		t.Errorf("the silence to the end is a pause too: %v", f.LongestPause)
	}
	if f.Lines()["first_ack_s"] != nil {
		t.Error("never is not a number of seconds")
	}
}

func TestAClientThatIsNeverServedAgainHasTheLongestPause(t *testing.T) {
	y := fire()
	y.Ended = at(5000)
	y.Acks = append(y.Acks[:5], ack(0, 5, 4900, 4900, 4905)) // client 1 was last heard at 905
	if f := y.After(at(1000)); f.LongestClientPause != 4095*time.Millisecond {
		t.Errorf("client 1: %v", f.LongestClientPause)
	}
	y.Clients = 3 // the third was never heard of
	if f := y.After(at(1000)); f.LongestClientPause != 5*time.Second {
		t.Errorf("client 2: %v", f.LongestClientPause)
	}
}

func TestAfterNeedsEveryClient(t *testing.T) {
	y := fire()
	y.Clients = 3
	if f := y.After(at(1000)); f.AllServed != Never || f.Served != 2 {
		t.Errorf("the third client was never served: %+v", f)
	}
}

func TestLogReadsBackWhatWasWritten(t *testing.T) {
	y := fire()
	y.Tag, y.Pending, y.Requests = "again", []string{"x"}, 12
	y.Streams = Streams{Readers: 1, Messages: 7, Duplicated: 1}
	var log bytes.Buffer
	r := newRecorder(LoadConfig{Log: &log}, y.Began)
	r.line(headLine(y))
	for _, a := range y.Acks {
		r.line(ackLine(a))
	}
	r.line(endLine(y))
	r.flush()
	got, err := ReadLog(strings.NewReader(log.String() + `{"id":"cut o`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(y, got); diff != "" {
		t.Error(diff)
	}
	if _, err := ReadLog(strings.NewReader("no JSON\n")); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a broken line is named: %v", err)
	}
}

func TestMarksReportTheFirstLifeOnce(t *testing.T) {
	var got []string
	var acks, log bytes.Buffer
	y := fire()
	c := LoadConfig{Clients: 2, Acks: &acks, Log: &log, Report: func(e Event) {
		if e.Kind != "tally" {
			got = append(got, e.Kind+" "+e.Mark+" "+time.Duration(*e.After*1e9).Round(time.Millisecond).String())
		}
	}}
	r := newRecorder(c, y.Began)
	for _, a := range y.Acks[:4] {
		r.fold(a)
	}
	r.mark(Mark{"fire", at(1000)}) // heard of after the first life
	for _, a := range y.Acks[4:] {
		r.fold(a)
	}
	r.fold(ended(at(3000)))
	r.finish()
	want := []string{"ack-first-after fire 1.2s", "all-served-after fire 1.3s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	first, _, _ := strings.Cut(acks.String(), "\n")
	if first != y.Acks[0].ID+" room-000 2023-11-14T22:13:20.015Z" {
		t.Errorf("acks line %q", first)
	}
}
