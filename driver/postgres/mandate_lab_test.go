//go:build lab

package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/pki"
)

// Where the servers are and where their client is: a line between two network namespaces.
const (
	serverEnd = "192.0.2.1"
	clientEnd = "192.0.2.2"
)

// inPlaceOfItsOwn runs the test again in a user and network namespace of its own, where this
// user may say what the packet filter does, and says whether this is that run.
func inPlaceOfItsOwn(t *testing.T) bool {
	t.Helper()
	if os.Getenv("HAECHI_TEST_PLACE") != "" {
		must(t, exec.Command("ip", "link", "set", "lo", "up").Run())
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v="+fmt.Sprint(testing.Verbose()))
	cmd.Env = append(os.Environ(), "HAECHI_TEST_PLACE=1", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	uid, gid := os.Getuid(), os.Getgid()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN}}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}

// farEnd makes a namespace for the client, at the other end of a line, and returns how to dial from there.
func farEnd(t *testing.T) func(ctx context.Context, network, addr string) (net.Conn, error) {
	t.Helper()
	holds := exec.Command("sleep", "600")
	holds.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // its death is bound to this thread's
	must(t, holds.Start())
	t.Cleanup(func() {
		_ = holds.Process.Kill()
		_ = holds.Wait()
		runtime.UnlockOSThread()
	})
	pid := fmt.Sprint(holds.Process.Pid)
	for _, line := range []string{
		"ip link add near type veth peer name far netns " + pid,
		"ip addr add " + serverEnd + "/24 dev near", "ip link set near up",
		"nsenter -t " + pid + " -n ip addr add " + clientEnd + "/24 dev far", "nsenter -t " + pid + " -n ip link set far up",
	} {
		words := strings.Fields(line)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // and dies with this goroutine
			ns, operr := os.Open("/proc/" + pid + "/ns/net")
			if err = operr; err != nil {
				return
			}
			defer ns.Close()
			if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
				conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			}
		}()
		<-done
		return conn, err
	}
}

// toldAgent is what an agent in a process of its own is told.
type toldAgent struct {
	Set   Settings
	State string
	Addr  string
	TLS   string
}

