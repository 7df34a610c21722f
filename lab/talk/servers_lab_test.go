//go:build lab

package talk

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const bin = "/usr/lib/postgresql/15/bin/"

// server is one real PostgreSQL on loopback.
type server struct {
	name string
	dir  string
	port int
	cmd  *exec.Cmd
	gone chan struct{}
}

// asPostgres makes a command that runs as the user postgres, as PostgreSQL demands.
func asPostgres(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatalf("these tests need Debian's postgresql-15: %v", err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	c := exec.Command(name, args...)
	c.Dir = "/"
	c.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "LC_ALL=C.UTF-8"}
	c.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWIPC, // a killed server leaves its shared memory behind: it goes with the namespace
	}
	return c
}

func must(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", c, err, out)
	}
}

// template is a data directory with talk's database in it, made once.
var template = struct {
	once sync.Once
	dir  string
}{}

func TestMain(m *testing.M) {
	code := m.Run()
	if template.dir != "" {
		_ = os.RemoveAll(template.dir)
	}
	os.Exit(code)
}

func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "haechi-talk-")
	if err != nil {
		t.Fatal(err)
	}
	must(t, exec.Command("chown", "postgres:", dir))
	return dir
}

// newServer copies the template; standbys of the copy start from the same bytes.
func newServer(t *testing.T, name string) *server {
	t.Helper()
	template.once.Do(func() {
		dir := scratch(t)
		must(t, asPostgres(t, bin+"initdb", "--no-sync", "--auth=trust", "--username=postgres", "--data-checksums", "-D", dir+"/data"))
		s := &server{name: "template", dir: dir + "/data", port: freePort(t)}
		s.start(t)
		s.exec(t, "CREATE ROLE talk LOGIN")
		s.exec(t, "CREATE DATABASE talk OWNER talk")
		if err := Migrate(t.Context(), multiHost(s)); err != nil {
			t.Fatal(err)
		}
		must(t, asPostgres(t, bin+"pg_ctl", "stop", "-D", s.dir, "-m", "fast", "-w"))
		template.dir = dir
	})
	dir := scratch(t)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, exec.Command("cp", "-a", template.dir+"/data", dir+"/data"))
	return &server{name: name, dir: dir + "/data", port: freePort(t)}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// set writes a setting into the server's own file, before it starts.
func (s *server) set(t *testing.T, name, value string) {
	t.Helper()
	f, err := os.OpenFile(s.dir+"/postgresql.conf", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintf(f, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
}

// follows makes s a standby of p, before it starts.
func (s *server) follows(t *testing.T, p *server) {
	t.Helper()
	s.set(t, "primary_conninfo", p.replication(s.name))
	if err := os.WriteFile(s.dir+"/standby.signal", nil, 0o666); err != nil {
		t.Fatal(err)
	}
}

func (s *server) replication(name string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres application_name=%s", s.port, name)
}

// start returns when the server answers.
func (s *server) start(t *testing.T) {
	t.Helper()
	for k, v := range map[string]string{
		"port": strconv.Itoa(s.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
		"cluster_name": s.name, "wal_log_hints": "on", "hot_standby": "on", "wal_retrieve_retry_interval": "100ms",
		"max_connections": "100", "shared_buffers": "32MB",
	} {
		s.set(t, k, v)
	}
	var log bytes.Buffer
	s.cmd = asPostgres(t, bin+"postgres", "-D", s.dir)
	s.cmd.Stderr = &log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.gone = make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(s.gone) }()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("%s:\n%s", s.name, tail(log.String(), 3000))
		}
	})
	until(t, s.name+" answers", func() bool {
		c, err := pgx.Connect(t.Context(), s.dsnAs("postgres", "postgres"))
		if err == nil {
			_ = c.Close(t.Context())
		}
		return err == nil
	})
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// kill ends the server and all its children at once, as a fire does: nobody
// finishes a sentence.
func (s *server) kill() {
	pid := s.cmd.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	for _, child := range children(pid) {
		_ = syscall.Kill(child, syscall.SIGKILL)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	<-s.gone
}

func children(pid int) (out []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range stats {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		fields := strings.Fields(rest)
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			out = append(out, n)
		}
	}
	return out
}

func (s *server) dsnAs(role, database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable&connect_timeout=2", role, s.port, database)
}

// multiHost is the string that any application would use.
func multiHost(all ...*server) string {
	var hosts []string
	for _, s := range all {
		hosts = append(hosts, fmt.Sprintf("127.0.0.1:%d", s.port))
	}
	return "postgres://talk@" + strings.Join(hosts, ",") + "/talk?sslmode=disable&target_session_attrs=read-write&connect_timeout=2"
}

func (s *server) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	_ = ask[any](t, s, "", sql, args...)
}

// ask runs sql as superuser; with a column name it returns that of the first row.
func ask[T any](t *testing.T, s *server, column, sql string, args ...any) (v T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.dsnAs("postgres", "postgres"))
	if err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	defer func() { _ = c.Close(ctx) }()
	if column == "" {
		_, err = c.Exec(ctx, sql, args...)
	} else {
		err = c.QueryRow(ctx, sql, args...).Scan(&v)
	}
	if err != nil {
		t.Fatalf("%s: %s: %v", s.name, sql, err)
	}
	return v
}

// reset changes a setting of a running server.
func (s *server) reset(t *testing.T, name, value string) {
	t.Helper()
	s.exec(t, fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", name, strings.ReplaceAll(value, "'", "''")))
	s.exec(t, "SELECT pg_reload_conf()")
	until(t, name+" is in force", func() bool {
		return ask[string](t, s, "v", "SELECT current_setting($1)", name) == value
	})
}

// seal stops a standby from receiving, for good.
func (s *server) seal(t *testing.T) {
	t.Helper()
	s.reset(t, "primary_conninfo", "")
	until(t, s.name+" is sealed", func() bool {
		return ask[int](t, s, "n", "SELECT count(*)::int FROM pg_stat_wal_receiver") == 0
	})
}

// promote makes a standby the primary, whose commits wait for the names given.
func (s *server) promote(t *testing.T, synchronous string) {
	t.Helper()
	s.reset(t, "synchronous_standby_names", synchronous)
	s.exec(t, "SELECT pg_promote()")
}

// until waits for a condition by asking for it.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for !ok() {
		if wait(ctx, 10*time.Millisecond); ctx.Err() != nil {
			t.Fatalf("waited 30 s: %s", what)
		}
	}
}
