package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// fakeUnit does what its functions say; both may be nil.
type fakeUnit struct {
	do    func(context.Context, Order, *Memory) (map[string]string, error)
	acts  []Order
	files string
}

func (f *fakeUnit) Look(context.Context, Order, *Memory) (map[string]string, error) {
	return map[string]string{"running": "true"}, nil
}

func (f *fakeUnit) Do(ctx context.Context, o Order, m *Memory) (map[string]string, error) {
	f.acts = append(f.acts, o)
	if f.do == nil {
		return map[string]string{"did": string(o.Verb)}, nil
	}
	return f.do(ctx, o, m)
}

// host is a server whose files are in dir, so that it can be opened again.
func host(t *testing.T, dir string, u Unit) *Server {
	t.Helper()
	s, err := NewServer(filepath.Join(dir, "state.json"), filepath.Join(dir, "hold"), map[string]Unit{"db": u}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func order(v Verb, term, epoch uint64) Order {
	return Order{Version: 1, Verb: v, Unit: "db", Term: term, Epoch: epoch}
}

func TestOrdersThatAreNotOnTheListAreRefused(t *testing.T) {
	u := &fakeUnit{}
	s := host(t, t.TempDir(), u)
	for name, c := range map[string]struct {
		o    Order
		code Code
	}{
		"no such verb":    {order("reboot", 1, 1), UnknownVerb},
		"no verb":         {order("", 1, 1), UnknownVerb},
		"no such unit":    {Order{Version: 1, Verb: Seal, Unit: "../db", Term: 1}, UnknownUnit},
		"another version": {Order{Version: 2, Verb: Seal, Unit: "db", Term: 1}, BadOrder},
		"no term":         {order(Seal, 0, 1), BadOrder},
	} {
		if a := s.Carry(t.Context(), c.o); a.Code != c.code || a.Error == "" {
			t.Errorf("%s: %+v, want %s", name, a, c.code)
		}
	}
	if len(u.acts) > 0 {
		t.Errorf("the unit was asked: %+v", u.acts)
	}
}

func TestOldOrdersAreRefusedAlsoAfterARestart(t *testing.T) {
	dir := t.TempDir()
	u := &fakeUnit{}
	if a := host(t, dir, u).Carry(t.Context(), order(Seal, 5, 7)); a.Code != "" || a.Term != 5 || a.Epoch != 7 {
		t.Fatalf("%+v", a)
	}
	s := host(t, dir, u) // everything but the files is gone
	for _, c := range []struct {
		term, epoch uint64
		code        Code
	}{{4, 8, OldTerm}, {4, 7, OldTerm}, {5, 6, OldEpoch}, {6, 6, OldEpoch}, {5, 7, ""}, {6, 7, ""}, {5, 9, OldTerm}} {
		if a := s.Carry(t.Context(), order(Promote, c.term, c.epoch)); a.Code != c.code {
			t.Errorf("term %d epoch %d: %+v, want %q", c.term, c.epoch, a, c.code)
		}
	}
	if len(u.acts) != 3 {
		t.Errorf("%d acts, want 3", len(u.acts))
	}
	if a := s.Carry(t.Context(), Order{Version: 1, Verb: Status, Unit: "db"}); a.Code != "" || a.Term != 6 || a.Facts["running"] != "true" {
		t.Errorf("status needs no term: %+v", a)
	}
}

func TestTermAndEpochAreOnDiskBeforeTheAct(t *testing.T) {
	dir := t.TempDir()
	u := &fakeUnit{}
	u.do = func(context.Context, Order, *Memory) (map[string]string, error) {
		if a := host(t, dir, &fakeUnit{}).Carry(t.Context(), order(Seal, 2, 1)); a.Code != OldTerm {
			t.Errorf("during the act another agent with the same file takes an older order: %+v", a)
		}
		return nil, nil
	}
	host(t, dir, u).Carry(t.Context(), order(Seal, 3, 1))
}

// savingUnit saves before it acts, so its order's term and epoch come with that.
type savingUnit struct{ fakeUnit }

func (*savingUnit) SavesFirst() {}

func TestWhatAUnitSavesIsThereAfterARestart(t *testing.T) {
	dir := t.TempDir()
	u := &savingUnit{}
	u.do = func(_ context.Context, o Order, m *Memory) (map[string]string, error) {
		if m.Epoch() != o.Epoch {
			t.Errorf("epoch %d in an order of epoch %d", m.Epoch(), o.Epoch)
		}
		if err := m.Save(map[string]int{"x": 1}); err != nil {
			return nil, err
		}
		if a := host(t, dir, &fakeUnit{}).Carry(t.Context(), order(Seal, 1, 3)); a.Code != OldTerm {
			t.Errorf("the save did not carry the term: %+v", a)
		}
		return nil, nil
	}
	if a := host(t, dir, u).Carry(t.Context(), order(Seal, 2, 3)); a.Code != "" {
		t.Fatalf("%+v", a)
	}
	again := &fakeUnit{}
	again.do = func(_ context.Context, _ Order, m *Memory) (map[string]string, error) {
		have := map[string]int{}
		if err := m.Load(&have); err != nil || have["x"] != 1 {
			t.Errorf("remembered %v, %v", have, err)
		}
		return nil, nil
	}
	if a := host(t, dir, again).Carry(t.Context(), order(Start, 2, 3)); a.Code != "" {
		t.Errorf("%+v", a)
	}
}

func TestARefusalThatSavedNothingStillRaisesTheTerm(t *testing.T) {
	u := &savingUnit{}
	u.do = func(context.Context, Order, *Memory) (map[string]string, error) { return nil, Refuse(Unsafe, "no") }
	s := host(t, t.TempDir(), u)
	if a := s.Carry(t.Context(), order(Seal, 4, 2)); a.Code != Unsafe || a.Term != 4 || a.Epoch != 2 {
		t.Errorf("%+v", a)
	}
}

func TestABrokenStateFileStopsTheAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	for _, text := range []string{"{", `{"version": 9}`, ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewServer(path, "", nil, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("state file %q was taken for a new agent's", text)
		}
	}
}

func TestAHeldHostOnlyLooks(t *testing.T) {
	dir := t.TempDir()
	u := &fakeUnit{}
	s := host(t, dir, u)
	hold := filepath.Join(dir, "hold")
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if a := s.Carry(t.Context(), order(Fence, 9, 9)); a.Code != Held || a.Term != 0 {
		t.Errorf("%+v", a)
	}
	if a := s.Carry(t.Context(), Order{Version: 1, Verb: Status, Unit: "db"}); a.Facts["held"] != "true" {
		t.Errorf("%+v", a)
	}
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}
	if a := s.Carry(t.Context(), order(Fence, 1, 1)); a.Code != "" {
		t.Errorf("%+v", a)
	}
}