// agentProcess serves an agent, if this process was started for that.
func agentProcess() (bool, error) {
	raw := os.Getenv("HAECHI_TEST_AGENT")
	if raw == "" {
		return false, nil
	}
	var told toldAgent
	if err := json.Unmarshal([]byte(raw), &told); err != nil {
		return true, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	unit, err := NewUnit(told.Set, log)
	if err != nil {
		return true, err
	}
	srv, err := agent.NewServer(told.State, "", map[string]agent.Unit{"talk-db": unit}, log)
	if err != nil {
		return true, err
	}
	conf, err := pki.ServerTLS(pki.FilesIn(told.TLS), pki.Only(pki.Tower))
	if err != nil {
		return true, err
	}
	l, err := net.Listen("tcp", told.Addr)
	if err != nil {
		return true, err
	}
	return true, srv.Serve(context.Background(), l, conf)
}

// agentApart serves the member's agent in a process of its own, which can be stopped and killed.
func (m *member) agentApart() *exec.Cmd {
	m.c.t.Helper()
	if m.cancel != nil {
		m.stopAgent()
	}
	told, err := json.Marshal(toldAgent{m.set, filepath.Join(filepath.Dir(m.set.Data), "agent", "state.json"), m.addr, filepath.Join(m.c.dir, "tls-db-"+m.name)})
	must(m.c.t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "HAECHI_TEST_AGENT="+string(told))
	cmd.Stderr = testWriter{m.c.t}
	must(m.c.t, cmd.Start())
	m.c.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(m.c.t, "the agent listens", func() bool {
		conn, err := net.Dial("tcp", m.addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return cmd
}

// silentWithin waits until the mandate that began at an instant has surely ended, and fails the
// test if an acknowledgement reached the client later than a second after that, or none before.
func (w *writer) silentWithin(mandate time.Duration, began time.Time) {
	w.c.t.Helper()
	end := began.Add(mandate + time.Second)
	_ = pause(w.c.t.Context(), time.Until(end.Add(1500*time.Millisecond)))
	if n, _ := w.since(end, "pangyo"); n > 0 {
		w.c.t.Errorf("%d writes were acknowledged later than %v after the last renewal", n, mandate+time.Second)
	}
	n, _ := w.since(began, "pangyo")
	w.c.t.Logf("%d writes acknowledged under the mandate, the last %v after it was given", n, w.last().Sub(began).Round(time.Millisecond))
	if n == 0 {
		w.c.t.Error("nothing was acknowledged under the mandate, so the test shows nothing")
	}
}

// goesOn waits until a write is acknowledged that is newer than now.
func (w *writer) goesOn() {
	w.c.t.Helper()
	at := time.Now()
	eventually(w.c.t, "a write is acknowledged", func() bool { n, _ := w.since(at, "pangyo"); return n > 0 })
	w.c.t.Logf("acknowledged again after %v", time.Since(at).Round(time.Millisecond))
}

// waits fails the test if a write is acknowledged for a while.
func (w *writer) waits(what string) {
	w.c.t.Helper()
	at := time.Now().Add(100 * time.Millisecond) // what was on its way
	_ = pause(w.c.t.Context(), 700*time.Millisecond)
	if n, _ := w.since(at, "pangyo"); n > 0 {
		w.c.t.Errorf("%s: %d writes were acknowledged", what, n)
	}
}

// A primary that is the only one left goes on under a mandate. Whoever does not renew it, also a
// host whose agent hangs, ends it in the kernel: no acknowledgement reaches a client any more.
func TestAMandateEndsInTheKernel(t *testing.T) {
	if !inPlaceOfItsOwn(t) {
		return
	}
	dial := farEnd(t)
	c := newClusterOn(t, "*")
	c.store.Alone = "allow"
	c.estate.Stores["talk-db"] = c.store
	p := c.members["pangyo"]
	hand := p.agentApart()
	c.adopt()
	w := c.writeFrom(2, serverEnd, dial, "pangyo")
	w.goesOn()
	for _, m := range []string{"ansan", "anyang"} {
		c.members[m].killDatabase()
	}
	w.waits("nobody is left to acknowledge")

	// Alone.
	r := c.begin()
	c.record.Alone, c.record.LeastAny = true, 0
	began := time.Now()
	r.must(plan.Alone, names...)
	w.goesOn()
	if f := c.facts("pangyo"); f["alone"] != "true" || f["sync_names"] != "" || toNumber(f["mandate_ms"]) < 3000 {
		t.Errorf("alone %q, list %q, mandate %q ms", f["alone"], f["sync_names"], f["mandate_ms"])
	}
	w.silentWithin(driver.Mandate, began)
	if conn, err := dial(within(t, time.Second), "tcp", fmt.Sprintf("%s:%d", serverEnd, p.port)); err == nil {
		conn.Close()
		t.Error("the port answers without a mandate")
	}
	if f := c.facts("pangyo"); f["alone"] != "true" || f["mandate_ms"] != "0" {
		t.Errorf("alone %q, mandate %q ms", f["alone"], f["mandate_ms"])
	}

	// Renewed, also by somebody else who had flushed all rules.
	renew := func() { must(t, c.driver.Renew(t.Context(), r.task(plan.Alone, "pangyo"))) }
	renew()
	w.goesOn()
	if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	short := agent.Order{Verb: agent.Promote, Epoch: c.record.Next, Reign: c.record.Epoch, Alone: true, Renew: true, Mandate: time.Second}
	began = time.Now()
	_, err := c.order("pangyo", short)
	must(t, err)
	must(t, hand.Process.Signal(syscall.SIGSTOP))
	w.silentWithin(time.Second, began)
	must(t, hand.Process.Signal(syscall.SIGCONT))
	renew()
	w.goesOn()

	// The agent dies and comes back; then the server does, and begins with the port shut.
	must(t, hand.Process.Kill())
	_ = hand.Wait()
	p.agentApart()
	if f := c.facts("pangyo"); f["alone"] != "true" || toNumber(f["mandate_ms"]) == 0 {
		t.Errorf("after the agent's death: alone %q, mandate %q ms", f["alone"], f["mandate_ms"])
	}
	p.killDatabase()
	if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, err = c.order("pangyo", agent.Order{Verb: agent.Start, Epoch: c.record.Next, Reign: c.record.Epoch})
	must(t, err)
	u := &Unit{set: p.set}
	if rights := effective(t, u.postmaster()); rights != 0 {
		t.Errorf("the server that the agent started has capabilities %x", rights)
	}
	w.waits("a server that starts alone, without a mandate")
	renew()
	w.goesOn()

	// Together: not before somebody holds everything.
	res, err := r.try(time.Second, plan.Together, names...)
	if err == nil || res.Outcome != run.NotDone || res.Store != nil {
		t.Errorf("together with nobody: %v %v", res.Outcome, err)
	}
	c.members["ansan"].startByHand()
	for end := time.Now().Add(10 * time.Second); ; renew() {
		if res, err = r.try(time.Second, plan.Together, names...); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil || c.record.Alone || c.record.LeastAny != 1 {
		t.Fatalf("together: %v %+v", err, c.record)
	}
	if out, err := exec.Command("nft", "list", "ruleset").CombinedOutput(); err != nil || strings.Contains(string(out), "haechi") {
		t.Errorf("the table is still there: %v %s", err, out)
	}
	w.goesOn()
	if err := c.driver.Renew(t.Context(), aloneAgain(r)); err == nil {
		t.Error("a renewal that came late was taken")
	} else if no, ok := errors.AsType[*agent.Refused](err); !ok || no.Answer.Code != agent.Unsafe {
		t.Error(err)
	}
	w.goesOn()
	c.members["ansan"].killDatabase()
	w.waits("the one that acknowledged is gone again")
	w.end()
	if lost := w.lost(p); len(lost) > 0 {
		t.Errorf("%d acknowledged rows are lost", len(lost))
	}
}

// aloneAgain is a renewal by a tower that has not seen that it is over.
func aloneAgain(r *carried) driver.Task {
	task := r.task(plan.Alone, "pangyo")
	task.Store.Alone = true
	return task
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// effective are the capabilities of a process.
func effective(t *testing.T, pid int) (caps uint64) {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	_, rest, ok := strings.Cut(string(raw), "CapPrm:")
	if _, err := fmt.Sscanf(rest, "%x", &caps); err != nil || !ok {
		t.Fatal(err)
	}
	return caps
}

// last is when the last write was acknowledged.
func (w *writer) last() (at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.acked {
		if a.at.After(at) {
			at = a.at
		}
	}
	return at
}
