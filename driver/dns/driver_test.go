package dns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
)

// small is an estate with one name at the given servers.
func small(fakes ...*fake) estate.Estate {
	n := estate.Name{
		Zone: "example.", TTL: 2 * time.Second,
		Answers: map[estate.SiteID][]string{"pangyo": {"10.0.0.1:80"}, "ansan": {"10.0.0.2:80"}},
		Key:     estate.TSIG{Name: "haechi-key.", Secret: estate.Secret{File: "/key"}},
	}
	e := estate.Estate{Hosts: map[estate.HostID]estate.Host{}, Names: map[estate.NameID]estate.Name{}}
	for i, f := range fakes {
		h := estate.HostID(fmt.Sprint("ns-", i))
		e.Hosts[h] = estate.Host{Address: f.addr, Agent: "127.0.0.1:1", Unit: "named"}
		n.Servers = append(n.Servers, h)
	}
	e.Names["talk.example."] = n
	return e
}

func taskOf(e estate.Estate, v plan.Verb, site estate.SiteID) driver.Task {
	var members []string
	for _, h := range e.Names["talk.example."].Servers {
		members = append(members, string(h))
	}
	return driver.Task{Run: "r-1", Term: 7, Estate: e, Step: plan.Step{ID: 1, Verb: v, Component: "talk.example.", Site: site, Members: members}}
}

func quick() *Driver {
	return New(Config{
		Secrets: func(context.Context, estate.Secret) ([]byte, error) { return []byte(fakeSecret), nil },
		Timeout: 150 * time.Millisecond,
	})
}

// The server carries the change out, but its answer is lost: what a fresh query shows decides.
func TestLostAnswerToAChangeIsLookedInto(t *testing.T) {
	f := startFake(t, "10.0.0.1", "10.0.0.2")
	f.dropping(func(_ string, m *dns.Msg) bool { return m.Opcode == dns.OpcodeUpdate })
	got, err := quick().Do(t.Context(), taskOf(small(f), plan.Withdraw, "pangyo"))
	if err != nil || got.Outcome != run.Done || f.now().String() != "10.0.0.2" {
		t.Errorf("outcome %v, answers %s: %v", got.Outcome, f.now(), err)
	}
}

func TestSilentOverUDPIsTriedOverTCP(t *testing.T) {
	f := startFake(t, "10.0.0.1", "10.0.0.2")
	f.dropping(func(network string, _ *dns.Msg) bool { return network == "udp" })
	got, err := quick().Do(t.Context(), taskOf(small(f), plan.Withdraw, "pangyo"))
	if err != nil || got.Outcome != run.Done || f.now().String() != "10.0.0.2" {
		t.Errorf("outcome %v, answers %s: %v", got.Outcome, f.now(), err)
	}
}

// Somebody else changes the name between reading and changing, each time.
func TestChangedInBetweenIsNotOverwritten(t *testing.T) {
	f := startFake(t, "10.0.0.1", "10.0.0.2")
	n := 10
	f.changing(func(m, _ *dns.Msg) {
		if m.Opcode == dns.OpcodeQuery && m.Question[0].Qtype == dns.TypeAAAA { // the last query of a read
			n++
			f.addrs = parse([]string{"10.0.0.1", "10.0.0.2", fmt.Sprint("10.0.1.", n)})
		}
	})
	got, err := quick().Do(t.Context(), taskOf(small(f), plan.Withdraw, "pangyo"))
	if got.Outcome != run.NotDone || !errors.Is(err, errChanged) {
		t.Errorf("outcome %v: %v", got.Outcome, err)
	}
	if !f.now().has(parse([]string{"10.0.0.1"})[0]) {
		t.Error("overwritten")
	}
}

func TestAnswersThatCannotBeTrusted(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m, r *dns.Msg)
		want   string
	}{
		"unsigned":          {func(_, r *dns.Msg) { r.Extra = nil }, "its answer is not signed with the key haechi-key."},
		"not authoritative": {func(_, r *dns.Msg) { r.Authoritative = false }, "it does not have the zone example. itself"},
		"failing":           {func(_, r *dns.Msg) { r.Rcode = dns.RcodeServerFailure }, "look into its log"},
		"strange":           {func(_, r *dns.Msg) { r.Rcode = dns.RcodeFormatError }, "it answers FORMERR"},
		"no such name":      {func(_, r *dns.Msg) { r.Rcode = dns.RcodeNameError; r.Answer = nil }, ErrLast.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t, "10.0.0.1", "10.0.0.2")
			f.changing(c.change)
			got, err := quick().Do(t.Context(), taskOf(small(f), plan.Withdraw, "pangyo"))
			if got.Outcome != run.NotDone || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("outcome %v: %v", got.Outcome, err)
			}
		})
	}
}

