package state

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// Line says which cluster the records belong to. Where they turn up in another one, they were restored of
// a copy, or one tower went on alone with them: what happened after them is not known here. Then everything
// is disarmed, every open run is left as it stands, and nobody drives before the agents were asked what terms
// and epochs they have seen, and those of the records are at least as high.
type Line struct {
	Number  uint64    `json:"number"`         // rises with each such turn, from 1
	Cluster string    `json:"cluster"`        // etcd's ID of the cluster, in hex
	Code    string    `json:"code,omitempty"` // drawn when the line began; empty: by a release that drew none
	Kind    LineKind  `json:"kind,omitempty"` // empty: the first
	From    string    `json:"from,omitempty"` // what the records are a copy of, in words
	By      string    `json:"by,omitempty"`
	Why     string    `json:"why,omitempty"`
	At      time.Time `json:"at,omitzero"`
	// Unasked are the hosts whose agents have not been asked yet what they have seen. Nobody drives before.
	Unasked []estate.HostID `json:"unasked,omitempty"`
	// Waived are those of which a person has said that they need not be waited for. They are asked when
	// they are there again.
	Waived []estate.HostID `json:"waived,omitempty"`
	// Heard are those whose agents have told what they have seen. One that the estate names only later is in
	// none of the three, and is asked then.
	Heard []estate.HostID `json:"heard,omitempty"`
}

// drawCode returns what no other line has. Records that are lost with every copy begin again with the first number, and those
// of which two towers were restored apart have the same: by the code the IDs of their runs differ, and so what lies under
// those beside agents, and agents tell whose orders they have taken.
func drawCode() string { return strings.ToLower(rand.Text()[:8]) }

// runID names the n-th run of the records, of which this line is.
func (l Line) runID(n uint64) run.ID {
	id := fmt.Sprintf("r-%06d", n)
	if l.Code != "" {
		id += "-" + l.Code[:min(4, len(l.Code))]
	}
	return run.ID(id)
}

// LineKind is how a line began.
type LineKind string

// The kinds.
const (
	// Restored: from a snapshot. What the stores' records say may be of yesterday: each store has to be
	// adopted anew before anything of it is moved.
	Restored LineKind = "restored"
	// Recovered: one tower went on with what it had, the others being lost.
	Recovered LineKind = "recovered"
)

// unknownRise is by how much terms and epochs rise for an agent that nobody could ask. They rise by one
// for each tower that claims, and for each promotion.
const unknownRise = 1000

// clusterName writes etcd's ID of a cluster.
func clusterName(id uint64) string { return fmt.Sprintf("%016x", id) }

// Cluster is the cluster that answered last, as [Line] names it; "" as long as none did.
func (s *Store) Cluster() string {
	if id := s.cluster.Load(); id != 0 {
		return clusterName(id)
	}
	return ""
}

// Foreign says that the records are not this cluster's own: a new line has to begin.
func (l Line) Foreign(cluster string) bool {
	return l.Cluster != "" && cluster != "" && l.Cluster != cluster
}

// foreign says the same of records that are of a copy and may not say whose they are. See [OfCopy].
func (s *Store) foreign(l Line) bool {
	return l.Foreign(s.Cluster()) || l.Number == 0 && s.copied && s.Cluster() != ""
}

// Foreign says that the records are not this cluster's own: nobody drives before a new line has begun.
func (s *Store) Foreign() bool { return s.foreign(s.Snapshot().Line) }

// inLine refuses a claim while nobody may drive, and begins the first line.
func (s *Store) inLine(have records, w *writing) error {
	l, err := decode[Line](keyLine, have[keyLine].value)
	switch {
	case err != nil:
		return err
	case s.foreign(l):
		return fmt.Errorf("state: claim: %w: the records were made in another cluster (%s)", ErrOutOfLine, cmp.Or(l.Cluster, "of the release before"))
	case l.Number == 0:
		return w.put(keyLine, Line{Number: 1, Cluster: s.Cluster(), Code: drawCode()})
	case len(l.Unasked) > 0:
		return fmt.Errorf("state: claim: %w: nobody knows yet what terms and epochs the agents of %v have seen", ErrOutOfLine, l.Unasked)
	}
	return nil
}

