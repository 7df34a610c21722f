package state_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/state/etcdtest"
)

// elsewhere copies the records of a member into another cluster, as a restore does.
func elsewhere(t *testing.T, m *etcd.Member, opts ...state.Option) *state.Store {
	t.Helper()
	var b bytes.Buffer
	must(t, etcd.Copy(ctx(t), m.Client(), &b))
	file := filepath.Join(t.TempDir(), "copy")
	must(t, os.WriteFile(file, b.Bytes(), 0o600))
	c := etcdtest.Config(t)
	c.DataDir = filepath.Join(t.TempDir(), "etcd")
	must(t, etcd.Restore(c, file, "another"))
	return open(t, etcdtest.Start(t, c).Client(), "tower-b", opts...)
}

// lived is a cluster with a history: armed, an open run, a store under epoch 3, a wish of a person.
func lived(t *testing.T) (*etcd.Member, state.Drive) {
	t.Helper()
	m := etcdtest.Start(t, etcdtest.Config(t))
	s := open(t, m.Client(), "tower-a")
	d, err := s.Claim(ctx(t), state.Drive{})
	must(t, err)
	must(t, s.Arm(ctx(t), "*", "kim"))
	_, err = s.Append(ctx(t), d, []journal.Entry{{Kind: "note", Text: "a record"}},
		state.StorePut{ID: "talk-db", Store: situation.Store{Epoch: 3, Primary: "a", Sync: []estate.MemberID{"b"}, Any: 1, LeastAny: 1, Next: 4}})
	must(t, err)
	p := plan.Plan{Version: 1, Kind: plan.LevelDNS, Subject: "ns-a", Steps: []plan.Step{{ID: 1, Verb: plan.Level, Driver: "dns", Component: "ns-a"}}}
	id := nth(t, s, 1)
	must(t, s.AppendBatch(ctx(t), d, state.Batch{Events: []run.Event{{Run: id, Seq: 1, Kind: run.Opened, Plan: &p, Term: d.Term}}}))
	_, err = s.Ask(ctx(t), state.Ask{Verb: "abort", Run: id, By: "kim"})
	must(t, err)
	return m, d
}

func TestTheFirstClaimBeginsTheLine(t *testing.T) {
	m, _ := lived(t)
	s := open(t, m.Client(), "tower-a")
	snap := until(t, s, func(s state.Snapshot) bool { return s.Line.Number > 0 })
	if snap.Line.Number != 1 || snap.Line.Cluster != s.Cluster() && s.Cluster() != "" || snap.Line.Kind != "" {
		t.Fatalf("line = %+v", snap.Line)
	}
	must(t, s.BeginLine(ctx(t), state.Line{Kind: state.Restored})) // its own records: nothing happens
	if again := s.Snapshot(); len(again.Armed) != 1 || again.Line.Number != 1 {
		t.Fatalf("a line began over its own records: %+v", again.Line)
	}
}