func TestAFailureIsNotARefusal(t *testing.T) {
	u := &fakeUnit{do: func(context.Context, Order, *Memory) (map[string]string, error) { return nil, errors.New("half done") }}
	if a := host(t, t.TempDir(), u).Carry(t.Context(), order(Seal, 1, 1)); a.Code != Failed || a.Error != "half done" {
		t.Errorf("%+v", a)
	}
}

func TestANewerTermEndsTheActOfAnOlder(t *testing.T) {
	u := &fakeUnit{}
	began := make(chan struct{})
	u.do = func(ctx context.Context, o Order, _ *Memory) (map[string]string, error) {
		if o.Term > 1 {
			return nil, nil
		}
		close(began)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	s := host(t, t.TempDir(), u)
	old := make(chan Answer)
	go func() { old <- s.Carry(t.Context(), order(Stop, 1, 1)) }()
	<-began
	if a := s.Carry(t.Context(), order(Seal, 2, 2)); a.Code != "" {
		t.Errorf("the newer: %+v", a)
	}
	if a := <-old; a.Code != Failed || a.Error != errSuperseded.Error() {
		t.Errorf("the older: %+v", a)
	}
}

func TestAnOrderForWhichNobodyWaitsIsNotCarriedOut(t *testing.T) {
	u := &fakeUnit{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a := host(t, t.TempDir(), u).Carry(ctx, order(Seal, 1, 1)); a.Code != Late || len(u.acts) > 0 {
		t.Errorf("%+v, acts %v", a, u.acts)
	}
}
