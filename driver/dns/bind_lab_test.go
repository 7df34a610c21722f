//go:build lab

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
)

const (
	goodSecret  = "aGFlY2hpIHByb3RlY3RzIHRoZSBwYWxhY2UgZ2F0ZSE="
	otherSecret = "bm90IHRoZSBzZWNyZXQgdGhhdCB0aGUgc2VydmVyIGtub3c="
)

// bind is one real name server in a directory of its own.
type bind struct {
	t    *testing.T
	dir  string
	port int
	ctl  int
	cmd  *exec.Cmd
	log  *os.File
}

// startBind runs a primary of example. whose talk.example. has the addresses.
func startBind(t *testing.T, addrs ...string) *bind {
	t.Helper()
	b := &bind{t: t, dir: bindDir(t), port: freePort(t), ctl: freePort(t)}
	b.put("named.conf", fmt.Sprintf(`
key "haechi-key." { algorithm hmac-sha256; secret "%[1]s"; };
key "weak-key." { algorithm hmac-sha256; secret "%[1]s"; };
key "control" { algorithm hmac-sha256; secret "%[1]s"; };
controls { inet 127.0.0.1 port %[3]d allow { 127.0.0.1; } keys { "control"; }; };
options {
	directory "%[4]s"; pid-file "named.pid"; session-keyfile "session.key"; managed-keys-directory "%[4]s";
	listen-on port %[2]d { 127.0.0.1; }; listen-on-v6 { none; };
	recursion no; dnssec-validation no; notify no; allow-transfer { none; };
	include "%[4]s/answers.conf";
};
zone "example." { type primary; file "example.zone"; allow-update { key "haechi-key."; }; };
`, goodSecret, b.port, b.ctl, b.dir))
	b.put("rndc.conf", fmt.Sprintf("key \"control\" { algorithm hmac-sha256; secret \"%s\"; };\noptions { default-key \"control\"; default-server 127.0.0.1; default-port %d; };\n", goodSecret, b.ctl))
	zone := "$TTL 60\n@ IN SOA ns.example. root.example. 1 3600 600 86400 1\n@ IN NS ns.example.\nns IN A 127.0.0.1\n"
	for _, a := range addrs {
		zone += "talk 30 IN " + recordType(a) + " " + a + "\n"
	}
	b.put("example.zone", zone)
	b.put("answers.conf", openText)
	b.start()
	return b
}

func recordType(a string) string {
	if strings.Contains(a, ":") {
		return "AAAA"
	}
	return "A"
}

// bindDir lies below /tmp, where the server's own user may enter.
func bindDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "haechi-bind-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (b *bind) put(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bind) start() {
	b.t.Helper()
	args := []string{"-f", "-n", "1", "-c", filepath.Join(b.dir, "named.conf"), "-L", filepath.Join(b.dir, "named.log")}
	if os.Getuid() == 0 {
		args = append(args, "-u", "bind")
		b.own("bind")
	}
	b.cmd = exec.Command("/usr/sbin/named", args...)
	if err := b.cmd.Start(); err != nil {
		b.t.Fatalf("named: %v; install the package bind9", err)
	}
	b.t.Cleanup(b.kill)
	b.until("answers", func() bool {
		m := new(dns.Msg)
		m.SetQuestion("example.", dns.TypeSOA)
		_, err := dns.Exchange(m, b.addr())
		return err == nil
	})
}

func (b *bind) own(name string) {
	b.t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		b.t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	for _, p := range append([]string{b.dir}, glob(b.t, b.dir)...) {
		if err := os.Chown(p, uid, gid); err != nil {
			b.t.Fatal(err)
		}
	}
}

func glob(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// kill is what a fire does.
func (b *bind) kill() {
	if b.cmd != nil {
		b.cmd.Process.Kill()
		b.cmd.Wait()
		b.cmd = nil
	}
}

func (b *bind) addr() string { return fmt.Sprintf("127.0.0.1:%d", b.port) }

func (b *bind) until(what string, ok func() bool) {
	b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			log, _ := os.ReadFile(filepath.Join(b.dir, "named.log"))
			b.t.Fatalf("the name server never %s:\n%s", what, log)
		}
	}
}

