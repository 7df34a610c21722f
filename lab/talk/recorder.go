package talk

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// Event is one line of a load's report.
type Event struct {
	Kind  string    `json:"kind"` // "rate", "ack-first-after", "all-served-after", "tally"
	At    time.Time `json:"at"`
	Acked int       `json:"acked,omitempty"` // rate: in the last 100 ms; tally: in all

	Total    int `json:"total,omitempty"`     // rate: acknowledged since the beginning
	InFlight int `json:"in_flight,omitempty"` // rate: messages begun and not acknowledged

	Mark  string   `json:"mark,omitempty"`    // *-after: the mark's name
	After *float64 `json:"after_s,omitempty"` // *-after: seconds since the mark

	Pending  int            `json:"pending,omitempty"`  // tally: begun and never acknowledged
	Failures map[string]int `json:"failures,omitempty"` // tally: requests that failed, by kind
	Streams  *Streams       `json:"streams,omitempty"`  // tally
	Figures  map[string]any `json:"figures,omitempty"`  // tally: over the whole time
	Marks    map[string]any `json:"marks,omitempty"`    // tally: figures after each mark
}

// Mark names an instant, such as that of the fire.
type Mark struct {
	Name string
	At   time.Time
}

// reportEvery is the distance of two rate events.
const reportEvery = 100 * time.Millisecond

// recorder is the one goroutine that keeps the tally and writes.
type recorder struct {
	config   LoadConfig
	tally    *Tally
	err      error
	in       chan any // Ack, pending, failure, Streams, ended
	inFlight atomic.Int64
	acks     *bufio.Writer
	log      *bufio.Writer
	marks    []*marked
	fresh    int // acknowledged since the last rate event
}

type (
	pending string    // an id that was given up
	failure string    // a kind
	ended   time.Time // the schedule's end
)

// marked waits for the first life after a mark.
type marked struct {
	Mark
	first  bool
	served map[int]bool
	all    bool
}

func newRecorder(c LoadConfig, now time.Time) *recorder {
	buffer := func(w io.Writer) *bufio.Writer {
		if w == nil {
			w = io.Discard
		}
		return bufio.NewWriterSize(w, 1<<16)
	}
	return &recorder{
		config: c, in: make(chan any, 4096), acks: buffer(c.Acks), log: buffer(c.Log),
		tally: &Tally{Seed: c.Seed, Tag: c.Tag, Clients: c.Clients, Rate: c.Rate, Began: now, Failures: map[string]int{}},
	}
}

func (r *recorder) begin()             { r.inFlight.Add(1) }
func (r *recorder) failed(kind string) { r.in <- failure(kind) }
func (r *recorder) heard(s Streams)    { r.in <- s }
func (r *recorder) ended(t time.Time)  { r.in <- ended(t) }
func (r *recorder) done(a Ack, ok bool) {
	if r.inFlight.Add(-1); ok {
		r.in <- a
		return
	}
	r.in <- pending(a.ID)
}

// Run keeps the tally until the channel is closed.
func (r *recorder) Run() {
	r.line(headLine(*r.tally))
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	marks := r.config.Marks
	for {
		select {
		case x, open := <-r.in:
			if !open {
				r.finish()
				return
			}
			r.fold(x)
		case m, open := <-marks:
			if !open {
				marks = nil
				continue
			}
			r.mark(m)
		case now := <-tick.C:
			r.report(Event{Kind: "rate", At: now, Acked: r.fresh, Total: len(r.tally.Acks), InFlight: int(r.inFlight.Load())})
			r.fresh = 0
			r.flush()
		}
	}
}

func (r *recorder) fold(x any) {
	y := r.tally
	switch x := x.(type) {
	case Ack:
		y.Acks = append(y.Acks, x)
		y.Requests += x.Tries
		r.fresh++
		r.line(ackLine(x))
		_, err := fmt.Fprintf(r.acks, "%s %s %s\n", x.ID, x.Room, x.Acked.UTC().Format(time.RFC3339Nano))
		r.keep(err)
		for _, m := range r.marks {
			r.alive(m, x)
		}
	case pending:
		y.Pending = append(y.Pending, string(x))
	case failure:
		y.Failures[string(x)]++
	case Streams:
		s := &y.Streams
		s.Readers, s.Messages = s.Readers+x.Readers, s.Messages+x.Messages
		s.Duplicated, s.OutOfOrder = s.Duplicated+x.Duplicated, s.OutOfOrder+x.OutOfOrder
		s.Reconnects += x.Reconnects
	case ended:
		y.Ended = time.Time(x)
	}
}

// mark begins to wait for the life after m. What was acknowledged before the
// mark was heard of counts too.
func (r *recorder) mark(m Mark) {
	w := &marked{Mark: m, served: map[int]bool{}}
	r.marks = append(r.marks, w)
	for _, a := range r.tally.Acks {
		r.alive(w, a)
	}
}

func (r *recorder) alive(m *marked, a Ack) {
	if m.all || !a.FirstSent.After(m.At) {
		return
	}
	after := a.Acked.Sub(m.At).Seconds()
	if !m.first {
		m.first = true
		r.report(Event{Kind: "ack-first-after", At: a.Acked, Mark: m.Name, After: &after})
	}
	if m.served[a.Client] = true; len(m.served) == r.tally.Clients {
		m.all = true
		r.report(Event{Kind: "all-served-after", At: a.Acked, Mark: m.Name, After: &after})
	}
}

func (r *recorder) finish() {
	sortAcks(r.tally)
	r.line(endLine(*r.tally))
	r.flush()
	y := r.tally
	marks := map[string]any{}
	for _, m := range r.marks {
		marks[m.Name] = y.After(m.At).Lines()
	}
	r.report(Event{
		Kind: "tally", At: y.Ended, Acked: len(y.Acks), Pending: len(y.Pending), Failures: y.Failures,
		Streams: &y.Streams, Figures: y.After(y.Began).Lines(), Marks: marks,
	})
}

func (r *recorder) report(e Event) {
	if r.config.Report != nil {
		r.config.Report(e)
	}
}

func (r *recorder) line(l logLine) {
	b, err := json.Marshal(l)
	if err == nil {
		_, err = r.log.Write(append(b, '\n'))
	}
	r.keep(err)
}

func (r *recorder) flush() {
	r.keep(errors.Join(r.log.Flush(), r.acks.Flush()))
}

// keep remembers the first failure to write; the load itself goes on.
func (r *recorder) keep(err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("talk: load: write: %w", err)
	}
}