// errBegun says that another tower has begun the line.
var errBegun = errors.New("the line has begun already")

// BeginLine begins the line of records that are not this cluster's own. next says how it came to that, and
// whom to ask. Where the line has begun already it does nothing.
func (s *Store) BeginLine(ctx context.Context, next Line) error {
	snap := s.Snapshot()
	keys := []string{keyDrive, keyLine}
	var open []RunInfo
	for _, r := range snap.OpenRuns() {
		open = append(open, r)
		keys = append(keys, indexKey(r.ID))
	}
	for id := range snap.Stores {
		keys = append(keys, storeKey(id))
	}
	_, err := s.commit(ctx, compactKeys(keys), func(have records) (w writing, err error) {
		l, err := decode[Line](keyLine, have[keyLine].value)
		if err != nil {
			return w, err
		}
		if !s.foreign(l) {
			return w, errBegun
		}
		d, err := decode[Drive](keyDrive, have[keyDrive].value)
		if err != nil {
			return w, err
		}
		next.Number, next.Cluster, next.Code, next.At = max(l.Number, 1)+1, s.Cluster(), drawCode(), time.Now()
		e := s.entry(d.Term, "line", "towers", next.text(len(open)))
		if e.Data, err = raw(next); err != nil {
			return w, err
		}
		w.entries = []journal.Entry{e}
		for what := range snap.Armed {
			w.deletes = append(w.deletes, keyArmed+what)
		}
		for _, a := range snap.Asks {
			w.deletes = append(w.deletes, keyAsks+a.ID)
		}
		term := d.Term
		if len(next.Waived) > 0 {
			term += unknownRise
		}
		return w, errors.Join(w.put(keyLine, next), w.put(keyDrive, Drive{Term: term}), s.leave(open, d, next, have, &w), forget(snap, next, have, &w))
	})
	if errors.Is(err, errBegun) {
		return nil
	}
	return err
}

// text says for the journal what a new line means.
func (l Line) text(left int) string {
	var b strings.Builder
	switch l.Kind {
	case Recovered:
		fmt.Fprintf(&b, "%s had the towers go on without those that are lost, from %s: %s", l.By, l.From, l.Why)
	default:
		fmt.Fprintf(&b, "%s restored the towers' records from %s: %s", l.By, l.From, l.Why)
	}
	fmt.Fprintf(&b, "; everything is disarmed, %d open runs are left as they stand, and nobody drives before the agents of %v were asked what they have seen", left, l.Unasked)
	if len(l.Waived) > 0 {
		fmt.Fprintf(&b, "; those of %v are not waited for", l.Waived)
	}
	return b.String()
}

// leave ends open runs as they stand.
func (s *Store) leave(open []RunInfo, d Drive, l Line, have records, w *writing) error {
	for _, r := range open {
		info, err := decode[RunInfo](indexKey(r.ID), have[indexKey(r.ID)].value)
		if err != nil {
			return err
		}
		ev := run.Event{Run: r.ID, Seq: info.Events + 1, Kind: run.Left, At: l.At, Term: d.Term, Tower: s.tower, By: l.By, Why: fmt.Sprintf("the records were %s", l.Kind)}
		info.Closed, info.Why = ev.At, "left: "+ev.Why
		if err := s.addEvent(info, ev, "", w); err != nil {
			return err
		}
	}
	return nil
}

// forget makes stores unknown whose records may be of yesterday: who may acknowledge now only their servers
// know. The epochs that were handed out stay.
func forget(snap Snapshot, l Line, have records, w *writing) error {
	for id := range snap.Stores {
		rec, err := decode[situation.Store](storeKey(id), have[storeKey(id)].value)
		if err != nil {
			return err
		}
		if l.Kind != Recovered {
			rec = situation.Store{Next: max(rec.Next, rec.Epoch)}
		}
		if len(l.Waived) > 0 {
			rec.Next = max(rec.Next, rec.Epoch) + unknownRise
		}
		if err := w.put(storeKey(id), rec); err != nil {
			return err
		}
	}
	return nil
}

// Heard is what an agent has seen: the highest term, and the highest epoch of each store that it serves.
type Heard struct {
	Host   estate.HostID
	Term   uint64
	Epochs map[estate.StoreID]uint64

	unknown bool // nobody could ask: both rise by more than it can have seen
}