// asked is what an ordinary resolver is told: the addresses, the TTL, the code.
func (b *bind) asked() (string, uint32, int) {
	b.t.Helper()
	var got []string
	var ttl uint32
	for _, t := range []uint16{dns.TypeA, dns.TypeAAAA} {
		m := new(dns.Msg)
		m.SetQuestion("talk.example.", t)
		r, err := dns.Exchange(m, b.addr())
		if err != nil {
			b.t.Fatal(err)
		}
		if r.Rcode != dns.RcodeSuccess {
			return "", 0, r.Rcode
		}
		for _, rr := range r.Answer {
			a, _ := addressOf(rr)
			got, ttl = append(got, a.String()), rr.Header().Ttl
		}
	}
	return parse(got).String(), ttl, dns.RcodeSuccess
}

func (b *bind) answersAre(want string) {
	b.t.Helper()
	if got, _, code := b.asked(); got != want || code != dns.RcodeSuccess {
		b.t.Errorf("answers %s (%s), want %s", got, dns.RcodeToString[code], want)
	}
}

func (b *bind) unit() *Unit {
	b.t.Helper()
	u, err := NewUnit(Settings{Kind: Kind, Answers: filepath.Join(b.dir, "answers.conf"), Key: "haechi-key.", Rndc: []string{"/usr/sbin/rndc", "-c", filepath.Join(b.dir, "rndc.conf")}})
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

// freePort is free for UDP and TCP.
func freePort(t *testing.T) int {
	t.Helper()
	for range 50 {
		u, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		l, err := net.Listen("tcp", u.LocalAddr().String())
		if err == nil {
			l.Close()
			return u.LocalAddr().(*net.UDPAddr).Port
		}
	}
	t.Fatal("no port is free")
	return 0
}

var threeSites = map[estate.SiteID][]string{"pangyo": {"10.77.1.5:8080"}, "ansan": {"10.77.2.5:8080"}, "anyang": {"10.77.3.5:8080", "[fd00::3]:8080"}}

var all = []string{"10.77.1.5", "10.77.2.5", "10.77.3.5", "fd00::3"}

// world is an estate around the servers: ns-0, ns-1, …
func world(answers map[estate.SiteID][]string, servers ...*bind) estate.Estate {
	e := estate.Estate{Hosts: map[estate.HostID]estate.Host{}, Names: map[estate.NameID]estate.Name{}}
	n := estate.Name{
		Service: "talk", Zone: "example.", TTL: 2 * time.Second, Answers: answers,
		Key: estate.TSIG{Name: "haechi-key.", Secret: estate.Secret{File: "/good"}},
	}
	for i, b := range servers {
		h := estate.HostID(fmt.Sprint("ns-", i))
		e.Hosts[h] = estate.Host{Site: estate.SiteID(fmt.Sprint("site-", i)), Address: b.addr(), Agent: "127.0.0.1:1", Unit: "named"}
		n.Servers = append(n.Servers, h)
	}
	e.Names["talk.example."] = n
	return e
}

func step(e estate.Estate, v plan.Verb, site estate.SiteID) driver.Task {
	var members []string
	for _, h := range e.Names["talk.example."].Servers {
		members = append(members, string(h))
	}
	return driver.Task{Run: "r-1", Term: 1, Estate: e, Step: plan.Step{ID: 1, Verb: v, Driver: "dns", Component: "talk.example.", Site: site, Members: members}}
}

// local calls a unit as its agent would.
type local struct{ u *Unit }

func (l local) Call(ctx context.Context, o agent.Order) (agent.Answer, error) {
	act := l.u.Do
	if o.Verb == agent.Status {
		act = l.u.Look
	}
	facts, err := act(ctx, o, nil)
	return agent.Answer{Version: 1, Facts: facts}, err
}

func testDriver(units ...*Unit) *Driver {
	return New(Config{
		Secrets: func(_ context.Context, s estate.Secret) ([]byte, error) {
			if s.File == "/wrong" {
				return []byte(otherSecret), nil
			}
			return []byte(goodSecret + "\n"), nil
		},
		Agents: func(h estate.HostID, _ string) (agent.Caller, error) {
			i, _ := strconv.Atoi(strings.TrimPrefix(string(h), "ns-"))
			return local{units[i]}, nil
		},
		Timeout: time.Second, // the machine that tests is busier than one that serves
	})
}

func TestBindWithdrawAndBack(t *testing.T) {
	a, b := startBind(t, all...), startBind(t, all...)
	e, d := world(threeSites, a, b), testDriver()
	task := step(e, plan.Withdraw, "anyang")
	expect(t, d.Look, task, run.NotDone)
	got := expect(t, d.Do, task, run.Done)
	if got.Facts[FactDone] != "ns-0,ns-1" || got.Facts[FactUnreached] != "" || got.Facts[FactAnswers] != "10.77.1.5, 10.77.2.5" {
		t.Errorf("facts %v", got.Facts)
	}
	for _, s := range []*bind{a, b} {
		s.answersAre("10.77.1.5, 10.77.2.5")
		if _, ttl, _ := s.asked(); ttl != 2 {
			t.Errorf("TTL %d, want the estate's 2 s", ttl)
		}
	}
	expect(t, d.Look, task, run.Done)
	expect(t, d.Do, task, run.Done) // again: nothing to do
	expect(t, d.Undo, task, run.Done)
	a.answersAre("10.77.1.5, 10.77.2.5, 10.77.3.5, fd00::3")
	expect(t, d.Look, step(e, plan.Announce, "anyang"), run.Done)
}

func expect(t *testing.T, do func(context.Context, driver.Task) (driver.Result, error), task driver.Task, want run.Outcome) driver.Result {
	t.Helper()
	got, err := do(t.Context(), task)
	if got.Outcome != want || (want == run.Done && err != nil) {
		t.Fatalf("%s %s: outcome %v, want %v (note %q): %v", task.Step.Verb, task.Step.Site, got.Outcome, want, got.Note, err)
	}
	return got
}

func TestBindKeepsTheLastAnswer(t *testing.T) {
	b := startBind(t, all...)
	e, d := world(threeSites, b), testDriver()
	expect(t, d.Do, step(e, plan.Withdraw, "pangyo"), run.Done)
	expect(t, d.Do, step(e, plan.Withdraw, "ansan"), run.Done)
	got, err := d.Do(t.Context(), step(e, plan.Withdraw, "anyang"))
	if got.Outcome != run.NotDone || !errors.Is(err, ErrLast) {
		t.Fatalf("outcome %v: %v", got.Outcome, err)
	}
	b.answersAre("10.77.3.5, fd00::3")
}

// Two towers withdraw different sites at the same time, over and over: the name never
// answers nothing, and exactly one of them wins.
func TestBindTwoWithdrawalsNeverEmptyAName(t *testing.T) {
	b := startBind(t, "10.77.1.5", "10.77.2.5")
	e, d := world(map[estate.SiteID][]string{"pangyo": {"10.77.1.5"}, "ansan": {"10.77.2.5"}}, b), testDriver()
	for i := range 30 {
		outcomes := make(chan run.Outcome, 2)
		var both sync.WaitGroup
		for _, site := range []estate.SiteID{"pangyo", "ansan"} {
			both.Go(func() {
				r, _ := d.Do(t.Context(), step(e, plan.Withdraw, site))
				outcomes <- r.Outcome
			})
		}
		both.Wait()
		if x, y := <-outcomes, <-outcomes; (x == run.Done) == (y == run.Done) {
			t.Fatalf("round %d: outcomes %v and %v", i, x, y)
		}
		if got, _, _ := b.asked(); got != "10.77.1.5" && got != "10.77.2.5" {
			t.Fatalf("round %d: answers %s", i, got)
		}
		expect(t, d.Do, step(e, plan.Announce, "pangyo"), run.Done)
		expect(t, d.Do, step(e, plan.Announce, "ansan"), run.Done)
	}
}

func TestBindRefusalsSayWhatToDo(t *testing.T) {
	b := startBind(t, all...)
	for name, c := range map[string]struct {
		change func(*estate.Name)
		want   string
	}{
		"secret":        {func(n *estate.Name) { n.Key.Secret.File = "/wrong" }, "its secret for the key haechi-key. is another one"},
		"unknown key":   {func(n *estate.Name) { n.Key.Name = "nobody." }, "it does not know the key nobody."},
		"key, no right": {func(n *estate.Name) { n.Key.Name = "weak-key." }, "the key weak-key. has no right to it; allow the key in allow-update"},
		"other zone":    {func(n *estate.Name) { n.Zone = "talk.example." }, "it is not a primary of the zone talk.example."},
	} {
		t.Run(name, func(t *testing.T) {
			e := world(threeSites, b)
			n := e.Names["talk.example."]
			c.change(&n)
			e.Names["talk.example."] = n
			got, err := testDriver().Do(t.Context(), step(e, plan.Withdraw, "pangyo"))
			if got.Outcome != run.NotDone || err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "ns-0") {
				t.Errorf("outcome %v: %v", got.Outcome, err)
			}
			b.answersAre("10.77.1.5, 10.77.2.5, 10.77.3.5, fd00::3")
		})
	}
}

