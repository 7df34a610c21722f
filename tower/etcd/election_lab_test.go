//go:build lab

package etcd_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/haechi/haechi/tower/etcd"
)

// asMember makes this test binary run one member in a process of its own.
const asMember = "HAECHI_TEST_ETCD_MEMBER"

func TestMain(m *testing.M) {
	if c := os.Getenv(asMember); c != "" {
		if err := beMember(c); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// beMember runs a member that answers "who" with its leader and "put" once a
// write is done, a line each, until standard input ends.
func beMember(config string) error {
	var c etcd.Config
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	m, err := etcd.Start(context.Background(), c)
	if err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch in.Text() {
		case "who":
			fmt.Println(m.Status().Leader)
		case "put":
			for putOnce(m) != nil {
			}
			fmt.Println("done")
		case "try":
			fmt.Println(putOnce(m))
		case "health":
			fmt.Println(strings.Join(m.Health(context.Background()).Problems, "; "))
		}
	}
	return nil
}

func putOnce(m *etcd.Member) error {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := m.Client().Put(ctx, "k", strings.Repeat("v", 64<<10))
	return err
}

// process is one member in a process of its own.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	out  *bufio.Reader
	in   *os.File
}

func spawn(t *testing.T, c etcd.Config) *process {
	t.Helper()
	raw, err := json.Marshal(c)
	must(t, err)
	r, w, err := os.Pipe()
	must(t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asMember+"="+string(raw))
	cmd.Stdin, cmd.Stderr = r, os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	r.Close()
	p := &process{t, c.Name, cmd, bufio.NewReader(out), w}
	t.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.in.Close()
}

func (p *process) ask(what string) string {
	p.t.Helper()
	stuck := time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Signal(syscall.SIGQUIT) }) // shows where
	defer stuck.Stop()
	fmt.Fprintln(p.in, what)
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("%s has no answer to %q: %v", p.name, what, err)
	}
	return strings.TrimSpace(line)
}

// TestReelection kills leaders and measures until a survivor can write again.
func TestReelection(t *testing.T) {
	var took []time.Duration
	for range 5 {
		took = append(took, reelect(t))
	}
	slices.Sort(took)
	t.Logf("from SIGKILL of the leader to the first write elsewhere, %v/%v: median %v, all %v", etcd.Fast.Heartbeat, etcd.Fast.Election, took[len(took)/2], took)
	if worst := took[len(took)-1]; worst > 2*time.Second {
		t.Fatalf("the slowest took %v", worst)
	}
}

func reelect(t *testing.T) time.Duration {
	var all []*process
	for _, c := range cluster(t, 3) {
		c.Log = nil
		all = append(all, spawn(t, c))
	}
	for _, p := range all {
		p.ask("put")
	}
	leader := all[0].ask("who")
	i := slices.IndexFunc(all, func(p *process) bool { return p.name == leader })
	survivor := all[(i+1)%3]
	began := time.Now()
	all[i].kill()
	survivor.ask("put")
	took := time.Since(began)
	for _, p := range all {
		p.kill()
	}
	return took
}
