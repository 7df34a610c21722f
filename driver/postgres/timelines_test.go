package postgres

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/agent"
)

var turnsCmp = cmp.AllowUnexported(turn{})

func TestHistoryFiles(t *testing.T) {
	got, err := parseHistory("1\t0/5000148\tno recovery target specified\n\n# a comment\n2\t0/6000000\tbefore 2000\n", 3)
	want := []turn{{1, 0x5000148}, {2, 0x6000000}, {3, 0}}
	if diff := cmp.Diff(want, got, turnsCmp); err != nil || diff != "" {
		t.Error(err, diff)
	}
	again, err := parseTurns(drawTurns(got))
	if diff := cmp.Diff(want, again, turnsCmp); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, text := range []string{"1\n", "x\t0/1\n", "1\t0/0\n", "1\tx\n", "2\t0/5000\n1\t0/6000\n", "1\t0/6000\n2\t0/5000\n", "3\t0/5000\n"} {
		if got, err := parseHistory(text, 3); err == nil {
			t.Errorf("%q was read as %s", text, drawTurns(got))
		}
	}
	if _, err := parseTurns(""); err == nil {
		t.Error("nothing is no history")
	}
}

func turnsOf(t *testing.T, fact string) []turn {
	t.Helper()
	out, err := parseTurns(fact)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wire is a history as an order carries it, with a horizon for each promotion: those at timeline n
// took over transactions up to 100 n.
func wire(all []turn) (out []agent.Turn) {
	for _, t := range all {
		w := agent.Turn{Timeline: t.timeline}
		if t.end != 0 {
			w.End, w.Oldest, w.Next = t.end.String(), 100*t.timeline-1, 100*t.timeline
		}
		out = append(out, w)
	}
	return out
}

func TestWhereTwoPastsPart(t *testing.T) {
	for what, c := range map[string]struct{ primary, member, at string }{
		"a former primary":                          {"1@0/5000 2", "1", "1@0/5000"},
		"of two failovers ago":                      {"1@0/5000 2@0/7000 3", "1", "1@0/5000"},
		"of the last of two":                        {"1@0/5000 2@0/7000 3", "1@0/5000 2", "2@0/7000"},
		"one that promoted itself at the same time": {"1@0/5000 3", "1@0/4000 2", "1@0/4000"},
		"later than the primary left":               {"1@0/5000 3", "1@0/6000 2", "1@0/5000"},
		"a number that two took":                    {"1@0/5000 2", "1@0/6000 2", "1@0/5000"},
		"a follower":                                {"1@0/5000 2", "1@0/5000 2", "2"},
		"a primary behind it":                       {"1", "1@0/4000 2", "1@0/4000"},
	} {
		f, err := findFork(wire(turnsOf(t, c.primary)), turnsOf(t, c.member))
		got := drawTurns([]turn{{f.timeline, f.at}})
		if err != nil || got != c.at {
			t.Errorf("%s: %s, %v, want %s", what, got, err, c.at)
		}
		left := strings.Contains(c.primary, c.at) && f.at != 0
		if known := f.next != 0; known != left || known && f.next != 100*f.timeline {
			t.Errorf("%s: transactions up to %d", what, f.next)
		}
	}
	if _, err := findFork(wire(turnsOf(t, "2@0/5000 3")), turnsOf(t, "1")); err == nil {
		t.Error("two clusters have something in common")
	}
}
