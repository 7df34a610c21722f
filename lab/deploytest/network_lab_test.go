//go:build lab

package deploytest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// scp carries files to a machine as the real one would, without ssh: each machine's own
// directories stand below one that we can see.
const scp = `#!/bin/bash
set -eu
[ "$1" = -r ] && shift
to=${@: -1}; set -- "${@:1:$#-1}"
at=${to#root@}
cp -R --no-preserve=ownership "$@" "$DEPLOY_HOSTS/${at%%:*}/${at#*:}"
`

const wire = "deploy-net"

func namespace(n int) string { return fmt.Sprintf("deploy-%d", n) }

func sh(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("bash", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s (needs root and the right to make namespaces)", script, err, out)
	}
}

// network makes a namespace for each machine and one between them that forwards.
func network(t *testing.T, ips []string) {
	t.Helper()
	remove := func() {
		for n := range ips {
			_ = exec.Command("ip", "netns", "del", namespace(n)).Run() // there may be none
		}
		_ = exec.Command("ip", "netns", "del", wire).Run()
	}
	remove()
	t.Cleanup(remove)
	sh(t, "ip netns add "+wire+"; ip netns exec "+wire+" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'")
	for n, ip := range ips {
		gate := ip[:strings.LastIndexByte(ip, '.')] + ".1"
		sh(t, fmt.Sprintf(`ip netns add %[1]s
ip -n %[2]s link add to%[3]d type veth peer name eth0 netns %[1]s
ip -n %[2]s addr add %[4]s/24 dev to%[3]d; ip -n %[2]s link set to%[3]d up
ip -n %[1]s link set lo up; ip -n %[1]s addr add %[5]s/24 dev eth0; ip -n %[1]s link set eth0 up
ip -n %[1]s route add default via %[4]s`, namespace(n), wire, n, gate, ip))
	}
}

// boot raises your machine, the three hosts and the two observers', all of them empty.
func boot(t *testing.T) map[string]*machine {
	t.Helper()
	names := []string{"yours", "h1", "h2", "h3", "u1", "u2"}
	ips := []string{"10.9.0.21", "10.1.0.21", "10.2.0.21", "10.3.0.21", "10.4.0.21", "10.5.0.21"}
	leftovers(t)
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"scp", "pids", "hosts"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if program, err := os.ReadFile("../../bin/haechi-lab"); err != nil {
		t.Fatalf("%v; make build first", err)
	} else if err := os.WriteFile(first, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "scp", "scp"), []byte(scp), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	network(t, ips)
	all := map[string]*machine{}
	for n, name := range names {
		if err := os.Symlink(filepath.Join(root, name), filepath.Join(root, "hosts", ips[n])); err != nil {
			t.Fatal(err)
		}
		m := start(t, n, name, ips[n])
		if err := os.WriteFile(filepath.Join(root, "pids", ips[n]), []byte(m.pid), 0o644); err != nil {
			t.Fatal(err)
		}
		all[name] = m
	}
	return all
}

// leftovers ends machines of a test that was killed: the first process of each,
// which says by its working words that it is one.
func leftovers(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "pids", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(string(raw))
		words, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // it may be gone
		if err == nil && strings.Contains(string(words), "init\x00/bin/sleep\x00infinity") {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
