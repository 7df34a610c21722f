package verify

import "fmt"

// Sequence is one as a member has it.
type Sequence struct {
	ID    uint32 `json:"id"`
	Name  string `json:"name"`
	Last  int64  `json:"last"`            // the number that was handed out last, or will have been: one before the first where there was none
	Step  int64  `json:"step"`            // from one number to the next, never 0
	Cache int64  `json:"cache"`           // how many numbers a session takes at once
	Cycle bool   `json:"cycle,omitempty"` // begins anew at its end: ahead and behind mean nothing
}

// prefetch is how many numbers PostgreSQL writes to the log ahead of those that it hands out.
const prefetch = 32

// Sequences judges a follower's sequences. ours was looked at before and again after theirs, and
// the follower had replayed all that the first look showed. A number in the log is ahead of the
// one that was handed out, so a follower may be ahead by what is fetched at once, and is never behind. A sequence
// that people set back meanwhile proves nothing.
func Sequences(member string, before, theirs, after []Sequence) []Finding {
	have, later := byID(theirs), byID(after)
	var out []Finding
	for _, s := range before {
		now, still := later[s.ID]
		if !still || now.Step != s.Step || s.Cycle || ahead(s, now) < 0 {
			continue
		}
		f, ok := have[s.ID]
		switch bound := prefetch + max(s.Cache, 1); {
		case !ok:
			out = append(out, Finding{Kind: Missing, Member: member, Table: s.Name, Why: "the member has no such sequence"})
		case ahead(s, f) < 0:
			out = append(out, Finding{Kind: Behind, Member: member, Table: s.Name,
				Why: fmt.Sprintf("it is at %d, the primary was at %d before: promoted, it would hand out numbers again", f.Last, s.Last)})
		case ahead(now, f) > bound:
			out = append(out, Finding{Kind: Ahead, Member: member, Table: s.Name,
				Why: fmt.Sprintf("it is at %d, the primary at %d after: further than the %d that are fetched at once", f.Last, now.Last, bound)})
		}
	}
	return out
}

// ahead is how many numbers b is beyond a.
func ahead(a, b Sequence) int64 { return (b.Last - a.Last) / a.Step }

func byID(all []Sequence) map[uint32]Sequence {
	out := map[uint32]Sequence{}
	for _, s := range all {
		out[s.ID] = s
	}
	return out
}
