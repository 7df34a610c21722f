package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// stopped is a member whose server is down, on timeline 1, and whose control file says what it says.
func stopped(t *testing.T, control map[string]string) *Unit {
	t.Helper()
	dir := t.TempDir()
	u := &Unit{set: Settings{Store: "talk-db", Member: "a", Data: filepath.Join(dir, "data"), Bin: dir, Passfile: filepath.Join(dir, "pass"), Log: filepath.Join(dir, "log")},
		local: &local{}, log: slog.New(slog.DiscardHandler)}
	if err := os.Mkdir(u.set.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	var says strings.Builder
	for k, v := range control {
		fmt.Fprintf(&says, "%s: %s\n", k, v)
	}
	script := "#!/bin/sh\ncat <<'E'\n" + says.String() + "E\n"
	if err := os.WriteFile(filepath.Join(dir, "pg_controldata"), []byte(script), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	return u
}

// remembers is a memory that holds mem.
func remembers(t *testing.T, mem memory) *agent.Memory {
	t.Helper()
	raw, err := json.Marshal(mem)
	if err != nil {
		t.Fatal(err)
	}
	return agent.NewMemory(func() uint64 { return 3 }, func() json.RawMessage { return raw }, func(next json.RawMessage) error {
		raw = next
		return nil
	})
}

// salvages gives orders until the member has been read.
func salvages(ctx context.Context, t *testing.T, u *Unit, m *agent.Memory, run, fork string) situation.Salvage {
	t.Helper()
	o := agent.Order{Verb: agent.Salvage, Epoch: 3, Reign: 3, Run: run, Upstream: &agent.Upstream{Member: "c", Host: "127.0.0.1", Port: "1", Credential: 3, Reign: 3},
		Salvage: &agent.Salvaging{ID: run + "-a", Turns: []agent.Turn{{Timeline: 1, End: fork}, {Timeline: 2}}}}
	for {
		f, err := u.Do(ctx, o, m)
		if err != nil {
			t.Fatal(err)
		}
		if f[factReading] == readingNow {
			<-u.reading.ended
			continue
		}
		s, err := parseSalvage(f[factSalvage])
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// Between two primaries that followed each other more may have been lost than the first one lacked: what was read
// beside that one is not all, and the member is read again.
func TestWhatWasReadForOnePrimaryIsReadAgainForAnother(t *testing.T) {
	control := map[string]string{"Latest checkpoint's TimeLineID": "1", "Latest checkpoint location": "0/5000100", "Database cluster state": "shut down"}
	u := stopped(t, control)
	first := situation.Salvage{ID: "r-1-a", Method: situation.Decoded, State: situation.SalvageOpen, Rows: 2, Fork: "0/4000000"}
	kept := memory{Role: asPrimary, Reign: 1, Fenced: true, Read: read{Salvage: &first, Stand: 0x5000100, Kept: true}}
	m := remembers(t, kept)
	if s := salvages(t.Context(), t, u, m, "r-2", "0/4000000"); s.ID != "r-1-a" {
		t.Errorf("the same primary left it at the same place: %+v", s)
	}
	if s := salvages(t.Context(), t, u, m, "r-3", "0/3000000"); s.ID != "r-3-a" || s.Fork != "0/3000000" {
		t.Errorf("what lies between 0/3000000 and 0/4000000 was not read: %+v", s)
	}
	for what, c := range map[string]struct {
		e   evidence
		mem memory
		may bool
	}{
		"left where it was read":         {evidence{Beyond: "its log goes on", Fork: 0x4000000}, kept, true},
		"left earlier":                   {evidence{Beyond: "its log goes on", Fork: 0x3000000}, kept, false},
		"a follower that went on":        {evidence{Beyond: "its log goes on", Fork: 0x4000000}, memory{Role: asFollower, Read: read{Salvage: &situation.Salvage{Method: situation.Nothing, Fork: "0/0"}, Kept: true}}, false},
		"a follower of which log's gone": {evidence{Gone: "no log"}, memory{Role: asFollower, Read: read{Salvage: &situation.Salvage{Method: situation.Nothing, Fork: "0/0"}, Kept: true}}, true},
	} {
		if got := c.e.wasRead(c.mem); got != c.may {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// What an agent was writing when it died is gone after the next reading; what others deposit beside it stays.
func TestAReadingTakesAwayWhatADeadAgentLeft(t *testing.T) {
	u := stopped(t, map[string]string{"Database cluster state": "shut down"})
	if err := os.MkdirAll(u.Files(), 0o700); err != nil {
		t.Fatal(err)
	}
	left := &reader{u: u, o: agent.Order{Salvage: &agent.Salvaging{ID: "r-1-a"}}, control: map[string]string{"Database system identifier": "7"}, past: []turn{{timeline: 1}}}
	if err := left.create(); err != nil {
		t.Fatal(err)
	}
	left.file.Close() // and here the agent dies
	stay := []string{".r-1-b-a.salvage.new-1", "r-0-a.salvage", "r-1-b-a.salvage"}
	for _, name := range stay {
		if err := os.WriteFile(filepath.Join(u.Files(), name), []byte("rows"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	salvages(t.Context(), t, u, remembers(t, memory{Role: asPrimary, Reign: 1, Fenced: true}), "r-2", "0/3000000")
	all, err := os.ReadDir(u.Files())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range all {
		names = append(names, f.Name())
	}
	if diff := cmp.Diff(stay, names); diff != "" {
		t.Error(diff)
	}
}

// People were told to mend the disk and to have it read again: another run does, the same one does not.
func TestAnUnreadableMemberIsReadAgainByAnotherRun(t *testing.T) {
	u := stopped(t, map[string]string{"Database cluster state": "shut down"}) // it names no timeline
	m := remembers(t, memory{Role: asPrimary, Reign: 1, Fenced: true})
	if s := salvages(t.Context(), t, u, m, "r-1", "0/3000000"); s.Method != situation.Unreadable {
		t.Fatalf("%+v", s)
	}
	if s := salvages(t.Context(), t, u, m, "r-1", "0/3000000"); s.ID != "r-1-a" {
		t.Errorf("%+v", s)
	}
	if s := salvages(t.Context(), t, u, m, "r-2", "0/3000000"); s.ID != "r-2-a" {
		t.Errorf("it was not read again: %+v", s)
	}
}

// The disk of a former primary, and with it what its agent knew, was replaced: people decide, and nothing that lies
// in a directory of which nobody knows anything is touched.
func TestAMemberThatHasForgottenAllIsAskedAbout(t *testing.T) {
	u := stopped(t, nil)
	m := remembers(t, memory{})
	if s := salvages(t.Context(), t, u, m, "r-1", "0/3000000"); s.Method != situation.Unreadable {
		t.Errorf("%+v", s)
	}
	if err := os.WriteFile(filepath.Join(u.set.Data, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := u.maySalvage(agent.Order{Reign: 3, Salvage: &agent.Salvaging{ID: "r-2-a", Turns: []agent.Turn{{Timeline: 1}}}}, memory{})
	if err == nil || !strings.Contains(err.Error(), "holds files") {
		t.Error(err)
	}
}

// A member that only ever received is made anew without having been read. Where that is cut off, the next run finds it
// broken, with no salvage, and goes on to make it anew.
func TestAFollowerWhoseCopyWasCutOffNeedsNoSalvage(t *testing.T) {
	w := newFakeWorld(t)
	w.moved()
	w.members["pangyo"].mem = memory{Role: asFollower}
	w.members["pangyo"].broken = true
	res, err := w.driver().Do(t.Context(), w.task(plan.Salvage, nil, "pangyo"))
	if err != nil || res.Outcome != run.Done || res.Salvage != nil {
		t.Errorf("%+v, %v", res, err)
	}
}

// A look believes a salvage only where the record's primary left the member there.
func TestALookDoesNotTakeTheSalvageOfAnotherPrimary(t *testing.T) {
	for fork, want := range map[string]run.Outcome{"0/3000100": run.Done, "0/2000000": run.NotDone} {
		w := newFakeWorld(t)
		w.moved()
		w.members["pangyo"].mem = memory{Role: asPrimary, Fenced: true, Read: read{Salvage: &situation.Salvage{ID: "r-0-pangyo", Method: situation.Decoded, Rows: 1, Fork: fork}, Kept: true}}
		if res, err := w.driver().Look(t.Context(), w.task(plan.Salvage, nil, "pangyo")); err != nil || res.Outcome != want {
			t.Errorf("%s: %+v, %v", fork, res, err)
		}
	}
}

// Towers whose records are older than the store, since they were restored or one went on alone, must not have the
// primary made a follower of the one before it.
func TestAPrimaryOfALaterEpochIsNotMadeAFollower(t *testing.T) {
	u := &Unit{set: Settings{Member: "a"}}
	o := agent.Order{Reign: 2, Upstream: &agent.Upstream{Member: "b", Host: "10.0.0.1", Port: "5432", Credential: 2, Reign: 2}}
	for reign, may := range map[uint64]bool{1: true, 2: false, 3: false} {
		if err := u.mayRejoin(o, memory{Role: asPrimary, Reign: reign, Fenced: true}); (err == nil) != may {
			t.Errorf("of epoch %d: %v", reign, err)
		}
	}
}

// A reading may end before whoever ordered it is answered: that answer says that it goes on, and the next one what it found.
func TestAReadingThatHasEndedIsTakenByTheNextOrder(t *testing.T) {
	u := stopped(t, nil)
	u.reading.begin(func(context.Context, func(string)) (readResult, error) { return readResult{}, nil })
	<-u.reading.ended
	if f := u.readsNow(memory{}); f[factReading] != readingNow {
		t.Errorf("%v", f)
	}
}
