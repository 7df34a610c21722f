package tower

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/executor"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/state/etcdtest"
	"github.com/haechi/haechi/tower/web"
)

func newBook(t *testing.T) (*book, *state.Store, *state.Drive) {
	t.Helper()
	s := state.Open(etcdtest.Client(t), "tower-a")
	t.Cleanup(s.Close)
	d, err := s.Claim(within(t), state.Drive{})
	must(t, err)
	return &book{store: s, drive: func() (state.Drive, bool) { return d, d.Tower != "" }, plans: map[run.ID]plan.Plan{}}, s, &d
}

// nth is the ID of the n-th run of s's records.
func nth(t *testing.T, s *state.Store, n int) run.ID {
	t.Helper()
	id, err := s.NextRun(within(t))
	must(t, err)
	return run.ID(fmt.Sprintf("r-%06d%s", n, string(id)[len("r-000000"):]))
}

func TestErrorsAreTheExecutors(t *testing.T) {
	for from, want := range map[error]error{
		state.ErrDeposed: executor.ErrDeposed, state.ErrStale: executor.ErrRefused, state.ErrClosed: executor.ErrRefused,
		state.ErrConflict: executor.ErrRefused, state.ErrOldEpoch: executor.ErrRefused, state.ErrNotFound: executor.ErrRefused,
	} {
		got := refusedFor(fmt.Errorf("where: %w", from))
		if !errors.Is(got, want) || !errors.Is(got, from) {
			t.Errorf("%v becomes %v, want %v", from, got, want)
		}
	}
	for _, unknown := range []error{nil, state.ErrNoQuorum, state.ErrNoSpace} { // it may have happened: the same again
		if got := refusedFor(unknown); got != unknown {
			t.Errorf("%v becomes %v", unknown, got)
		}
	}
}

// What a run rests on stands just before it in the journal, also where it takes over from another.
func TestVerdictsStandBeforeTheRun(t *testing.T) {
	b, s, _ := newBook(t)
	one, two := nth(t, s, 1), nth(t, s, 2)
	ctx := before(within(t), []journal.Entry{{Kind: "verdict", Text: "a is lost"}, {Kind: "decision", Text: "haechi starts"}})
	first := local(one)
	must(t, b.Append(ctx, 1, first, executor.Change{}))
	must(t, b.Append(ctx, 1, first, executor.Change{})) // as after a lost answer
	over := append([]run.Event{{Run: one, Seq: 3, Kind: run.Closed, Why: "superseded"}}, local(two)...)
	must(t, b.Append(ctx, 1, over, executor.Change{}))
	must(t, b.Append(ctx, 1, []run.Event{{Run: two, Seq: 3, Kind: run.Ended, Step: 1, Outcome: run.Done}}, executor.Change{}))
	entries, err := s.Journal(within(t), 2, 0)
	must(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Kind+" "+e.Subject+": "+e.Text)
	}
	opens := func(id string) []string {
		return []string{"verdict : a is lost", "decision : haechi starts", "run " + id + ": opened: cut-users a, 1 step", "run " + id + ": withdraw talk.example. (a): begins (" + string(plan.Asked) + ")"}
	}
	second := opens(string(two))
	want := append(opens(string(one)), second[0], second[1], "run "+string(one)+": closed: superseded", second[2], second[3], "run "+string(two)+": withdraw talk.example. (a): done")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestRecordsChangeWithTheEvent(t *testing.T) {
	b, s, d := newBook(t)
	id := nth(t, s, 1)
	c := executor.Change{
		Stores: map[estate.StoreID]situation.Store{"talk-db": {Epoch: 1, Primary: "a"}}, Next: map[estate.StoreID]uint64{"talk-db": 2},
		Intents: map[estate.SiteID]situation.Intent{"a": situation.Draining}, Answers: []executor.Answer{{Name: "talk.example.", Site: "a", Out: true}},
	}
	must(t, b.Append(within(t), 1, local(id), c))
	rec, err := b.Store(within(t), "talk-db")
	must(t, err)
	if rec.Epoch != 1 || rec.Next != 2 {
		t.Fatalf("record = %+v", rec)
	}
	agreed, err := s.Agreed(within(t), nil, []estate.NameID{"talk.example.", "other.example."})
	must(t, err)
	if diff := cmp.Diff(map[estate.NameID][]estate.SiteID{"talk.example.": {"a"}}, agreed.Withdrawn); diff != "" {
		t.Fatal(diff)
	}
	events, err := b.Load(within(t), id)
	must(t, err)
	if len(events) != 2 {
		t.Fatalf("events = %v", events)
	}
	if _, err := b.Load(within(t), "r-000009"); !errors.Is(err, executor.ErrRefused) {
		t.Fatalf("a run that is not there: %v", err)
	}

	late := []run.Event{{Run: id, Seq: 3, Kind: run.Paused}}
	err = b.Append(within(t), 7, late, executor.Change{})
	if !errors.Is(err, executor.ErrDeposed) {
		t.Fatalf("under another term: %v", err)
	}
	if no, ok := errors.AsType[*web.Refused](refusal(err)); !ok || no.Code != web.NotDriver {
		t.Errorf("nothing was written, and the others are not asked: %v", refusal(err))
	}
	d.Claim = "of a process before this one"
	err = b.Append(within(t), 1, late, executor.Change{})
	if !errors.Is(err, executor.ErrDeposed) {
		t.Fatalf("under the claim of another process: %v", err)
	}
	if no, ok := errors.AsType[*web.Refused](refusal(err)); !ok || no.Code != web.Conflict {
		t.Errorf("an earlier try may have been written, and is asked for again: %v", refusal(err))
	}
	*d = state.Drive{}
	if err := b.Append(within(t), 1, late, executor.Change{}); !errors.Is(err, executor.ErrDeposed) {
		t.Fatalf("without a drive: %v", err)
	}
}

func TestPlansAreForgottenWithTheirRuns(t *testing.T) {
	b, s, _ := newBook(t)
	id := nth(t, s, 1)
	must(t, b.Append(within(t), 1, local(id), executor.Change{}))
	ended := run.Event{Run: id, Seq: 3, Kind: run.Ended, Step: 1, Outcome: run.NotDone, Why: "no server"}
	if says := b.text(ended); !strings.Contains(says, "withdraw talk.example. (a): not done; no server") {
		t.Fatalf("text = %q", says)
	}
	must(t, b.Append(within(t), 1, []run.Event{{Run: id, Seq: 3, Kind: run.Closed, Why: "done"}}, executor.Change{}))
	if len(b.plans) != 0 {
		t.Fatalf("plans = %v", b.plans)
	}
}