// A locked server has it and gives it to nobody: the step says so.
func TestAServerThatRefusesUsersIsNamed(t *testing.T) {
	open, locked := startFake(t, "10.0.0.1", "10.0.0.2"), startFake(t, "10.0.0.1", "10.0.0.2")
	locked.changing(func(m, r *dns.Msg) {
		if m.IsTsig() == nil {
			r.Rcode, r.Answer, r.Extra = dns.RcodeRefused, nil, nil
		}
	})
	for _, f := range []func(context.Context, driver.Task) (driver.Result, error){quick().Do, quick().Look} {
		got, err := f(t.Context(), taskOf(small(open, locked), plan.Withdraw, "pangyo"))
		if err != nil || got.Outcome != run.Done || !strings.HasSuffix(got.Note, "; users are refused at ns-1") {
			t.Errorf("outcome %v, %q: %v", got.Outcome, got.Note, err)
		}
	}
}

// One server has it, one refuses: not done, and the facts say which has it.
func TestOneRefusalIsNotDone(t *testing.T) {
	good, bad := startFake(t, "10.0.0.1", "10.0.0.2"), startFake(t, "10.0.0.1", "10.0.0.2")
	bad.changing(func(_, r *dns.Msg) { r.Rcode = dns.RcodeRefused })
	got, err := quick().Do(t.Context(), taskOf(small(good, bad), plan.Withdraw, "pangyo"))
	if got.Outcome != run.NotDone || got.Facts[FactDone] != "ns-0" || err == nil || !strings.Contains(err.Error(), "ns-1") {
		t.Errorf("outcome %v, facts %v: %v", got.Outcome, got.Facts, err)
	}
}

// An address that two sites share stays while one of them serves.
func TestSharedAddressStays(t *testing.T) {
	f := startFake(t, "10.0.0.1", "10.0.0.2", "10.0.0.9")
	e := small(f)
	n := e.Names["talk.example."]
	n.Answers = map[estate.SiteID][]string{"pangyo": {"10.0.0.1", "10.0.0.9"}, "ansan": {"10.0.0.2", "10.0.0.9"}}
	e.Names["talk.example."] = n
	if got, err := quick().Do(t.Context(), taskOf(e, plan.Withdraw, "pangyo")); err != nil || got.Outcome != run.Done {
		t.Fatalf("outcome %v: %v", got.Outcome, err)
	}
	if f.now().String() != "10.0.0.2, 10.0.0.9" {
		t.Errorf("answers %s", f.now())
	}
}

// caller is an agent with a function.
type caller func(agent.Order) (agent.Answer, error)

func (c caller) Call(_ context.Context, o agent.Order) (agent.Answer, error) { return c(o) }

// A withdrawal that comes while a server is brought level is not taken back.
func TestLevelDoesNotBringBackWhatLeavesMeanwhile(t *testing.T) {
	back, other := startFake(t, "10.0.0.1"), startFake(t, "10.0.0.1", "10.0.0.2")
	updates := 0
	back.changing(func(m, _ *dns.Msg) {
		if m.Opcode != dns.OpcodeUpdate {
			return
		}
		if updates++; updates == 1 { // another run withdraws pangyo everywhere right then
			other.mu.Lock()
			other.addrs = parse([]string{"10.0.0.2"})
			other.mu.Unlock()
		}
	})
	e, d := small(back, other), quick()
	var opened []agent.Order
	d.conf.Agents = func(estate.HostID, string) (agent.Caller, error) {
		return caller(func(o agent.Order) (agent.Answer, error) {
			if got := back.now().String(); got != "10.0.0.2" {
				t.Errorf("opened while it answers %s", got)
			}
			opened = append(opened, o)
			return agent.Answer{}, nil
		}), nil
	}
	task := taskOf(e, plan.Level, "")
	task.Step.Component = "ns-0"
	if got, err := d.Do(t.Context(), task); err != nil || got.Outcome != run.Done {
		t.Fatalf("outcome %v: %v", got.Outcome, err)
	}
	if len(opened) != 1 || opened[0].Verb != agent.Unseal || opened[0].Unit != "named" || opened[0].Term != 7 {
		t.Errorf("orders %+v", opened)
	}
}

// Users come home at the others while a server is opened: it sends them there, too.
func TestLevelSeesWhatCameWhileItOpened(t *testing.T) {
	back, other := startFake(t, "10.0.0.1"), startFake(t, "10.0.0.2")
	d := quick()
	d.conf.Agents = func(estate.HostID, string) (agent.Caller, error) {
		return caller(func(agent.Order) (agent.Answer, error) {
			other.mu.Lock()
			defer other.mu.Unlock()
			other.addrs = parse([]string{"10.0.0.1", "10.0.0.2"})
			return agent.Answer{}, nil
		}), nil
	}
	task := taskOf(small(back, other), plan.Level, "")
	task.Step.Component = "ns-0"
	if got, err := d.Do(t.Context(), task); err != nil || got.Outcome != run.Done || back.now().String() != "10.0.0.1, 10.0.0.2" {
		t.Errorf("outcome %v, it answers %s: %v", got.Outcome, back.now(), err)
	}
}

