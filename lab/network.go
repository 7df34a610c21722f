package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/haechi/haechi/lab/wan"
)

// Delays of the lines, one way, without faults.
const (
	siteDelay = time.Millisecond
	userDelay = 3 * time.Millisecond
)

// normal is the line between two places without faults.
func normal(from, to Place) wan.Link {
	if from == Users || to == Users {
		return wan.Link{Delay: userDelay}
	}
	return wan.Link{Delay: siteDelay}
}

// RouterFile is what haechi-lab wan reads.
type RouterFile struct {
	Places []wan.Place         `json:"places"`
	Links  map[string]wan.Link `json:"links"` // by direction, "pangyo>ansan"
	Socket string              `json:"socket"`
	Seed   uint64              `json:"seed"`
}

// raiseNetwork makes the namespaces and starts the router between them.
func (l *Lab) raiseNetwork(ctx context.Context) error {
	if err := os.RemoveAll(l.path("log")); err != nil {
		return err
	}
	for _, dir := range append([]string{"log"}, placeDirs()...) {
		if err := os.MkdirAll(l.path(dir), 0o755); err != nil {
			return err
		}
	}
	if err := l.copyPrograms(ctx); err != nil {
		return err
	}
	if err := l.makeNetwork(ctx); err != nil {
		return err
	}
	file := RouterFile{Socket: l.path("wan.sock"), Seed: l.o.Seed, Links: map[string]wan.Link{}}
	l.links = map[wan.Direction]wan.Link{}
	for _, from := range places {
		file.Places = append(file.Places, wan.Place{Name: string(from), Net: from.net(), Device: string(from) + "-tun"})
		for _, to := range places {
			if from != to {
				d := wan.Direction{From: string(from), To: string(to)}
				file.Links[d.String()], l.links[d] = normal(from, to), normal(from, to)
			}
		}
	}
	b, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(l.path("wan.json"), b, 0o644); err != nil {
		return err
	}
	if _, err := l.start(spawn{ns: l.router(), log: "wan", dir: l.o.Dir, args: []string{l.program("haechi-lab"), "wan", l.path("wan.json")}}); err != nil {
		return err
	}
	return until(ctx, 5*time.Second, func() error {
		s, err := l.WAN().Status(ctx, true)
		if err == nil && s.Realtime != "" {
			l.say("network: %s", s.Realtime)
		}
		if err != nil {
			err = fmt.Errorf("%w; its log ends with: %s", err, l.tail("wan"))
		}
		return err
	})
}

func placeDirs() []string {
	var out []string
	for _, p := range places {
		out = append(out, string(p))
	}
	return out
}

// WAN speaks to the network between the places: its lines, its lateness, its captures.
func (l *Lab) WAN() *wan.Client { return wan.NewClient(l.path("wan.sock")) }
