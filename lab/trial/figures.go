package trial

import (
	"encoding/json"
	"math"
	"time"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/talk"
)

// Seconds is a time since the fault. What did not happen is [Never].
type Seconds float64

// Never is the time of what did not happen; JSON says null.
const Never Seconds = -1

// MarshalJSON rounds to a tenth of a millisecond.
func (s Seconds) MarshalJSON() ([]byte, error) {
	if s < 0 {
		return []byte("null"), nil
	}
	return json.Marshal(math.Round(float64(s)*1e4) / 1e4)
}

// UnmarshalJSON takes null for [Never].
func (s *Seconds) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*s = Never
		return nil
	}
	return json.Unmarshal(b, (*float64)(s))
}

// Figures are what one trial measured. Times are in seconds from the fault's own
// proof of when it happened.
type Figures struct {
	System  string    `json:"system"` // "haechi" or "patroni"
	Fault   string    `json:"fault"`  // the proof
	At      time.Time `json:"at"`
	Site    lab.Place `json:"site"`
	Before  *Standing `json:"before,omitempty"` // where all stood, read just before a fire of the bench
	Seed    uint64    `json:"seed"`
	Clients int       `json:"clients"`
	Rate    float64   `json:"rate"` // messages a second, as the schedule wants them

	Acknowledged int `json:"acknowledged"`
	Lost         int `json:"lost"`
	Duplicated   int `json:"duplicated"`
	OutOfOrder   int `json:"out_of_order"`
	Changed      int `json:"changed"` // acknowledged as something else than what is there

	Verdict  Seconds `json:"verdict_s"`  // the system believed that the site, or its database, is lost
	Opened   Seconds `json:"opened_s"`   // it began to act
	Sealed   Seconds `json:"sealed_s"`   // the old side could acknowledge nothing any more
	Promoted Seconds `json:"promoted_s"` // it knew that another member takes writes
	Writable Seconds `json:"writable_s"` // PostgreSQL itself began its new timeline

	FirstAck           Seconds `json:"first_ack_s"`  // of a message first sent after the fault
	AllServed          Seconds `json:"all_served_s"` // every client had one
	LongestPause       Seconds `json:"longest_pause_s"`
	LongestClientPause Seconds `json:"longest_client_pause_s"`
	P99                Seconds `json:"p99_s"` // from the intended moment of sending

	DiskStall Seconds `json:"disk_stall_s"` // the longest that the machine took to put one page on the disk that all members share

	Run      string   `json:"run"`
	PlanHash string   `json:"plan_hash"`
	Steps    []Step   `json:"steps,omitempty"`
	Judged   []string `json:"judged"`            // where was looked for what was acknowledged
	Trouble  []string `json:"trouble,omitempty"` // what went wrong besides
	Bars     Bars     `json:"acks_per_100ms"`
}

// Step is one act of the system.
type Step struct {
	Verb      string  `json:"verb"`
	Component string  `json:"component"`
	Began     Seconds `json:"began_s"`
	Ended     Seconds `json:"ended_s"`
	Outcome   string  `json:"outcome,omitempty"`
}

// Bars count acknowledgements in slices of a tenth of a second around the fault.
type Bars struct {
	From  Seconds `json:"from_s"` // start of the first slice, before the fault; as a distance
	Count []int   `json:"count"`
}

// slice is the width of a bar.
const slice = 100 * time.Millisecond

// OK says whether nothing that a user was told is safe is gone or altered.
func (f Figures) OK() bool {
	return f.Acknowledged > 0 && f.Lost == 0 && f.Duplicated == 0 && f.OutOfOrder == 0 && f.Changed == 0
}

// since is the time of an instant of the system's own account.
func since(at, instant time.Time) Seconds {
	if instant.IsZero() {
		return Never
	}
	return Seconds(max(0, instant.Sub(at).Seconds()))
}

func seconds(d time.Duration) Seconds {
	if d == talk.Never {
		return Never
	}
	return Seconds(d.Seconds())
}

// measure fills in what the clients saw.
func (f *Figures) measure(y talk.Tally) {
	after := y.After(f.At)
	f.Clients, f.Rate = y.Clients, y.Rate
	f.FirstAck, f.AllServed = seconds(after.FirstAck), seconds(after.AllServed)
	f.LongestPause, f.LongestClientPause = seconds(after.LongestPause), seconds(after.LongestClientPause)
	f.P99 = seconds(after.P99)
	f.Bars = bars(y, f.At, 2*time.Second, time.Minute)
}

// tell fills in what the system itself says.
func (f *Figures) tell(a Account) {
	f.Run, f.PlanHash = a.Run, a.PlanHash
	f.Verdict, f.Opened = since(f.At, a.Verdict), since(f.At, a.Opened)
	f.Sealed, f.Promoted = since(f.At, a.Sealed), since(f.At, a.Promoted)
	for _, s := range a.Steps {
		f.Steps = append(f.Steps, Step{s.Verb, s.Component, since(f.At, s.Began), since(f.At, s.Ended), s.Outcome})
	}
}

// add takes over what the judge found; the worse of two looks counts.
func (f *Figures) add(v talk.Verdict) {
	f.Acknowledged = v.Acknowledged
	f.Lost, f.Duplicated = max(f.Lost, v.Lost), max(f.Duplicated, v.Duplicated)
	f.OutOfOrder, f.Changed = max(f.OutOfOrder, v.OutOfOrder), max(f.Changed, v.Changed)
}

// bars counts acknowledgements from some time before an instant until the load ended.
func bars(y talk.Tally, at time.Time, before, most time.Duration) Bars {
	from := at.Add(-before)
	until := y.Ended
	if limit := from.Add(most); until.IsZero() || until.After(limit) {
		until = limit
	}
	b := Bars{From: Seconds(before.Seconds()), Count: make([]int, max(0, int(until.Sub(from)/slice)))}
	for _, a := range y.Acks {
		if i := int(a.Acked.Sub(from) / slice); a.Acked.After(from) && i < len(b.Count) {
			b.Count[i]++
		}
	}
	return b
}
