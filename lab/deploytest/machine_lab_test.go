//go:build lab

package deploytest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// root is where the machines' own directories stand.
const root = "/var/tmp/haechi-deploytest"

// first is the program that is each machine's first process. It stands here because a machine
// has a /tmp and a /root of its own, and the checkout may lie below either.
const first = root + "/haechi-lab"

// machine is one host: namespaces of its own for network, processes, mounts,
// names and shared memory, the machine's programs, and empty directories.
type machine struct {
	name, ip string
	init     *exec.Cmd // unshare; its child is the machine's first process
	pid      string    // of the machine's first process, as we see it
	stdin    io.WriteCloser
	lines    chan string
}

// private makes what a fresh Debian machine with the packages would have, in
// directories of its own, and then is the machine's first process.
const private = `set -e
mount --make-rprivate /
R=$1; EMPTY=$2
mkdir -p $R/etc $R/var/lib $R/var/log $R/var/cache $R/run $R/root $R/tmp $R/usr/local/bin
cp -a /etc/. $R/etc/
rm -rf $R/etc/postgresql $R/etc/haechi
mkdir -p $R/etc/postgresql $R/etc/systemd/system
install -d -o postgres -g postgres $R/var/lib/postgresql
install -d -o root -g postgres -m 1775 $R/var/log/postgresql
install -d -o postgres -g postgres -m 2775 $R/run/postgresql
install -d -o root -g bind -m 775 $R/var/lib/bind $R/var/cache/bind $R/run/named
install -d -m 755 $R/run/lock
chmod 1777 $R/tmp
for d in /etc /var/lib /var/log /var/cache /run; do mount --bind $R$d $d; done
if [ "$EMPTY" = yes ]; then for d in /root /tmp /usr/local; do mount --bind $R$d $d; done; fi
hostname $3
echo ready
exec $4 init /bin/sleep infinity
`

// start boots the machine. Its programs are the machine's that runs the test.
func start(t *testing.T, n int, name, ip string) *machine {
	t.Helper()
	m := &machine{name: name, ip: ip, lines: make(chan string, 10000)}
	own := "yes"
	if name == "yours" {
		own = "no" // it builds haechi, with the compiler and the caches that are there
	}
	m.init = exec.Command("ip", "netns", "exec", namespace(n), "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc",
		"bash", "-c", private, "first", filepath.Join(root, name), own, name, first)
	out, err := m.init.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	m.init.Stderr = os.Stderr
	if err := m.init.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%s does not come up: %q, %v", name, line, err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", m.init.Process.Pid, m.init.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m.pid = strings.TrimSpace(string(children))
	m.shell(t)
	return m
}

// shell opens the one shell of the machine that a person keeps open.
func (m *machine) shell(t *testing.T) {
	t.Helper()
	cmd := m.inside("bash", "--noprofile", "--norc")
	var err error
	if m.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); _ = in.Close() }()
	go func() {
		defer close(m.lines)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			m.lines <- sc.Text()
		}
	}()
	if _, err := io.WriteString(m.stdin, "set -E; trap 'echo \"failed with $?: $BASH_COMMAND\"; bad=1' ERR; bad=0\n"); err != nil {
		t.Fatal(err)
	}
}

// inside is a command on the machine, with the environment that a root login has.
func (m *machine) inside(args ...string) *exec.Cmd {
	dir := "/"
	if m.name == "yours" {
		dir = mustAbs("../..")
	}
	cmd := exec.Command("nsenter", append([]string{"-t", m.pid, "-m", "-u", "-i", "-n", "-p", "--wdns=" + dir, "--"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "USER=root"}
	if m.name == "yours" {
		cmd.Env = append(yours(), "HOME="+filepath.Join(root, m.name, "root"), "LANG=C.UTF-8", "USER=root")
	}
	return cmd
}

// do runs a block in the machine's shell and returns what was shown. Each
// command of it has to end well.
func (m *machine) do(ctx context.Context, text string) (string, error) {
	if _, err := io.WriteString(m.stdin, text+"\necho \"@@end $bad\"; bad=0\n"); err != nil {
		return "", err
	}
	var said strings.Builder
	for {
		select {
		case line, open := <-m.lines:
			if !open {
				return said.String(), errors.New("the shell ended")
			}
			// What came before without an end of line stands in front of ours.
			before, status, end := strings.Cut(line, "@@end ")
			said.WriteString(before + "\n")
			if end && status != "0" {
				return said.String(), errors.New("a command failed")
			}
			if end {
				return strings.TrimRight(said.String(), "\n"), nil
			}
		case <-ctx.Done():
			return said.String(), fmt.Errorf("it does not end: %w", ctx.Err())
		}
	}
}

// must does the same with a time limit and shows it.
func (m *machine) must(t *testing.T, what, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	began := time.Now()
	said, err := m.do(ctx, text)
	t.Logf("%s on %s, %.1f s:\n%s\n%s", what, m.name, time.Since(began).Seconds(), indent(text, "  $ "), indent(said, "    "))
	if err != nil {
		t.Fatalf("%s on %s: %v", what, m.name, err)
	}
	return said
}

// kill ends every process of the machine at once.
func (m *machine) kill() {
	_ = m.init.Process.Kill() // its end is the end of the machine's first process, and so of all
	_ = m.init.Wait()
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+by)
}

func mustAbs(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		panic(err)
	}
	return abs
}

// yours is the environment of the machine of the person who builds: the
// compiler that is there, its caches, and a scp that needs no ssh.
func yours() []string {
	env := []string{"PATH=" + filepath.Join(root, "scp") + ":" + os.Getenv("PATH"), "DEPLOY_HOSTS=" + filepath.Join(root, "hosts")}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOFLAGS", "GOPATH"} {
		out, err := exec.Command("go", "env", name).Output()
		if err == nil {
			env = append(env, name+"="+strings.TrimSpace(string(out)))
		}
	}
	return env
}
