package talk

import (
	"cmp"
	"slices"
	"time"
)

// Verdict is what became of the messages that users were told are safe.
type Verdict struct {
	Acknowledged int `json:"acknowledged"`
	Lost         int `json:"lost"`         // acknowledged, and missing in the database or in talk's history
	Duplicated   int `json:"duplicated"`   // there twice, under one id or two; or twice in one live stream
	OutOfOrder   int `json:"out_of_order"` // after a later one of the same client, in the database, the history or a live stream
	Changed      int `json:"changed"`      // acknowledged with another room, text or place than it has now

	LostIDs       []string `json:"lost_ids,omitempty"`
	DuplicatedIDs []string `json:"duplicated_ids,omitempty"`
	OutOfOrderIDs []string `json:"out_of_order_ids,omitempty"`
	ChangedIDs    []string `json:"changed_ids,omitempty"`

	Unanswered int     `json:"unanswered"` // sent, never acknowledged; nobody was promised anything
	Stored     int     `json:"stored"`     // rows in the database
	Listed     int     `json:"listed"`     // messages in talk's history
	Streams    Streams `json:"streams"`

	LongestPause       time.Duration `json:"longest_pause_ns"`        // between two acknowledgements, over all clients
	LongestClientPause time.Duration `json:"longest_client_pause_ns"` // between two of one client
}

// OK says whether every promise was kept and at least one was made.
func (v Verdict) OK() bool {
	return v.Acknowledged > 0 && v.Lost == 0 && v.Duplicated == 0 && v.OutOfOrder == 0 && v.Changed == 0
}

// Compare holds what was acknowledged against what the database and talk's
// history say now. history is in the order in which talk serves each room.
func Compare(y Tally, database, history []Message) Verdict {
	overall := y.After(y.Began)
	v := Verdict{
		Acknowledged: len(y.Acks), Unanswered: len(y.Pending),
		Stored: len(database), Listed: len(history), Streams: y.Streams,
		LongestPause: overall.LongestPause, LongestClientPause: overall.LongestClientPause,
	}
	v.LostIDs = append(missing(y.Acks, database), missing(y.Acks, history)...)
	v.DuplicatedIDs = append(doubles(database), doubles(history)...)
	v.OutOfOrderIDs = append(disordered(y.Acks, database), unsorted(history)...)
	v.ChangedIDs = append(changed(y, database), changed(y, history)...)
	for _, c := range []struct {
		ids *[]string
		n   *int
	}{{&v.LostIDs, &v.Lost}, {&v.DuplicatedIDs, &v.Duplicated}, {&v.OutOfOrderIDs, &v.OutOfOrder}, {&v.ChangedIDs, &v.Changed}} {
		slices.Sort(*c.ids)
		*c.ids = slices.Compact(*c.ids)
		*c.n = len(*c.ids)
	}
	v.Duplicated += y.Streams.Duplicated
	v.OutOfOrder += y.Streams.OutOfOrder
	return v
}

// missing returns the acknowledged ids that are not there.
func missing(acks []Ack, there []Message) (ids []string) {
	has := byID(there)
	for _, a := range acks {
		if _, ok := has[a.ID]; !ok {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

// doubles returns the ids that are there twice, and those of messages that one
// client numbered alike.
func doubles(there []Message) (ids []string) {
	seen := map[string]bool{}
	orders := newOrder()
	for _, m := range there {
		if seen[m.ID] || orders.see(m.Author, m.Body) == twice {
			ids = append(ids, m.ID)
		}
		seen[m.ID] = true
	}
	return ids
}

// disordered returns the acknowledged ids whose place is before that of an
// earlier message of the same client.
func disordered(acks []Ack, there []Message) (ids []string) {
	has := byID(there)
	sorted := slices.Clone(acks)
	slices.SortStableFunc(sorted, func(a, b Ack) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.N, b.N))
	})
	client, highest := -1, int64(0)
	for _, a := range sorted {
		m, ok := has[a.ID]
		if !ok {
			continue
		}
		if a.Client != client {
			client, highest = a.Client, 0
		}
		if m.Seq <= highest {
			ids = append(ids, a.ID)
		}
		highest = max(highest, m.Seq)
	}
	return ids
}

// unsorted returns the ids that come after a later one of the same author.
func unsorted(there []Message) (ids []string) {
	orders := newOrder()
	for _, m := range there {
		if orders.see(m.Author, m.Body) == late {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// changed returns the acknowledged ids that are there as something else.
func changed(y Tally, there []Message) (ids []string) {
	has := byID(there)
	for _, a := range y.Acks {
		m, ok := has[a.ID]
		if !ok {
			continue
		}
		n, numbered := numberOf(m.Body)
		if m.Room != a.Room || m.Seq != a.Seq || !numbered || n != a.N || m.Author != authorOf(y.Seed, y.Tag, a.Client) {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

func byID(there []Message) map[string]Message {
	has := make(map[string]Message, len(there))
	for _, m := range there {
		has[m.ID] = m
	}
	return has
}