// Records that turn up in another cluster: nobody drives, nothing is armed, no run goes on, before the
// agents were asked; and then term and epochs are above all that they have seen.
func TestRestoredRecordsBeginANewLine(t *testing.T) {
	m, d := lived(t)
	s := elsewhere(t, m)
	until(t, s, func(s state.Snapshot) bool { return len(s.Index) == 1 })
	_, err := s.Claim(ctx(t), d)
	wantIs(t, err, state.ErrOutOfLine)

	must(t, s.BeginLine(ctx(t), state.Line{Kind: state.Restored, From: "a copy", By: "kim", Why: "disks lost", Unasked: []estate.HostID{"db-a", "db-b"}}))
	snap := until(t, s, func(s state.Snapshot) bool { return s.Line.Number == 2 })
	if len(snap.Armed) != 0 || len(snap.Asks) != 0 || len(snap.OpenRuns()) != 0 || snap.Drive != (state.Drive{Term: d.Term}) {
		t.Fatalf("armed %v, asks %v, open %v, drive %+v", snap.Armed, snap.Asks, snap.OpenRuns(), snap.Drive)
	}
	if diff := cmp.Diff(situation.Store{Next: 4}, snap.Stores["talk-db"]); diff != "" {
		t.Fatal("what a store's record said of yesterday still counts:", diff)
	}
	r, err := run.Replay(snap.Runs[slices.Collect(maps.Keys(snap.Index))[0]])
	must(t, err)
	if !strings.HasPrefix(r.Closed, "left: ") || len(r.Next()) != 0 {
		t.Fatalf("the run is %q and wants %v", r.Closed, r.Next())
	}
	_, err = s.Claim(ctx(t), snap.Drive)
	wantIs(t, err, state.ErrOutOfLine)

	must(t, s.Learn(ctx(t), state.Heard{Host: "db-a", Term: 70, Epochs: map[estate.StoreID]uint64{"talk-db": 9}}))
	must(t, s.Learn(ctx(t), state.Heard{Host: "db-a", Term: 99})) // it was asked already
	must(t, s.Learn(ctx(t), state.Heard{Host: "new", Term: 65}))  // the estate names it since
	must(t, s.Learn(ctx(t), state.Heard{Host: "db-b", Term: 60, Epochs: map[estate.StoreID]uint64{"talk-db": 2}}))
	snap = until(t, s, func(s state.Snapshot) bool { return len(s.Line.Unasked) == 0 && s.Line.Number == 2 })
	if snap.Drive.Term != 70 || snap.Stores["talk-db"].Next != 9 {
		t.Fatalf("term %d, epoch %d", snap.Drive.Term, snap.Stores["talk-db"].Next)
	}
	now, err := s.Claim(ctx(t), snap.Drive)
	must(t, err)
	if now.Term != 71 {
		t.Fatalf("term %d", now.Term)
	}
	entries, err := s.Journal(ctx(t), 1, 0)
	must(t, err)
	must(t, journal.Verify(entries))
	if !slices.ContainsFunc(entries, func(e journal.Entry) bool {
		return strings.Contains(e.Text, "kim restored the towers' records from a copy: disks lost")
	}) {
		t.Fatal("the journal does not say where it was restored from")
	}
}

// One tower that goes on alone keeps what it knows of the stores, above all that those can have seen
// who are not asked.
func TestRecoveredRecordsKeepTheStores(t *testing.T) {
	m, d := lived(t)
	s := elsewhere(t, m)
	until(t, s, func(s state.Snapshot) bool { return len(s.Index) == 1 })
	must(t, s.BeginLine(ctx(t), state.Line{Kind: state.Recovered, By: "kim", Why: "two sites burned", Waived: []estate.HostID{"db-a"}, Unasked: []estate.HostID{"db-b"}}))
	must(t, s.Waive(ctx(t), "db-b", []estate.StoreID{"talk-db"}, "kim", "its host burned too"))
	err := s.Waive(ctx(t), "db-b", nil, "kim", "again")
	wantIs(t, err, state.ErrNotFound)
	snap := until(t, s, func(s state.Snapshot) bool { return len(s.Line.Waived) == 2 })
	rec := snap.Stores["talk-db"]
	if rec.Epoch != 3 || rec.Primary != "a" || rec.Next != 4+1000+1000 || snap.Drive.Term != d.Term+2000 {
		t.Fatalf("record %+v, drive %+v", rec, snap.Drive)
	}
	now, err := s.Claim(ctx(t), snap.Drive)
	must(t, err)
	// One that was not waited for is back, and has seen more than anybody thought: the driver is deposed.
	must(t, s.Learn(ctx(t), state.Heard{Host: "db-a", Term: now.Term + 5, Epochs: map[estate.StoreID]uint64{"talk-db": 9000}}))
	_, err = s.Append(ctx(t), now, []journal.Entry{{Text: "late"}})
	wantIs(t, err, state.ErrDeposed)
	snap = until(t, s, func(s state.Snapshot) bool { return len(s.Line.Waived) == 1 })
	if snap.Drive.Term != now.Term+5 || snap.Stores["talk-db"].Next != 9000 {
		t.Fatalf("%+v, %+v", snap.Drive, snap.Stores["talk-db"])
	}
}

