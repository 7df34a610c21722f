package talk

import (
	"slices"
	"time"
)

// Ack is one acknowledged message, with the times that its client saw. All
// times are of one machine's clock.
type Ack struct {
	ID        string
	Room      string
	Client    int
	N         int       // the client's own count, from 1
	Seq       int64     // as acknowledged
	Intended  time.Time // when the schedule wanted it sent
	FirstSent time.Time // when it was first sent; later than intended when it had to queue
	Acked     time.Time
	Tries     int    // requests that it took
	By        string // address that acknowledged it
}

// Tally is what a load saw.
//
// Invariant: Acks are sorted by Acked.
type Tally struct {
	Seed     uint64
	Tag      string
	Clients  int
	Rate     float64 // messages per second over all clients
	Began    time.Time
	Ended    time.Time // when the schedule ended; acknowledgements may come later
	Acks     []Ack
	Pending  []string // ids sent and never acknowledged: nobody knows of them
	Requests int      // over all messages
	Failures map[string]int
	Streams  Streams
}

// Streams is what the clients that also listened saw.
type Streams struct {
	Readers    int `json:"readers"`
	Messages   int `json:"messages"`
	Duplicated int `json:"duplicated"`   // the same id twice in one stream
	OutOfOrder int `json:"out_of_order"` // a client's earlier message after its later one, in one stream
	Reconnects int `json:"reconnects"`
}

// Figures are what a tally says about the time after an instant. A negative
// duration means that it did not happen.
type Figures struct {
	FirstAck           time.Duration // first acknowledgement of a message first sent after the instant
	AllServed          time.Duration // when every client had one
	Served             int           // clients that had one
	Acknowledged       int           // acknowledgements after the instant
	LongestPause       time.Duration // between two acknowledgements, over all clients
	LongestPauseAt     time.Duration // where that pause began
	LongestClientPause time.Duration // between two acknowledgements of one client, its schedule's own distance included
	P50, P99, Worst    time.Duration // from the intended instant to the acknowledgement, of messages intended after the instant
}

// Never is the duration of what did not happen.
const Never = time.Duration(-1)

// After computes what the clients saw after the instant t. Acknowledgements of
// messages that were in flight at t are not taken for a sign of life: they may
// have been on the wire already.
func (y Tally) After(t time.Time) Figures {
	f := Figures{FirstAck: Never, AllServed: Never}
	served := map[int]bool{}
	last := map[int]time.Time{}
	before := y.Began
	var waits []time.Duration
	for _, a := range y.Acks {
		if a.FirstSent.After(t) {
			if f.FirstAck == Never {
				f.FirstAck = a.Acked.Sub(t)
			}
			if served[a.Client] = true; len(served) == y.Clients && f.AllServed == Never {
				f.AllServed = a.Acked.Sub(t)
			}
		}
		if a.Intended.After(t) {
			waits = append(waits, a.Acked.Sub(a.Intended))
		}
		if a.Acked.After(t) {
			f.Acknowledged++
			f.pause(a.Acked.Sub(before), before.Sub(t))
			if from, ok := last[a.Client]; ok {
				f.LongestClientPause = max(f.LongestClientPause, a.Acked.Sub(from))
			}
		}
		last[a.Client], before = a.Acked, a.Acked
	}
	// A silence up to the very end is a pause too, over all and for each client: one
	// that is never served again must not vanish behind those that are.
	if !y.Ended.IsZero() && y.Ended.After(before) && y.Ended.After(t) {
		f.pause(y.Ended.Sub(before), before.Sub(t))
	}
	for client := range y.Clients {
		from, ok := last[client]
		if !ok {
			from = y.Began
		}
		if y.Ended.After(t) && y.Ended.After(from) {
			f.LongestClientPause = max(f.LongestClientPause, y.Ended.Sub(from))
		}
	}
	f.Served = len(served)
	f.P50, f.P99, f.Worst = quantile(waits, .5), quantile(waits, .99), quantile(waits, 1)
	return f
}

func (f *Figures) pause(d, from time.Duration) {
	if d > f.LongestPause {
		f.LongestPause, f.LongestPauseAt = d, from
	}
}

// quantile returns the value below which a share q of all lies, 0 for none.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// Lines says the figures in seconds, as the reports spell them.
func (f Figures) Lines() map[string]any {
	return map[string]any{
		"first_ack_s": seconds(f.FirstAck), "all_served_s": seconds(f.AllServed), "served": f.Served,
		"acknowledged": f.Acknowledged, "longest_pause_s": seconds(f.LongestPause),
		"longest_pause_at_s": seconds(f.LongestPauseAt), "longest_client_pause_s": seconds(f.LongestClientPause),
		"p50_s": seconds(f.P50), "p99_s": seconds(f.P99), "worst_s": seconds(f.Worst),
	}
}

// seconds is d for a report: in seconds, nil when it did not happen.
func seconds(d time.Duration) any {
	if d == Never {
		return nil
	}
	return float64(d.Round(time.Microsecond)) / float64(time.Second)
}
