//go:build lab

package tower

import (
	"bytes"
	"context"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/web"
)

// etcdServer is Debian's etcd, which asks for a certificate of our authority.
type etcdServer struct {
	t    *testing.T
	args []string
	cmd  *exec.Cmd
}

func newEtcdServer(t *testing.T, p place) (*etcdServer, string) {
	t.Helper()
	f := p.files(pki.Tower, "etcd")
	client := "https://" + free(t)
	s := &etcdServer{t: t, args: []string{"--data-dir", t.TempDir(), "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", "http://" + free(t), "--client-cert-auth", "--trusted-ca-file", f.CA, "--cert-file", f.Cert, "--key-file", f.Key}}
	t.Cleanup(s.stop)
	return s, client
}

func (s *etcdServer) start() {
	s.t.Helper()
	var said bytes.Buffer
	s.cmd = exec.Command("/usr/bin/etcd", s.args...)
	s.cmd.Stdout, s.cmd.Stderr = &said, &said
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("%v: make deps installs it", err)
	}
}

func (s *etcdServer) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait() // killed
		s.cmd = nil
	}
}

// Towers keep their state in a cluster of the user's own. While it is gone they start nothing and
// say so; when it is back they go on, and when a tower is gone another one drives.
func TestTowersWithAnEtcdOfTheUsersOwn(t *testing.T) {
	w := newTown(t, "a", "b", "c")
	server, endpoint := newEtcdServer(t, place{t, w.ca})
	server.start()
	for s, c := range w.cfg {
		c.Etcd.Endpoints = []string{endpoint}
		w.cfg[s] = c
		w.up(s)
	}
	first := w.driver()
	w.apply(first, w.estate())
	must(t, first.Arm(within(t), "operator", "*"))
	var id run.ID
	until(t, "what arming set going lets an order through", func() bool {
		var err error
		id, err = first.Start(within(t), "operator", web.Ask{Kind: plan.Evacuate, Subject: "a"})
		return err == nil
	})
	if r := closed(t, first, id); r.Status != web.RunDone {
		t.Fatalf("run = %+v", r)
	}

	server.stop()
	until(t, "all say that there is no quorum", func() bool {
		for _, n := range w.nodes {
			if n.quorum().Have || n.quorum().Why == "" {
				return false
			}
		}
		return true
	})
	soon, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := first.Start(soon, "operator", web.Ask{Kind: plan.Evacuate, Subject: "b"}); err == nil {
		t.Fatal("a run was started, and nobody keeps it")
	}

	server.start()
	until(t, "there is a quorum again", func() bool { return first.quorum().Have })
	first = w.driver()
	for s, n := range w.nodes {
		if n == first {
			w.down(s)
			break
		}
	}
	began := time.Now()
	second := w.driver()
	t.Logf("another tower drives %v later", time.Since(began).Round(time.Millisecond))
	if r, err := second.Run(within(t), id); err != nil || r.Status != web.RunDone {
		t.Fatalf("what was done is not known any more: %+v, %v", r, err)
	}
}