// The release before wrote no line. Where its records are known to be of a copy, one begins all the same, and it is
// above the first, by which those go who were left behind.
func TestACopyOfRecordsWithoutALineBeginsOne(t *testing.T) {
	m, d := lived(t)
	_, err := m.Client().Delete(ctx(t), "/haechi/now/line")
	must(t, err)
	s := elsewhere(t, m)
	until(t, s, func(s state.Snapshot) bool { return len(s.Index) == 1 })
	if s.Foreign() {
		t.Fatal("of a cluster that was upgraded nobody said that it is a copy")
	}
	s = elsewhere(t, m, state.OfCopy())
	until(t, s, func(s state.Snapshot) bool { return len(s.Index) == 1 })
	_, err = s.Claim(ctx(t), d)
	wantIs(t, err, state.ErrOutOfLine)
	must(t, s.BeginLine(ctx(t), state.Line{Kind: state.Recovered, By: "kim", Why: "two sites burned"}))
	snap := until(t, s, func(s state.Snapshot) bool { return s.Line.Number == 2 })
	if len(snap.Armed) != 0 || len(snap.OpenRuns()) != 0 || s.Foreign() {
		t.Fatalf("armed %v, open %v, foreign %v", snap.Armed, snap.OpenRuns(), s.Foreign())
	}
	_, err = s.Claim(ctx(t), snap.Drive)
	must(t, err)
}

// The records were lost with every copy, and the cluster is a new one: as soon as it hears of what an agent has
// seen, term and epochs are above that. Of agents that have seen nothing else than its own orders nothing is written.
func TestAFirstLineRisesAboveWhatAgentsRemember(t *testing.T) {
	s := open(t, etcdtest.Start(t, etcdtest.Config(t)).Client(), "tower-a")
	d := claimed(t, s)
	_, err := s.Append(ctx(t), d, []journal.Entry{{Text: "a record"}}, state.NextPut{ID: "talk-db", Next: 2})
	must(t, err)
	before, err := s.Journal(ctx(t), 1, 0)
	must(t, err)
	must(t, s.Learn(ctx(t), state.Heard{Host: "db-a", Term: d.Term, Epochs: map[estate.StoreID]uint64{"talk-db": 2}}))
	must(t, s.Learn(ctx(t), state.Heard{Host: "ns-a"}))
	after, err := s.Journal(ctx(t), 1, 0)
	must(t, err)
	if holds, err := s.Drive(ctx(t)); err != nil || holds != d || len(after) != len(before) {
		t.Fatalf("what its own orders left changed something: %+v %v, %d entries after %d", holds, err, len(after), len(before))
	}

	must(t, s.Learn(ctx(t), state.Heard{Host: "db-b", Term: 40, Epochs: map[estate.StoreID]uint64{"talk-db": 7}}))
	must(t, s.Learn(ctx(t), state.Heard{Host: "db-c", Term: 12, Epochs: map[estate.StoreID]uint64{"talk-db": 9}}))
	snap := until(t, s, func(s state.Snapshot) bool { return len(s.Line.Heard) == 2 })
	if snap.Drive != (state.Drive{Term: 40}) || snap.Stores["talk-db"].Next != 9 || snap.Line.Number != 1 {
		t.Fatalf("%+v, %+v, line %+v", snap.Drive, snap.Stores["talk-db"], snap.Line)
	}
	_, err = s.Append(ctx(t), d, []journal.Entry{{Text: "under the term that is refused"}})
	wantIs(t, err, state.ErrDeposed)
	now, err := s.Claim(ctx(t), snap.Drive)
	must(t, err)
	if now.Term != 41 {
		t.Fatalf("term %d", now.Term)
	}
}

