package web

import (
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

// tone is the colour class of a state. No state is told by colour alone: see [mark].
func tone(state string) string {
	switch state {
	case string(situation.Up), RolePrimary, RoleFollower, StepDone, WritesAcknowledged, string(Fine), string(situation.Serving), sentServing:
		return "ok"
	case StepRunning, RunPaused, string(run.StatusUndoing), string(run.StatusHanding), string(situation.Draining), string(Acting), sentPartly:
		return "act"
	case string(situation.Suspect), string(situation.CutOff), string(situation.Drained), RoleSealed, RoleFormer, StepUnknown, StepUndone,
		WritesAlone, string(Warn), "old", string(run.StatusTaken):
		return "warn"
	case StepWaiting, sentNowhere:
		return "idle"
	}
	return "bad"
}

// mark is the sign that stands beside a state.
func mark(state string) string {
	return map[string]string{"ok": "●", "act": "▶", "warn": "▲", "bad": "■", "idle": "○"}[tone(state)]
}

// size writes a number of bytes for people.
func size(bytes int64) string {
	switch {
	case bytes < 0:
		return "?"
	case bytes < 1<<10:
		return fmt.Sprintf("%d B", bytes)
	case bytes < 1<<20:
		return fmt.Sprintf("%.1f KB", float64(bytes)/(1<<10))
	case bytes < 1<<30:
		return fmt.Sprintf("%.1f MB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.1f GB", float64(bytes)/(1<<30))
}

func seconds(s float64) string { return fmt.Sprintf("%.2f s", s) }

// firstRun is the run that is shown step by step: the first open one, or the last that ended.
func firstRun(all []Run) *Run {
	if len(all) == 0 {
		return nil
	}
	return &all[0]
}

// restRuns are those that are shown in a line each.
func restRuns(all []Run) []Run {
	if len(all) < 2 {
		return nil
	}
	return all[1:min(len(all), 6)]
}

// newest returns the journal's lines with the newest first.
func newest(lines []Line) []Line {
	out := slices.Clone(lines)
	slices.Reverse(out)
	return out
}

// took is how long a run lasted, or has lasted so far.
func took(n Now, r Run) time.Duration {
	if r.Open() {
		return n.At.Sub(r.Started)
	}
	return r.Ended.Sub(r.Started)
}

// armed says what haechi may act on by itself.
func armed(what []string) string {
	if slices.Contains(what, "*") {
		return "everything"
	}
	return list(what)
}

// lag says how far a member is behind.
func lag(m Member) string {
	switch {
	case m.LagBytes < 0 && m.LagMS < 0:
		return "?"
	case m.LagMS < 0:
		return size(m.LagBytes)
	case m.LagBytes < 0:
		return short(m.LagMS)
	}
	return size(m.LagBytes) + ", " + short(m.LagMS)
}

// memberState says what else there is to know of a member, where that is all that is said of it.
func memberState(m Member) string {
	var parts []string
	if m.CanaryMS > 0 {
		parts = append(parts, "canary "+short(m.CanaryMS)+" behind")
	}
	for _, j := range m.Jobs {
		parts = append(parts, j.What+": "+j.Phase)
		if how := doing(j); how != "" {
			parts = append(parts, how)
		}
	}
	return list(append(parts, memberWords(m)...))
}

// memberWords are those that no number and no job says.
func memberWords(m Member) (parts []string) {
	if m.ReplayBlocked {
		parts = append(parts, "replay blocked by a reader")
	}
	switch {
	case m.Role == RoleFollower && m.Streaming:
		parts = append(parts, "streaming")
	case m.Role == RoleFollower:
		parts = append(parts, "not streaming")
	case m.Role == RoleFormer:
		parts = append(parts, "not counted before it has come back")
	}
	if m.Note != "" {
		parts = append(parts, m.Note)
	}
	return parts
}

// current is the newest known point of the rate.
func current(r Rate) string {
	if n := len(r.PerSecond); n > 0 && r.PerSecond[n-1] != nil {
		return fmt.Sprintf("%.0f", *r.PerSecond[n-1])
	}
	return "?"
}

// short writes milliseconds, and seconds where there are many.
func short(ms int64) string {
	if ms < 1000 {
		return fmt.Sprintf("%d ms", ms)
	}
	return span(time.Duration(ms) * time.Millisecond)
}

// writesWords says of a store whether those who write are told that it is safe.
func writesWords(writes string) string {
	switch writes {
	case WritesAcknowledged:
		return "writes are acknowledged"
	case WritesWaiting:
		return "writes wait: too few others hold them"
	case WritesAlone:
		return "writes go on alone, under a mandate"
	case WritesNone:
		return "no primary: nothing can be written"
	case WritesUnknown:
		return "nobody knows whether writes are acknowledged"
	}
	return "writes: " + writes
}

// What [sent] says of an answer.
const (
	sentServing = "users are sent there"
	sentNowhere = "withdrawn"
	sentPartly  = "some users are sent there"
	sentWrong   = "users are still sent there"
)

// sent says whether users are sent to a site, and whether they should be.
func sent(n Now, a Answer) string {
	switch {
	case a.Part:
		return sentPartly
	case !a.Serving:
		return sentNowhere
	}
	for _, s := range n.Sites {
		if s.ID == a.Site && s.State != string(situation.Up) && s.State != string(situation.Suspect) {
			return sentWrong
		}
	}
	return sentServing
}
