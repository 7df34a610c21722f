//go:build lab

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/pki"
)

const bin = "/usr/lib/postgresql/15/bin"

// TestMain goes on as the user postgres: the server refuses to run as root, and the agent is
// let in over the socket because it is that user.
func TestMain(m *testing.M) {
	if asked, err := agentProcess(); asked {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	code, err := asPostgres()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func asPostgres() (int, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, fmt.Errorf("these tests need PostgreSQL and its user: apt-get install postgresql-15: %w", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	dir, err := os.MkdirTemp("/var/tmp", "haechi-driver-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return 0, err
	}
	exe := filepath.Join(dir, "test")
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		return 0, err
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return 0, err
	}
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, nil, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir, "LC_ALL=C")
	// Servers that are killed leave segments of shared memory behind: they go with the namespace.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, Pdeathsig: syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWIPC}
	err = cmd.Run()
	if e, ok := err.(*exec.ExitError); ok {
		return e.ExitCode(), nil
	}
	return 0, err
}

// cluster is three members on loopback, each with its agent, and a tower's driver.
type cluster struct {
	t       *testing.T
	dir     string
	ca      string
	store   estate.Store
	estate  estate.Estate
	record  situation.Store
	members map[string]*member
	driver  *Driver
	clients map[string]*agent.Client
	listen  string // listen_addresses of the servers
	runs    int    // that were begun
	mu      sync.Mutex
}

type member struct {
	c      *cluster
	name   string
	port   int
	set    Settings
	addr   string
	cancel context.CancelFunc
	done   chan error
	srv    *agent.Server
}

var names = []string{"pangyo", "ansan", "anyang"}

// newCluster raises the members as a person would have: replicating, synchronous, unknown to haechi.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	return newClusterOn(t, "127.0.0.1")
}

func newClusterOn(t *testing.T, listen string) *cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "c-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // a few dozen of them would fill a disk
	c := &cluster{t: t, dir: dir, ca: filepath.Join(dir, "ca"), members: map[string]*member{}, clients: map[string]*agent.Client{}, listen: listen}
	must(t, pki.NewCA(c.ca))
	c.issue(pki.Identity{Kind: pki.Tower, Name: "tower-1"})
	must(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("0123456789abcdef0123456789abcdef"), 0o600))
	for _, n := range names {
		c.addMember(n)
	}
	c.raise()
	c.describe()
	c.driver = New(c.dial)
	return c
}

func (c *cluster) issue(id pki.Identity) pki.Files {
	c.t.Helper()
	out := filepath.Join(c.dir, "tls-"+id.Name)
	f, err := pki.Issue(c.ca, id, out, []net.IP{net.IPv4(127, 0, 0, 1)}, nil, 24*time.Hour)
	must(c.t, err)
	return f
}

