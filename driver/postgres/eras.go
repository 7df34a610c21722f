package postgres

import (
	"fmt"
	"strconv"
	"strings"
)

// era is one timeline of a cluster's history, and where its successor left it; End 0: it goes on.
type era struct {
	Timeline uint64
	End      LSN
}

// parseEras reads the history file of a timeline, which follows as the last era. Lines are a timeline, where
// it was left, and why; comments begin with #.
func parseEras(text string, timeline uint64) ([]era, error) {
	var out []era
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) < 2 {
			return nil, fmt.Errorf("history of timeline %d: line %q", timeline, strings.TrimSpace(line))
		}
		n, err := strconv.ParseUint(f[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("history of timeline %d: line %q: %w", timeline, strings.TrimSpace(line), err)
		}
		end, err := ParseLSN(f[1])
		if err != nil || end == 0 || n >= timeline || len(out) > 0 && (n <= out[len(out)-1].Timeline || end < out[len(out)-1].End) {
			return nil, fmt.Errorf("history of timeline %d: line %q cannot follow what stands before", timeline, strings.TrimSpace(line))
		}
		out = append(out, era{n, end})
	}
	return append(out, era{Timeline: timeline}), nil
}

// fork is where two histories part: the last timeline that they share, and the place on it up to which both go;
// 0: one is the beginning of the other and may go on as it. ok is false where they share nothing.
func fork(here, there []era) (timeline uint64, at LSN, ok bool) {
	for i := range min(len(here), len(there)) {
		if here[i].Timeline != there[i].Timeline {
			break
		}
		timeline, at, ok = here[i].Timeline, earlier(here[i].End, there[i].End), true
		if here[i].End != there[i].End {
			break
		}
	}
	return timeline, at, ok
}

// earlier is the smaller of two ends, of which 0 is none.
func earlier(a, b LSN) LSN {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// walName is the file that holds a place of the log on a timeline.
func walName(timeline uint64, at LSN, segment uint64) string {
	per := uint64(1) << 32 / segment
	n := uint64(at) / segment
	return fmt.Sprintf("%08X%08X%08X", timeline, n/per, n%per)
}

func historyName(timeline uint64) string { return fmt.Sprintf("%08X.history", timeline) }