// Servers that were away when the step was planned get the answer if they are back, and hold nothing up if they are not.
func TestAnnouncementReachesServersThatCameBack(t *testing.T) {
	here, back, away := startFake(t, "10.0.0.2"), startFake(t, "10.0.0.2"), startFake(t, "10.0.0.2")
	away.dropping(func(string, *dns.Msg) bool { return true })
	task := taskOf(small(here, back, away), plan.Announce, "pangyo")
	task.Step.Members, task.Step.Args = []string{"ns-0"}, map[string]string{plan.ArgAlso: "ns-1,ns-2"}
	got, err := quick().Do(t.Context(), task)
	if err != nil || got.Outcome != run.Done || got.Facts[FactDone] != "ns-0,ns-1" || back.now().String() != "10.0.0.1, 10.0.0.2" {
		t.Errorf("outcome %v, %v, ns-1 answers %s: %v", got.Outcome, got.Facts, back.now(), err)
	}
}

// A level step that read before users came home writes what it read: the announcement sees that, and is not done.
func TestAnnouncementIsComparedOnceMore(t *testing.T) {
	a, b := startFake(t, "10.0.0.2"), startFake(t, "10.0.0.2")
	updates := 0
	b.changing(func(m, _ *dns.Msg) {
		if m.Opcode == dns.OpcodeUpdate {
			updates++
		} else if updates == 1 && m.Question[0].Qtype == dns.TypeAAAA { // the query that shows that it took the change is over
			updates++
			b.addrs = parse([]string{"10.0.0.2"})
		}
	})
	if got, err := quick().Do(t.Context(), taskOf(small(a, b), plan.Announce, "pangyo")); got.Outcome != run.NotDone {
		t.Errorf("outcome %v, ns-1 answers %s: %v", got.Outcome, b.now(), err)
	}
}

// A server whose agent does not take the order stays locked, and the step is not done.
func TestLevelNeedsTheAgent(t *testing.T) {
	f := startFake(t, "10.0.0.1", "10.0.0.2")
	task := taskOf(small(f), plan.Level, "")
	task.Step.Component = "ns-0"
	for want, err := range map[run.Outcome]error{run.NotDone: agent.ErrUnreached, run.Unknown: errors.New("answer cut off")} {
		d := quick()
		d.conf.Agents = func(estate.HostID, string) (agent.Caller, error) {
			return caller(func(agent.Order) (agent.Answer, error) { return agent.Answer{}, err }), nil
		}
		if got, err := d.Do(t.Context(), task); got.Outcome != want || err == nil {
			t.Errorf("outcome %v, want %v: %v", got.Outcome, want, err)
		}
	}
	task.Step.Component = "ns-9"
	if got, err := quick().Do(t.Context(), task); got.Outcome != run.NotDone || err == nil {
		t.Errorf("unknown server: outcome %v: %v", got.Outcome, err)
	}
}

func TestTasksThatMakeNoSense(t *testing.T) {
	f := startFake(t, "10.0.0.1")
	d := quick()
	verb, name, nobody := taskOf(small(f), plan.Promote, "pangyo"), taskOf(small(f), plan.Withdraw, "pangyo"), taskOf(small(f), plan.Withdraw, "pangyo")
	name.Step.Component, nobody.Step.Members = "other.example.", nil
	for what, task := range map[string]driver.Task{"verb": verb, "name": name, "no server": nobody} {
		for _, do := range []func(context.Context, driver.Task) (driver.Result, error){d.Look, d.Do, d.Undo} {
			if got, err := do(t.Context(), task); got.Outcome != run.NotDone || err == nil {
				t.Errorf("%s: outcome %v: %v", what, got.Outcome, err)
			}
		}
	}
}

func TestReadSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(fakeSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range []estate.Secret{{File: file}, {Command: []string{"/bin/cat", file}}} {
		raw, err := ReadSecret(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tsigSecret(raw, s); err != nil || got != fakeSecret {
			t.Errorf("%+v: %q %v", s, got, err)
		}
	}
	for _, s := range []estate.Secret{{}, {File: file + "x"}, {Command: []string{"/bin/false"}}} {
		if _, err := ReadSecret(t.Context(), s); err == nil {
			t.Errorf("%+v: no error", s)
		}
	}
	for _, bad := range []string{"", "not base64!", `secret "` + fakeSecret + `";`} {
		if _, err := tsigSecret([]byte(bad), estate.Secret{File: "/key"}); err == nil || !strings.Contains(err.Error(), "/key") || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
