//go:build lab

package probe_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/probe"
)

const perKind = 3

var fast = situation.Profiles()["fast"]

// still is a unit that says as much of itself as a database member does.
type still struct{}

func (still) Look(context.Context, agent.Order, *agent.Memory) (map[string]string, error) {
	out := map[string]string{}
	for i := range 30 {
		out[fmt.Sprintf("fact-%d", i)] = "0/3000148 streaming"
	}
	return out, nil
}

func (still) Do(context.Context, agent.Order, *agent.Memory) (map[string]string, error) {
	return nil, nil
}

// A tower that looks at fifteen things ten times a second must hardly be seen on its
// machine. What is looked at runs in another process, as it does in life.
func TestCPUAtRest(t *testing.T) {
	if dir := os.Getenv("PROBE_TEST_SERVE"); dir != "" {
		serveAll(t, dir)
		return
	}
	dir := t.TempDir()
	for _, err := range []error{pki.NewCA(dir), issue(dir, pki.Tower, "t"), issue(dir, pki.Agent, "a")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	targets := spawn(t, dir)
	files := pki.FilesIn(filepath.Join(dir, "t"))
	conf := func(string) (*tls.Config, error) { return pki.ClientTLS(files, nil) }
	var views, silent atomic.Int32
	p, err := probe.New(probe.Config{
		Observer: "t", Site: "pangyo", Boot: "1", Profile: fast, Targets: func() []situation.Target { return targets },
		Lookers: map[situation.Kind]probe.Looker{
			situation.KindGateway: probe.Gateway(), situation.KindTower: probe.Tower(conf),
			situation.KindDNS:      probe.DNS(func(string) string { return "example." }),
			situation.KindDatabase: probe.Database(func(string) string { return "user=x dbname=x sslmode=disable" }),
			situation.KindAgent: probe.Agent(probe.AgentConfig{
				Dial:  func(_, address string) (agent.Caller, error) { return agent.NewClient("a", address, files) },
				Units: func(string) []string { return []string{"named", "talk-db"} },
			}),
		},
		Out: func(v situation.View) {
			views.Add(1)
			for _, l := range v.Looks {
				if l.Silent > 300*time.Millisecond {
					silent.Add(1)
				}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 13*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	<-time.After(2 * time.Second) // until all connections stand
	before, was, began := used(t), silent.Load(), time.Now()
	<-time.After(10 * time.Second)
	share := 100 * float64(used(t)-before) / float64(time.Since(began))
	<-done
	t.Logf("%d targets every %s: %.2f %% of a core, %d views, %d silences above 300 ms", len(targets), fast.Every, share, views.Load(), silent.Load()-was)
	if share > 6 {
		t.Errorf("looking alone takes %.2f %% of a core", share)
	}
}

func used(t *testing.T) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func issue(dir string, k pki.Kind, name string) error {
	_, err := pki.Issue(dir, pki.Identity{Kind: k, Name: name}, filepath.Join(dir, name), nil, nil, time.Hour)
	return err
}

// spawn runs the servers in a process of their own and reads where they listen.
func spawn(t *testing.T, dir string) (targets []situation.Target) {
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=TestCPUAtRest", "-test.v")
	c.Env = append(os.Environ(), "PROBE_TEST_SERVE="+dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	for s := bufio.NewScanner(out); s.Scan(); {
		if json.Unmarshal(s.Bytes(), &targets) == nil {
			return targets
		}
	}
	t.Fatal("the servers did not start")
	return nil
}

func serveAll(t *testing.T, dir string) {
	var targets []situation.Target
	add := func(k situation.Kind, i int, address string) {
		targets = append(targets, situation.Target{ID: fmt.Sprintf("pangyo/%s/%d", k, i), Kind: k, Site: "pangyo", Component: fmt.Sprint(i), Address: address})
	}
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for i := range perKind {
		l := listen(t)
		go func() { _ = http.Serve(l, ok) }()
		add(situation.KindGateway, i, "http://"+l.Addr().String()+"/healthz")

		conf, err := pki.ServerTLS(pki.FilesIn(filepath.Join(dir, "t")), nil)
		if err != nil {
			t.Fatal(err)
		}
		tl := listen(t)
		go func() { _ = (&http.Server{Handler: ok, TLSConfig: conf}).ServeTLS(tl, "", "") }()
		add(situation.KindTower, i, tl.Addr().String())

		var conns atomic.Int32
		var refuse atomic.Bool
		add(situation.KindDatabase, i, serve(t, &conns, &refuse))
		add(situation.KindDNS, i, serveDNS(t))
		add(situation.KindAgent, i, serveAgent(t, dir, i))
	}
	if err := json.NewEncoder(os.Stdout).Encode(targets); err != nil {
		t.Fatal(err)
	}
	<-t.Context().Done()
	select {}
}

func serveDNS(t *testing.T) string {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetReply(q))
	})}
	go func() { _ = s.ActivateAndServe() }()
	return pc.LocalAddr().String()
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