// Learn raises term and epochs to what an agent has seen, once in a line. Whoever drives under a lower term is
// deposed. In a first line, whose records know all that was ordered, it writes nothing unless the agent has seen more
// than they know: then it took orders of towers whose records were lost.
func (s *Store) Learn(ctx context.Context, h Heard) error {
	err := s.answered(ctx, h, func(l *Line, more bool) (string, error) {
		if slices.Contains(l.Heard, h.Host) || l.Kind == "" && !more {
			return "", errBegun
		}
		l.Unasked, l.Waived = without(l.Unasked, h.Host), without(l.Waived, h.Host)
		l.Heard = append(slices.Clone(l.Heard), h.Host)
		slices.Sort(l.Heard)
		return fmt.Sprintf("the agent of %s has seen term %d and epochs %v", h.Host, h.Term, h.Epochs), nil
	})
	if errors.Is(err, errBegun) {
		return nil
	}
	return err
}

// Waive goes on without an agent that cannot be asked: term and epochs rise by more than it can have seen.
// [ErrNotFound] where nobody waits for it.
func (s *Store) Waive(ctx context.Context, host estate.HostID, stores []estate.StoreID, by, why string) error {
	h := Heard{Host: host, Epochs: map[estate.StoreID]uint64{}, unknown: true}
	for _, id := range stores {
		h.Epochs[id] = 0
	}
	return s.answered(ctx, h, func(l *Line, _ bool) (string, error) {
		if !slices.Contains(l.Unasked, host) {
			return "", fmt.Errorf("state: the agent of %s is not waited for: %w", host, ErrNotFound)
		}
		l.Unasked = without(l.Unasked, host)
		l.Waived = append(without(l.Waived, host), host)
		slices.Sort(l.Waived)
		return fmt.Sprintf("%s goes on without asking the agent of %s what it has seen: %s; term and epochs rise by %d", by, host, why, unknownRise), nil
	})
}

// answered writes what is known of an agent's past. change is told whether that is more than the records knew.
func (s *Store) answered(ctx context.Context, h Heard, change func(l *Line, more bool) (string, error)) error {
	keys := []string{keyDrive, keyLine}
	for id := range h.Epochs {
		keys = append(keys, storeKey(id))
	}
	_, err := s.commit(ctx, compactKeys(keys), func(have records) (w writing, err error) {
		l, err := decode[Line](keyLine, have[keyLine].value)
		if err != nil {
			return w, err
		}
		d, err := decode[Drive](keyDrive, have[keyDrive].value)
		if err != nil {
			return w, err
		}
		term := h.Term
		if h.unknown {
			term = d.Term + unknownRise
		}
		more := term > d.Term
		if more || term == d.Term && d.Tower != "" { // whose orders of this term it has seen nobody knows
			d = Drive{Term: term}
			if err := w.put(keyDrive, d); err != nil {
				return w, err
			}
		}
		for id, epoch := range h.Epochs {
			higher, err := raise(id, epoch, h.unknown, have, &w)
			if err != nil {
				return w, err
			}
			more = more || higher
		}
		text, err := change(&l, more)
		if err != nil {
			return w, err
		}
		w.entries = []journal.Entry{s.entry(d.Term, "line", string(h.Host), text)}
		return w, w.put(keyLine, l)
	})
	return err
}

// raise has a store's next epoch be above one that was seen, and says whether that was more than was known.
func raise(id estate.StoreID, seen uint64, unknown bool, have records, w *writing) (bool, error) {
	rec, err := decode[situation.Store](storeKey(id), have[storeKey(id)].value)
	if err != nil {
		return false, err
	}
	rec.Next = max(rec.Next, rec.Epoch)
	if unknown {
		seen = rec.Next + unknownRise
	}
	if rec.Next >= seen {
		return false, nil
	}
	rec.Next = seen
	return true, w.put(storeKey(id), rec)
}

func without(hosts []estate.HostID, one estate.HostID) []estate.HostID {
	return slices.DeleteFunc(slices.Clone(hosts), func(h estate.HostID) bool { return h == one })
}