// Run IDs begin again where records are lost or go back, and what is named after a run lies beside agents for long. So no
// two runs have one ID, whichever way the records came about.
func TestNoTwoRunsHaveOneID(t *testing.T) {
	m, _ := lived(t)
	was := open(t, m.Client(), "tower-a")
	ids := map[run.ID]string{nth(t, was, 2): "the next one of the records that were lost"}
	next := func(what string, s *state.Store) {
		t.Helper()
		id, err := s.NextRun(ctx(t))
		must(t, err)
		if other, twice := ids[id]; twice {
			t.Fatalf("%s: run %s is also %s", what, id, other)
		}
		ids[id] = what
		opened(t, s, claimed(t, s))
		snap := until(t, s, func(s state.Snapshot) bool { return s.Index[id].ID != "" })
		if all := slices.Sorted(maps.Keys(snap.Index)); all[len(all)-1] != id {
			t.Fatalf("%s does not follow what was before: %v", id, all)
		}
	}
	for range 2 {
		s := elsewhere(t, m)
		until(t, s, func(s state.Snapshot) bool { return len(s.Index) == 1 })
		must(t, s.BeginLine(ctx(t), state.Line{Kind: state.Restored, By: "kim", Why: "disks lost"}))
		until(t, s, func(s state.Snapshot) bool { return s.Line.Number == 2 })
		next("of a restored copy", s)
	}
	ids["r-000001"] = "the first of the release before"
	for range 2 {
		s := open(t, etcdtest.Start(t, etcdtest.Config(t)).Client(), "tower-a")
		claimed(t, s)
		next("the first of a new cluster", s)
	}
}

// A run and a line over hundreds of stores are written at once, as they are over one.
func TestHundredsOfStores(t *testing.T) {
	const stores = 500
	m := etcdtest.Start(t, etcdtest.Config(t))
	s := open(t, m.Client(), "tower-a")
	d := claimed(t, s)
	must(t, s.Arm(ctx(t), "*", "kim"))
	id, err := s.NextRun(ctx(t))
	must(t, err)
	p := &plan.Plan{Version: 1, Kind: plan.LoseSite, Subject: "pangyo"}
	b := state.Batch{Events: []run.Event{{Run: id, Seq: 1, Kind: run.Opened, Plan: p}}}
	for i := range stores {
		store := estate.StoreID(fmt.Sprintf("db-%03d", i))
		p.Steps = append(p.Steps, plan.Step{ID: i + 1, Verb: plan.Seal, Driver: "postgres", Component: string(store), Members: []string{"b", "c"}})
		b.Events = append(b.Events, run.Event{Run: id, Seq: i + 2, Kind: run.Began, Step: i + 1, Why: "seal " + string(store)})
		rec := situation.Store{Epoch: 3, Primary: "a", Sync: []estate.MemberID{"b", "c"}, Any: 1, LeastAny: 1}
		b.Changes = append(b.Changes, state.StorePut{ID: store, Store: rec}, state.NextPut{ID: store, Next: 4})
	}
	must(t, s.AppendBatch(ctx(t), d, b))
	until(t, s, func(s state.Snapshot) bool { return len(s.Runs[id]) == stores+1 })

	s = elsewhere(t, m)
	until(t, s, func(s state.Snapshot) bool { return len(s.Stores) == stores })
	must(t, s.BeginLine(ctx(t), state.Line{Kind: state.Restored, From: "a copy", By: "kim", Why: "disks lost", Unasked: []estate.HostID{"db-a"}}))
	h := state.Heard{Host: "db-a", Term: 70, Epochs: map[estate.StoreID]uint64{}}
	for i := range stores {
		h.Epochs[estate.StoreID(fmt.Sprintf("db-%03d", i))] = 9
	}
	must(t, s.Learn(ctx(t), h))
	snap := until(t, s, func(s state.Snapshot) bool { return len(s.Line.Heard) == 1 })
	if len(snap.Armed) != 0 || len(snap.OpenRuns()) != 0 || len(snap.Stores) != stores {
		t.Fatalf("armed %v, open %v, %d stores", snap.Armed, snap.OpenRuns(), len(snap.Stores))
	}
	for id, rec := range snap.Stores {
		if diff := cmp.Diff(situation.Store{Next: 9}, rec); diff != "" {
			t.Fatal(id, diff)
		}
	}
	_, err = s.Claim(ctx(t), snap.Drive)
	must(t, err)
}