func TestBindServerDownLeavesTheOthers(t *testing.T) {
	a, b := startBind(t, all...), startBind(t, all...)
	e, d := world(threeSites, a, b), testDriver()
	a.kill()
	got := expect(t, d.Do, step(e, plan.Withdraw, "pangyo"), run.Done)
	if got.Facts[FactDone] != "ns-1" || got.Facts[FactUnreached] != "ns-0" {
		t.Errorf("facts %v", got.Facts)
	}
	b.kill()
	if got, err := d.Do(t.Context(), step(e, plan.Withdraw, "ansan")); got.Outcome != run.Unknown || !errors.Is(err, ErrSilent) {
		t.Errorf("nobody answers: outcome %v: %v", got.Outcome, err)
	}
}

// A server comes back, locked, with the zone of before the fire: nobody is sent to the
// lost site, neither before it is level nor after.
func TestBindReturnsLevelBeforeItAnswers(t *testing.T) {
	a, b := startBind(t, all...), startBind(t, all...)
	e, d := world(threeSites, a, b), testDriver(a.unit(), b.unit())
	a.kill()
	expect(t, d.Do, step(e, plan.Withdraw, "pangyo"), run.Done)
	a.put("answers.conf", a.unit().lockedText()) // what its start does first
	a.start()
	if _, _, code := a.asked(); code != dns.RcodeRefused {
		t.Fatalf("locked, but answers %s", dns.RcodeToString[code])
	}
	level := driver.Task{Run: "r-2", Term: 2, Estate: e, Step: plan.Step{ID: 1, Verb: plan.Level, Driver: "dns", Component: "ns-0", Members: []string{"ns-0", "ns-1"}}}
	expect(t, d.Look, level, run.NotDone)
	expect(t, d.Do, level, run.Done)
	a.answersAre("10.77.2.5, 10.77.3.5, fd00::3")
	expect(t, d.Look, level, run.Done)
	expect(t, d.Do, level, run.Done)

	// The same where the step says which sites are out.
	a.answersAre("10.77.2.5, 10.77.3.5, fd00::3")
	level.Step.Args = map[string]string{ArgWithdrawn: "pangyo,ansan"}
	expect(t, d.Do, level, run.Done)
	a.answersAre("10.77.3.5, fd00::3")

	// With nobody to ask it stays locked.
	level.Step.Args = nil
	b.kill()
	if _, err := a.unit().Do(t.Context(), agent.Order{Verb: agent.Seal}, nil); err != nil {
		t.Fatal(err)
	}
	expect(t, d.Do, level, run.NotDone)
	if _, _, code := a.asked(); code != dns.RcodeRefused {
		t.Errorf("not level, but answers %s", dns.RcodeToString[code])
	}
}

