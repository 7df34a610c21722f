package postgres

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/haechi/haechi/agent"
)

// turn is a timeline of a member's past, and where it was left for the next one.
type turn struct {
	timeline uint64
	end      LSN // 0: it goes on
}

// readHistory is a member's past, oldest first, from the history file of the timeline that it is
// on; the first timeline has none.
func readHistory(data string, timeline uint64) ([]turn, error) {
	if timeline <= 1 {
		return []turn{{timeline: timeline}}, nil
	}
	raw, err := os.ReadFile(filepath.Join(data, "pg_wal", fmt.Sprintf("%08X.history", timeline)))
	if err != nil {
		return nil, fmt.Errorf("history of timeline %d: %w", timeline, err)
	}
	return parseHistory(string(raw), timeline)
}

// parseHistory reads a history file: "1\t0/5000148\tno recovery target specified", a line each.
func parseHistory(text string, timeline uint64) ([]turn, error) {
	var out []turn
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 2 {
			return nil, fmt.Errorf("history of timeline %d: %q is no line of one", timeline, line)
		}
		t, err := strconv.ParseUint(fields[0], 10, 32)
		end, err2 := ParseLSN(fields[1])
		if err != nil || err2 != nil || end == 0 {
			return nil, fmt.Errorf("history of timeline %d: %q is no line of one", timeline, line)
		}
		out = append(out, turn{t, end})
	}
	return checkTurns(append(out, turn{timeline: timeline}))
}

// checkTurns holds that timelines and ends only rise, and that the last one goes on.
func checkTurns(all []turn) ([]turn, error) {
	for i := 1; i < len(all); i++ {
		a, b := all[i-1], all[i]
		if b.timeline <= a.timeline || a.end == 0 || b.end != 0 && b.end < a.end {
			return nil, fmt.Errorf("timelines %s are no history", drawTurns(all))
		}
	}
	return all, nil
}

// drawTurns writes a history as the fact "history" has it: "1@0/5000148 2@0/6000000 3".
func drawTurns(all []turn) string {
	var out []string
	for _, t := range all {
		word := number(t.timeline)
		if t.end != 0 {
			word += "@" + t.end.String()
		}
		out = append(out, word)
	}
	return strings.Join(out, " ")
}

// parseTurns reads what drawTurns writes.
func parseTurns(fact string) ([]turn, error) {
	var out []turn
	for word := range strings.FieldsSeq(fact) {
		t, end, _ := strings.Cut(word, "@")
		n, err := strconv.ParseUint(t, 10, 32)
		at, err2 := ParseLSN(end)
		if err != nil || err2 != nil {
			return nil, fmt.Errorf("%q is no history of timelines", fact)
		}
		out = append(out, turn{n, at})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%q is no history of timelines", fact)
	}
	return checkTurns(out)
}

// parting is where a member's past and the primary's part.
type parting struct {
	timeline     uint64 // that both were on
	at           LSN    // 0: they have not parted
	oldest, next uint64 // see [situation.Fork]; 0: not known
}

// findFork compares a member's past with the primary's. There is one last timeline that both were
// on; whoever left it first left the other there. Where neither did, they have not parted.
func findFork(primary []agent.Turn, member []turn) (parting, error) {
	var f parting
	for i, p := range primary {
		if i >= len(member) || member[i].timeline != p.Timeline {
			break
		}
		end, err := ParseLSN(p.End)
		if err != nil {
			return parting{}, err
		}
		f = parting{timeline: p.Timeline, at: end, oldest: p.Oldest, next: p.Next}
		if m := member[i].end; m != 0 && (end == 0 || m < end) {
			// The member left it before the primary did, for a timeline of its own: what the primary's
			// promotion took over says nothing about that.
			f = parting{timeline: p.Timeline, at: m}
		}
		if end != 0 && member[i].end != 0 && member[i].end != end {
			break
		}
	}
	if f.timeline == 0 {
		return f, fmt.Errorf("it has no timeline in common with the primary: it is no copy of this store")
	}
	return f, nil
}

// own are the parts of a member's past that lie beyond a fork, in order: what it did alone.
func own(member []turn, f parting) []turn {
	for i, t := range member {
		if t.timeline == f.timeline {
			return member[i:]
		}
	}
	return nil
}
