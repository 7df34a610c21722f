package talk

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// The acknowledgement log is JSON lines: a head, one line for each
// acknowledgement in the order in which they came, and an end. A log without an
// end is of a load that was killed; it still can be judged.

type logLine struct {
	Kind string `json:"kind,omitempty"` // "head", "end"; none for an acknowledgement

	// head
	Seed    uint64  `json:"seed,omitempty"`
	Tag     string  `json:"tag,omitempty"`
	Clients int     `json:"clients,omitempty"`
	Rate    float64 `json:"rate,omitempty"`
	Began   int64   `json:"began,omitempty"` // Unix nanoseconds, as all times here

	// acknowledgement
	ID       string `json:"id,omitempty"`
	Room     string `json:"room,omitempty"`
	Client   int    `json:"c,omitempty"`
	N        int    `json:"n,omitempty"`
	Seq      int64  `json:"seq,omitempty"`
	Intended int64  `json:"int,omitempty"`
	Sent     int64  `json:"sent,omitempty"`
	Acked    int64  `json:"ack,omitempty"`
	Tries    int    `json:"tries,omitempty"`
	By       string `json:"by,omitempty"`

	// end
	Ended    int64          `json:"ended,omitempty"`
	Pending  []string       `json:"pending,omitempty"`
	Requests int            `json:"requests,omitempty"`
	Failures map[string]int `json:"failures,omitempty"`
	Streams  *Streams       `json:"streams,omitempty"`
}

func headLine(y Tally) logLine {
	return logLine{Kind: "head", Seed: y.Seed, Tag: y.Tag, Clients: y.Clients, Rate: y.Rate, Began: y.Began.UnixNano()}
}

func ackLine(a Ack) logLine {
	return logLine{
		ID: a.ID, Room: a.Room, Client: a.Client, N: a.N, Seq: a.Seq, Tries: a.Tries, By: a.By,
		Intended: a.Intended.UnixNano(), Sent: a.FirstSent.UnixNano(), Acked: a.Acked.UnixNano(),
	}
}

func endLine(y Tally) logLine {
	return logLine{
		Kind: "end", Ended: y.Ended.UnixNano(), Pending: y.Pending, Requests: y.Requests,
		Failures: y.Failures, Streams: &y.Streams,
	}
}

// ReadLog reads an acknowledgement log back. A last line that was cut off by a
// kill is left out.
func ReadLog(r io.Reader) (Tally, error) {
	var y Tally
	in := bufio.NewReaderSize(r, 1<<16)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF { // nothing, or a line without its end
			break
		}
		if err != nil {
			return Tally{}, fmt.Errorf("talk: acknowledgement log: line %d: %w", n, err)
		}
		var l logLine
		if err := json.Unmarshal(line, &l); err != nil {
			return Tally{}, fmt.Errorf("talk: acknowledgement log: line %d: %w", n, err)
		}
		y.fold(l)
	}
	slices.SortStableFunc(y.Acks, func(a, b Ack) int { return a.Acked.Compare(b.Acked) })
	return y, nil
}

func (y *Tally) fold(l logLine) {
	switch l.Kind {
	case "head":
		y.Seed, y.Tag, y.Clients, y.Rate, y.Began = l.Seed, l.Tag, l.Clients, l.Rate, time.Unix(0, l.Began)
	case "end":
		y.Ended, y.Pending, y.Requests, y.Failures = time.Unix(0, l.Ended), l.Pending, l.Requests, l.Failures
		if l.Streams != nil {
			y.Streams = *l.Streams
		}
	default:
		y.Acks = append(y.Acks, Ack{
			ID: l.ID, Room: l.Room, Client: l.Client, N: l.N, Seq: l.Seq, Tries: l.Tries, By: l.By,
			Intended: time.Unix(0, l.Intended), FirstSent: time.Unix(0, l.Sent), Acked: time.Unix(0, l.Acked),
		})
	}
}