func TestBindUnit(t *testing.T) {
	b := startBind(t, all...)
	u := b.unit()
	status := func(locked, answering string) {
		t.Helper()
		// A look for a step of a run; those of towers at rest share one for a moment.
		got, err := u.Look(t.Context(), agent.Order{Verb: agent.Status, Run: "r-1"}, nil)
		if err != nil || got[FactLocked] != locked || got[FactAnswering] != answering {
			t.Fatalf("status %v: %v", got, err)
		}
	}
	do := func(v agent.Verb) error {
		_, err := u.Do(t.Context(), agent.Order{Verb: v}, nil)
		return err
	}
	status("false", "true")
	if err := do(agent.Seal); err != nil {
		t.Fatal(err)
	}
	status("true", "true")
	if _, _, code := b.asked(); code != dns.RcodeRefused {
		t.Errorf("locked, but answers %s", dns.RcodeToString[code])
	}
	if err := do(agent.Unseal); err != nil {
		t.Fatal(err)
	}
	b.answersAre("10.77.1.5, 10.77.2.5, 10.77.3.5, fd00::3")
	b.kill()
	status("false", "false")
	if err := do(agent.Seal); err != nil {
		t.Fatalf("a server that is down can be locked for its next start: %v", err)
	}
	status("true", "false")
	var no *agent.Refusal
	if err := do(agent.Unseal); !errors.As(err, &no) || no.Code != agent.Unsafe {
		t.Errorf("a server that is down was opened: %v", err)
	}
	if err := do(agent.Promote); !errors.As(err, &no) || no.Code != agent.UnknownVerb {
		t.Errorf("promote: %v", err)
	}
	status("true", "false")
}