func (c *cluster) addMember(name string) {
	c.t.Helper()
	d := filepath.Join(c.dir, name)
	must(c.t, os.MkdirAll(filepath.Join(d, "agent"), 0o700))
	m := &member{c: c, name: name, port: freePort(c.t)}
	m.set = Settings{Kind: Engine, Store: "talk-db", Member: name, Bin: bin, Data: filepath.Join(d, "data"), Socket: d, Port: m.port,
		Passfile: filepath.Join(d, "passfile"), SecretFile: filepath.Join(c.dir, "secret"), Log: filepath.Join(d, "log"), Mandate: byNFT}
	m.addr = fmt.Sprintf("127.0.0.1:%d", freePort(c.t))
	c.issue(pki.Identity{Kind: pki.Agent, Name: "db-" + name})
	c.members[name] = m
	c.t.Cleanup(m.down)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// raise makes the databases.
func (c *cluster) raise() {
	p := c.members["pangyo"]
	c.run("initdb", "-D", p.set.Data, "-U", "postgres", "-A", "peer", "--data-checksums", "--no-sync", "-E", "UTF8", "--locale=C")
	hba := "local all postgres peer\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication haechi_replication 127.0.0.1/32 scram-sha-256\nhost all haechi_replication 127.0.0.1/32 scram-sha-256\nhost all talk samenet scram-sha-256\n"
	must(c.t, os.WriteFile(filepath.Join(p.set.Data, "pg_hba.conf"), []byte(hba), 0o600))
	p.conf()
	p.startByHand()
	p.sql("CREATE ROLE haechi_replication REPLICATION LOGIN PASSWORD 'by-hand'; CREATE ROLE talk LOGIN PASSWORD 'talk'")
	p.sql("CREATE TABLE public.w (id bigint PRIMARY KEY, at timestamptz DEFAULT now()); GRANT ALL ON public.w TO talk; CREATE TABLE public.locked (x int)")
	var wg sync.WaitGroup
	for _, n := range []string{"ansan", "anyang"} {
		m := c.members[n]
		wg.Go(func() {
			c.run("pg_basebackup", "-D", m.set.Data, "-R", "-c", "fast", "--no-sync", "-X", "stream",
				"-d", fmt.Sprintf("host=127.0.0.1 port=%d user=haechi_replication password=by-hand application_name=%s", p.port, n))
			m.conf()
			m.startByHand()
		})
	}
	wg.Wait()
	p.sql(`ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 ("ansan","anyang")'`, "SELECT pg_reload_conf()")
}

func (c *cluster) run(name string, args ...string) {
	c.t.Helper()
	out, err := exec.Command(filepath.Join(bin, name), args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func (m *member) conf() {
	text := fmt.Sprintf("listen_addresses = '%s'\nport = %d\nunix_socket_directories = '%s'\ncluster_name = '%s'\n"+
		"wal_log_hints = on\nwal_level = logical\nmax_wal_senders = 10\nhot_standby = on\nwal_keep_size = 128MB\nwal_retrieve_retry_interval = 100ms\nlogging_collector = off\nlc_messages = 'C'\n"+
		"shared_buffers = 16MB\nmax_connections = 50\nautovacuum = on\nlog_line_prefix = '%%m [%%p] %%b '\nmax_standby_streaming_delay = 30s\n", m.c.listen, m.port, m.set.Socket, m.name)
	path := filepath.Join(m.set.Data, "postgresql.conf")
	must(m.c.t, os.WriteFile(path, []byte(text), 0o600))
}

// startByHand starts the server as its people do, before haechi knows it.
func (m *member) startByHand() {
	m.c.t.Helper()
	u := &Unit{set: m.set, local: &local{socket: m.set.Socket, port: m.port}}
	must(m.c.t, u.launch())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	must(m.c.t, u.awaitReady(ctx))
}

func (m *member) down() {
	if m.cancel != nil {
		m.stopAgent()
	}
	u := &Unit{set: m.set, local: &local{socket: m.set.Socket, port: m.port}}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := u.kill(ctx, 0); err != nil {
		m.c.t.Log(err)
	}
	if m.c.t.Failed() || os.Getenv("HAECHI_LAB_LOGS") != "" {
		if raw, err := os.ReadFile(m.set.Log); err == nil {
			lines := slices.DeleteFunc(strings.Split(string(raw), "\n"), func(l string) bool { return strings.Contains(l, "waiting for WAL to become available") })
			m.c.t.Logf("log of %s:\n%s", m.name, strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	}
}

// startAgent serves the member's agent, as cmd/haechi-agent does.
func (m *member) startAgent() {
	m.c.t.Helper()
	log := slog.New(slog.NewTextHandler(testWriter{m.c.t}, nil)).With("agent", m.name)
	if !testing.Verbose() {
		log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	unit, err := NewUnit(m.set, log)
	must(m.c.t, err)
	d := filepath.Dir(m.set.Data)
	srv, err := agent.NewServer(filepath.Join(d, "agent", "state.json"), filepath.Join(d, "hold"), map[string]agent.Unit{"talk-db": unit}, log)
	must(m.c.t, err)
	out := filepath.Join(m.c.dir, "tls-db-"+m.name)
	conf, err := pki.ServerTLS(pki.FilesIn(out), pki.Only(pki.Tower))
	must(m.c.t, err)
	l, err := net.Listen("tcp", m.addr)
	must(m.c.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.done, m.srv = cancel, make(chan error, 1), srv
	go func() { m.done <- srv.Serve(ctx, l, conf) }()
}

func (m *member) stopAgent() {
	m.cancel()
	<-m.done
	m.cancel = nil
	m.hangUp()
}

// hangUp forgets the connection to an agent that has ended: an order on it would end without an answer, as it may
// in the field.
func (m *member) hangUp() {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	delete(m.c.clients, m.addr)
}

// describe makes the estate of what was raised.
func (c *cluster) describe() {
	c.store = estate.Store{Engine: Engine, Primary: "pangyo", Any: 1, Members: map[estate.MemberID]estate.Member{}}
	c.estate = estate.Estate{Stores: map[estate.StoreID]estate.Store{}, Hosts: map[estate.HostID]estate.Host{}}
	for _, m := range c.members {
		host := estate.HostID("db-" + m.name)
		c.store.Members[estate.MemberID(m.name)] = estate.Member{Site: estate.SiteID(m.name), Host: host, Address: fmt.Sprintf("127.0.0.1:%d", m.port), Unit: "talk-db"}
		c.estate.Hosts[host] = estate.Host{Site: estate.SiteID(m.name), Agent: m.addr}
		m.startAgent()
	}
	c.estate.Stores["talk-db"] = c.store
}

func (c *cluster) dial(host estate.HostID, address string) (agent.Caller, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl := c.clients[address]; cl != nil {
		return cl, nil
	}
	out := filepath.Join(c.dir, "tls-tower-1")
	cl, err := agent.NewClient(string(host), address, pki.FilesIn(out))
	c.clients[address] = cl
	return cl, err
}

// carried is one run in a test: what the executor keeps.
type carried struct {
	c     *cluster
	run   run.ID
	epoch uint64
	term  uint64
	facts run.Facts
	id    int
	args  map[string]string // of each step

	planned bool // the primary was halted
}

// begin opens a run with an epoch of its own.
func (c *cluster) begin() *carried {
	c.record.Next++
	return &carried{c: c, epoch: c.record.Next, term: 1, facts: run.Facts{}}
}

func (r *carried) task(v plan.Verb, members ...string) driver.Task {
	if r.run == "" {
		r.c.runs++
		r.run = run.ID(fmt.Sprintf("r-%d", r.c.runs))
	}
	r.id++
	s := plan.Step{ID: r.id, Verb: v, Driver: Engine, Component: "talk-db", Members: members, Args: r.args}
	if r.planned = r.planned || v == plan.Halt; r.planned && v == plan.Seal {
		s.Limit = estate.Duration(3 * time.Second) // as core/plan gives it
	}
	return driver.Task{Run: r.run, Step: s, Term: r.term, Epoch: r.epoch, Facts: r.facts, Estate: r.c.estate, Store: r.c.record}
}

// try does one step and keeps what it learned.
func (r *carried) try(limit time.Duration, v plan.Verb, members ...string) (driver.Result, error) {
	r.c.t.Helper()
	ctx, cancel := context.WithTimeout(r.c.t.Context(), limit)
	defer cancel()
	began := time.Now()
	res, err := r.c.driver.Do(ctx, r.task(v, members...))
	r.c.t.Logf("%-8s %6.1f ms  %v %s %v", v, float64(time.Since(began).Microseconds())/1000, res.Outcome, res.Note, err)
	for _, k := range []string{"took/pangyo", "took/ansan", "took/anyang", "took/promote"} {
		if res.Facts[k] != "" {
			r.c.t.Logf("         %s: %s", k, res.Facts[k])
		}
	}
	r.learn(res)
	return res, err
}

func (r *carried) learn(res driver.Result) {
	for k, v := range res.Facts {
		r.facts[k] = v
	}
	if res.Store != nil {
		next := *res.Store
		next.Next = max(next.Next, r.c.record.Next)
		r.c.record = next
	}
}

// must does one step that has to end well.
func (r *carried) must(v plan.Verb, members ...string) driver.Result {
	r.c.t.Helper()
	res, err := r.try(30*time.Second, v, members...)
	if err != nil || res.Outcome != run.Done {
		r.c.t.Fatalf("%s: %v %v (%s)", v, res.Outcome, err, res.Ask)
	}
	return res
}

// adopt brings the cluster under haechi.
func (c *cluster) adopt() {
	c.t.Helper()
	c.begin().must(plan.Adopt, names...)
	for _, n := range []string{"ansan", "anyang"} { // what was pointed anew may not receive yet
		m := c.members[n]
		eventually(c.t, n+" receives", func() bool {
			return len(m.sql("SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming' AND strpos(conninfo, "+quote(m.set.Passfile)+") > 0")) == 1
		})
	}
}

// order gives one order by itself.
func (c *cluster) order(member string, o agent.Order) (agent.Answer, error) {
	c.t.Helper()
	m := c.members[member]
	cl, err := c.dial(estate.HostID("db-"+member), m.addr)
	must(c.t, err)
	o.Version, o.Unit = 1, "talk-db"
	if o.Term == 0 && o.Verb != agent.Status {
		o.Term = 1
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	return cl.Call(ctx, o)
}

// facts asks a member for its status, freshly.
func (c *cluster) facts(member string) map[string]string {
	c.t.Helper()
	a, err := c.order(member, agent.Order{Verb: agent.Status, Run: "test"})
	must(c.t, err)
	return a.Facts
}

// sql runs statements by the socket.
func (m *member) sql(statements ...string) [][]string {
	m.c.t.Helper()
	l := &local{socket: m.set.Socket, port: m.port}
	defer l.drop()
	var out [][]string
	for _, s := range statements {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		r, err := l.rows(ctx, s)
		cancel()
		if err != nil {
			m.c.t.Fatalf("%s: %s: %v", m.name, s, err)
		}
		out = r
	}
	return out
}

// receiver is the process by which a follower receives, once it does.
func (m *member) receiver() (pid int) {
	m.c.t.Helper()
	eventually(m.c.t, m.name+" receives", func() bool {
		for _, r := range m.sql("SELECT pid FROM pg_stat_wal_receiver WHERE status = 'streaming'") {
			pid = int(toNumber(r[0]))
		}
		return pid != 0
	})
	return pid
}

// killDatabase kills every process of a member's server, as a fire does.
func (m *member) killDatabase() {
	m.c.t.Helper()
	u := &Unit{set: m.set, local: &local{socket: m.set.Socket, port: m.port}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	must(m.c.t, u.kill(ctx, 0))
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
		if ok() {
			return
		}
		_ = pause(t.Context(), 10*time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	fmt.Fprint(os.Stderr, string(p))
	return len(p), nil
}

func refused(err error) (*agent.Refused, bool) { return errors.AsType[*agent.Refused](err) }

func without(all []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == one })
}

// holdLock reads a table in a transaction that stays open, as a report does.
func (m *member) holdLock() (release func()) {
	m.c.t.Helper()
	l := &local{socket: m.set.Socket, port: m.port}
	c, err := l.dial(m.c.t.Context(), "application_name=reader")
	must(m.c.t, err)
	_, err = ask(m.c.t.Context(), c, "SET application_name = 'reader'; BEGIN; SELECT * FROM public.locked")
	must(m.c.t, err)
	return func() { closeSoon(c) }
}

// hold puts the host's hold file there.
func (m *member) hold() {
	m.c.t.Helper()
	must(m.c.t, os.WriteFile(filepath.Join(filepath.Dir(m.set.Data), "hold"), nil, 0o600))
}

// allFacts asks every member, by member.
func (c *cluster) allFacts() map[estate.MemberID]map[string]string {
	c.t.Helper()
	out := map[estate.MemberID]map[string]string{}
	for _, m := range names {
		out[estate.MemberID(m)] = c.facts(m)
	}
	return out
}

// beforeReturn does what the executor does before a return: the member counts from now on.
func (r *carried) beforeReturn(member string) {
	r.c.record.Sync = append(slices.Clone(r.c.record.Sync), estate.MemberID(member))
	slices.Sort(r.c.record.Sync)
}
