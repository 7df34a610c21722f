package tower

import (
	"path/filepath"
	"testing"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// What an isolated site closed is closed again where somebody starts it by hand meanwhile.
func TestWhatIsStartedByHandInAnIsolatedSiteIsClosedAgain(t *testing.T) {
	b := &beliefs{estate: estate.Estate{Stores: map[estate.StoreID]estate.Store{"talk-db": {Reads: "fresh", Members: map[estate.MemberID]estate.Member{
		"a": {Site: "a", Address: "10.0.0.1:5432"}, "b": {Site: "b", Address: "10.0.0.2:5432"}}}}}}
	i := &isolation{n: &Node{cfg: Config{Name: "tower-a", Site: "a"}}, spool: opened(t, filepath.Join(t.TempDir(), "spool.jsonl"))}
	shows := func(member estate.MemberID, running string) {
		b.now.Facts = map[string]map[string]string{situation.DatabaseTarget(b.estate, "talk-db", member): {situation.FactRunning: running}}
	}
	done := func(id run.ID, kind plan.Kind, subject string) {
		events := local(id)
		events[0].Plan.Kind, events[0].Plan.Subject = kind, subject
		i.spool.put(t, append(events, run.Event{Run: id, Seq: 3, At: noon, Kind: run.Ended, Step: 1, Outcome: run.Done}, run.Event{Run: id, Seq: 4, At: noon, Kind: run.Closed, Why: "done"})...)
	}
	shows("a", "false")
	done("local-a-1", plan.CutUsers, "a")
	if i.withdrawn(b) {
		t.Fatal("reads were not ended yet")
	}
	done("local-a-2", plan.CloseReads, "talk-db")
	if !i.withdrawn(b) {
		t.Fatal("everything was done")
	}
	shows("b", "true")
	if !i.withdrawn(b) {
		t.Fatal("the member of another site is none of its business")
	}
	shows("a", "true")
	if i.withdrawn(b) {
		t.Fatal("its own member answers, and it takes that for closed")
	}
}
