//go:build lab

package probe_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/probe"
)

// hole passes connections on, until it is dug: then nothing passes any more on those that
// there are, not even their end, and new ones get no answer. Filled, it passes new ones.
type hole struct {
	to  string
	mu  sync.Mutex // guards dug
	dug chan struct{}
	gen int
}

func (h *hole) is() (dug bool, gen int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dug != nil, h.gen
}

func (h *hole) dig(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gen++
	h.dug = nil
	if on {
		h.dug = make(chan struct{})
	}
}

func (h *hole) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if dug, gen := h.is(); !dug {
			go h.pass(c, gen)
		}
	}
}

func (h *hole) pass(c net.Conn, gen int) {
	up, err := net.Dial("tcp", h.to)
	if err != nil {
		c.Close()
		return
	}
	copyWhile := func(to, from net.Conn) {
		b := make([]byte, 4096)
		for {
			n, err := from.Read(b)
			if _, now := h.is(); now != gen {
				return // and never a word again
			}
			if err != nil {
				to.Close()
				return
			}
			if _, err := io.Writer(to).Write(b[:n]); err != nil {
				return
			}
		}
	}
	go copyWhile(up, c)
	copyWhile(c, up)
}

// After a cut has healed the first answer comes with the next looks: a connection from before
// the cut stands in nobody's way.
func TestFirstAnswerAfterACut(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{pki.NewCA(dir), issue(dir, pki.Tower, "t"), issue(dir, pki.Agent, "a")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	l := listen(t)
	h := &hole{to: serveAgent(t, dir, 0)}
	go h.serve(l)
	target := situation.Target{ID: "pangyo/agent/a", Kind: situation.KindAgent, Component: "a", Address: l.Addr().String()}
	files := pki.FilesIn(filepath.Join(dir, "t"))
	answered := make(chan situation.View, 1024)
	p, err := probe.New(probe.Config{
		Observer: "t", Boot: "1", Profile: fast, Targets: func() []situation.Target { return []situation.Target{target} },
		Lookers: map[situation.Kind]probe.Looker{situation.KindAgent: probe.Agent(probe.AgentConfig{
			Dial:  func(_, address string) (agent.Caller, error) { return agent.NewClient("a", address, files) },
			Units: func(string) []string { return []string{"talk-db"} },
		})},
		Out: func(v situation.View) { answered <- v },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = p.Run(ctx) }()
	until := func(is func(situation.Look) bool) time.Duration {
		began := time.Now()
		for v := range answered {
			if len(v.Looks) == 1 && is(v.Looks[0]) {
				return time.Since(began)
			}
		}
		return 0
	}
	heard := func(l situation.Look) bool { return l.Ever && l.Silent < 100*time.Millisecond }
	until(heard)
	for range 5 {
		h.dig(true)
		until(func(l situation.Look) bool { return l.Silent > 1500*time.Millisecond })
		h.dig(false)
		took := until(heard)
		t.Logf("first answer %s after the cut has healed", took)
		if took > 700*time.Millisecond {
			t.Errorf("first answer only %s after the cut has healed", took)
		}
	}
}

func issue(dir string, k pki.Kind, name string) error {
	_, err := pki.Issue(dir, pki.Identity{Kind: k, Name: name}, filepath.Join(dir, name), nil, nil, time.Hour)
	return err
}

func serveAgent(t *testing.T, dir string, i int) string {
	conf, err := pki.ServerTLS(pki.FilesIn(filepath.Join(dir, "a")), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := agent.NewServer(filepath.Join(dir, fmt.Sprintf("state-%d", i)), "", map[string]agent.Unit{"named": still{}, "talk-db": still{}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	go func() { _ = s.Serve(context.Background(), l, conf) }()
	return l.Addr().String()
}

// still is a unit that has little to say.
type still struct{}

func (still) Look(context.Context, agent.Order, *agent.Memory) (map[string]string, error) {
	return map[string]string{"answering": "true"}, nil
}

func (still) Do(context.Context, agent.Order, *agent.Memory) (map[string]string, error) {
	return nil, nil
}

var fast = situation.Profiles()["fast"]
