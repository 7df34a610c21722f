package lab

import (
	"context"
	"time"

	"github.com/haechi/haechi/lab/wan"
)

// Status is what stands and what does not.
type Status struct {
	Dir     string             `json:"dir"`
	Profile string             `json:"profile"`
	Sites   []SiteStatus       `json:"sites"`
	Late    wan.LatenessStatus `json:"late"` // of the network
	Lines   []wan.LineStatus   `json:"lines"`
	Done    []Proof            `json:"done"` // what [Lab.Act] did, the last 100
}

// SiteStatus is one site.
type SiteStatus struct {
	Site    Place        `json:"site"`
	Burned  *time.Time   `json:"burned,omitempty"`
	Primary bool         `json:"primary"` // its member says so; more than one may, see Primaries
	Running map[Role]int `json:"running"` // processes by role
	Talk    int          `json:"talk"`    // port of its talk on loopback
	Stopped map[Role]int `json:"stopped,omitempty"`
}

// Status looks at everything once.
func (l *Lab) Status(ctx context.Context) (Status, error) {
	out := Status{Dir: l.o.Dir, Profile: l.o.Profile}
	w, err := l.WAN().Status(ctx, false)
	if err != nil {
		return out, err
	}
	out.Late, out.Lines, out.Done = w.Late, w.Lines, l.acts()
	burned := l.Burned()
	for _, p := range sites {
		s := SiteStatus{Site: p, Running: map[Role]int{}, Stopped: map[Role]int{}, Talk: p.TalkPort()}
		if at, ok := burned[p]; ok {
			s.Burned = &at
		}
		all, err := l.residents(p)
		if err != nil {
			return out, err
		}
		for _, q := range all {
			if q.state == 'T' {
				s.Stopped[q.role()]++
			}
			s.Running[q.role()]++
		}
		if s.Running[RolePostgres] > 0 && s.Stopped[RolePostgres] == 0 {
			s.Primary, _ = l.IsPrimary(ctx, p) // one that does not answer is none that takes writes
		}
		out.Sites = append(out.Sites, s)
	}
	return out, nil
}

// acts are the last things that Act did; never nil.
func (l *Lab) acts() []Proof {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Proof{}, l.done[max(0, len(l.done)-100):]...)
}
