package agent

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
)

// An agent goes by one cluster of towers. Those that were given up for others are refused for good, with any term, by it and
// by the agent that is started after it.
func TestTowersThatWereGivenUpAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	start := func() *Server {
		s, err := NewServer(path, "", map[string]Unit{"db": &fakeUnit{}}, slog.New(slog.DiscardHandler))
		check(t, err)
		return s
	}
	give := func(s *Server, want Code, o Order, line string) Answer {
		t.Helper()
		o.Line = line
		a := s.Carry(t.Context(), o)
		if a.Code != want {
			t.Fatalf("%s of line %q: %q (%s), want %q", o.Verb, line, a.Code, a.Error, want)
		}
		return a
	}
	look := Order{Version: 1, Verb: Status, Unit: "db"}
	nobodys := Order{Version: 1, Verb: Status, Unit: "there is none"}
	s := start()
	give(s, "", order(Seal, 5, 1), "") // of the release before
	give(s, "", order(Seal, 5, 1), "aaaa")
	give(s, OldTerm, order(Seal, 4, 1), "bbbb") // is not followed by that
	give(s, "", order(Seal, 5, 1), "aaaa")

	a := give(s, UnknownUnit, nobodys, "bbbb") // whoever is restored asks, and is followed from then on
	if a.Term != 5 || !slices.Equal(a.Lines, []string{"aaaa", "bbbb"}) {
		t.Fatalf("the answer is %+v", a)
	}
	for _, s := range []*Server{s, start()} {
		give(s, OldLine, order(Seal, 500, 9), "aaaa")
		give(s, OldLine, look, "aaaa")
		give(s, "", order(Seal, 5, 1), "bbbb")
		if a := give(s, "", look, ""); a.Facts[FactLines] != "aaaa bbbb" || a.Term != 5 {
			t.Fatalf("a look says %+v", a)
		}
	}
	give(s, "", order(Seal, 6, 1), "cccc") // a cluster that is new as a whole is followed with its first order
	give(s, OldLine, order(Seal, 7, 1), "bbbb")
}

// Where other towers ask in the middle of an act, nothing of it is written any more: what they were told is all that there is.
func TestAnActThatOthersOvertakeIsNotRemembered(t *testing.T) {
	u := &fakeUnit{}
	s := host(t, t.TempDir(), u)
	var told Answer
	u.do = func(ctx context.Context, o Order, m *Memory) (map[string]string, error) {
		told = s.Carry(ctx, Order{Version: 1, Verb: Status, Unit: "db", Line: "bbbb"})
		return nil, m.Save("promoted")
	}
	o := order(Promote, 5, 3)
	o.Line = "aaaa"
	if a := s.Carry(t.Context(), o); a.Code != OldLine {
		t.Fatalf("%+v", a)
	}
	if told.Code != "" || told.Term != 5 || told.Epoch != 3 {
		t.Fatalf("the others were told %+v", told)
	}
	var remembered string
	if err := s.state.memory("db").Load(&remembered); err != nil || remembered != "" {
		t.Fatalf("%q is remembered, %v", remembered, err)
	}
}
