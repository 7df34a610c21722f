package audit

import (
	"time"

	"github.com/haechi/haechi/core/estate"
)

// accept marks the findings that somebody has taken on, or had until a day that is past, and returns
// the accepted risks that no finding answers to.
func accept(risks []estate.Accepted, fs []Finding, now time.Time) (unused []estate.Accepted) {
	for _, r := range risks {
		met := false
		for i := range fs {
			f := &fs[i]
			if r.Rule != string(f.Rule) || r.Component != f.Component {
				continue
			}
			met = true
			if now.IsZero() || now.Before(r.Until) {
				f.Accepted, f.Lapsed = &r, nil
			} else if f.Accepted == nil {
				f.Lapsed = &r
			}
		}
		if !met {
			unused = append(unused, r)
		}
	}
	return unused
}
