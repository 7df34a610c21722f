package probe_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/miekg/dns"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/probe"
)

func look(t *testing.T, l probe.Looker, x situation.Target) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	return l.Look(ctx, x)
}

func want(t *testing.T, l probe.Looker, x situation.Target, facts map[string]string) {
	t.Helper()
	got, err := look(t, l, x)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(facts, got); diff != "" {
		t.Fatal(diff)
	}
}

// closed is an address at which nobody listens.
func closed(t *testing.T) string {
	l := listen(t)
	l.Close()
	return l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestGateway(t *testing.T) {
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if r.URL.Path == "/long" {
			_, _ = w.Write(make([]byte, 1<<20))
		}
	}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	l := probe.Gateway()
	want(t, l, situation.Target{Address: s.URL + "/healthz"}, map[string]string{})
	want(t, l, situation.Target{Address: s.URL + "/healthz"}, map[string]string{})
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for two looks, one after the other", n)
	}
	s.CloseClientConnections()
	want(t, l, situation.Target{Address: s.URL + "/healthz"}, map[string]string{})
	want(t, l, situation.Target{Address: s.URL + "/broken"}, map[string]string{"status": "503"})
	want(t, l, situation.Target{Address: s.URL + "/long"}, map[string]string{})
	if _, err := look(t, l, situation.Target{Address: "http://" + closed(t) + "/"}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("where nobody listens: %v", err)
	}
}

func TestTower(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != probe.Alive {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer s.Close()
	l := probe.Tower(func(name string) (*tls.Config, error) {
		if name != "tower-ansan" {
			return nil, errors.New("no certificate")
		}
		return s.Client().Transport.(*http.Transport).TLSClientConfig, nil
	})
	address := strings.TrimPrefix(s.URL, "https://")
	want(t, l, situation.Target{Component: "tower-ansan", Address: address}, map[string]string{})
	if _, err := look(t, l, situation.Target{Component: "tower-pangyo", Address: address}); err == nil {
		t.Error("looked without a certificate")
	}
}

// What a tower says of itself beside that it lives is heard; what cannot be read says no more than that.
func TestTowerSaysWhatItIs(t *testing.T) {
	for body, facts := range map[string]map[string]string{
		`{"seat":"waits"}`: {"seat": "waits"}, `{}`: {}, `nonsense`: {}, `{"seat":1}`: {}, `["x"]`: {},
	} {
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		l := probe.Tower(func(string) (*tls.Config, error) { return s.Client().Transport.(*http.Transport).TLSClientConfig, nil })
		want(t, l, situation.Target{Component: "tower-ansan", Address: strings.TrimPrefix(s.URL, "https://")}, facts)
		s.Close()
	}
}

func TestDNS(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var rcode atomic.Int32
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetRcode(q, int(rcode.Load()))
		if a.Rcode == dns.RcodeSuccess {
			rr, _ := dns.NewRR("example. 2 SOA ns. admin. 42 1 1 1 1")
			a.Answer = []dns.RR{rr}
		}
		_ = w.WriteMsg(a)
	})}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown() })
	l := probe.DNS(func(host string) string { return map[string]string{"ns-ansan": "example."}[host] })
	x := situation.Target{Component: "ns-ansan", Address: pc.LocalAddr().String()}
	want(t, l, x, map[string]string{"serial": "42"})
	rcode.Store(dns.RcodeRefused)
	want(t, l, x, map[string]string{"locked": "true"})
	rcode.Store(dns.RcodeServerFailure)
	want(t, l, x, map[string]string{"rcode": "SERVFAIL"})
	if _, err := look(t, l, situation.Target{Component: "ns-ansan", Address: closed(t)}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("where nobody listens: %v", err)
	}
}

// serve speaks as much PostgreSQL as a look hears.
func serve(t *testing.T, conns *atomic.Int32, refuse *atomic.Bool) string {
	l := listen(t)
	go accept(l, func(c net.Conn) {
		conns.Add(1)
		session(c, refuse)
	})
	return l.Addr().String()
}

// accept gives each connection to a goroutine of its own, until l is closed.
func accept(l net.Listener, each func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go each(c)
	}
}

func session(c net.Conn, refuse *atomic.Bool) {
	defer c.Close()
	b := pgproto3.NewBackend(bufio.NewReader(c), c)
	if m, err := b.ReceiveStartupMessage(); err != nil {
		return
	} else if _, ok := m.(*pgproto3.SSLRequest); ok {
		_, _ = c.Write([]byte("N"))
		return
	}
	if refuse.Load() {
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P03", Message: "the database system is starting up"})
		_ = b.Flush()
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for b.Flush() == nil {
		if m, err := b.Receive(); err != nil {
			return
		} else if _, ok := m.(*pgproto3.Query); !ok {
			return
		}
		b.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("r")}}})
		b.Send(&pgproto3.DataRow{Values: [][]byte{[]byte("t")}})
		b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
}

func TestDatabase(t *testing.T) {
	var conns atomic.Int32
	var refuse atomic.Bool
	address := serve(t, &conns, &refuse)
	l := probe.Database(func(component string) string {
		if component == "talk-db/nobody" {
			return ""
		}
		return "user=haechi_monitor dbname=postgres sslmode=disable"
	})
	x := situation.Target{ID: "a", Component: "talk-db/ansan", Address: address}
	want(t, l, x, map[string]string{}) // the first answer shows life; the connection is made ready meanwhile
	for {
		facts, err := look(t, l, x)
		if err != nil {
			t.Fatal(err)
		}
		if facts["role"] == "follower" {
			break
		}
	}
	before := conns.Load()
	for range 5 {
		want(t, l, x, map[string]string{"role": "follower"})
	}
	if n := conns.Load() - before; n != 0 {
		t.Errorf("%d new connections for five looks", n)
	}
	preferTLS := probe.Database(func(string) string { return "user=haechi_monitor sslmode=prefer" })
	for facts := map[string]string(nil); facts["role"] == ""; { // dialled twice, since the server has no TLS
		var err error
		if facts, err = look(t, preferTLS, x); err != nil {
			t.Fatal(err)
		}
	}
	refuse.Store(true)
	want(t, l, situation.Target{ID: "b", Component: "talk-db/anyang", Address: address}, map[string]string{})
	want(t, l, situation.Target{ID: "c", Component: "talk-db/nobody", Address: address}, map[string]string{})
	for _, component := range []string{"talk-db/ansan", "talk-db/nobody"} {
		if _, err := look(t, l, situation.Target{ID: "d", Component: component, Address: closed(t)}); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s where nobody listens: %v", component, err)
		}
	}
}

// A server that takes long to let anybody in is not made slower by more who sign in: one does, and others wait for
// what it hears, or knock.
func TestDatabaseThatIsSlowToLetIn(t *testing.T) {
	const slow = 500 * time.Millisecond // longer than a question may be quiet, shorter than one may hang
	l := listen(t)
	var signing, most, knocks atomic.Int32
	var never atomic.Bool
	go accept(l, func(c net.Conn) {
		b := make([]byte, 8)
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		if bytes.Equal(b, []byte{0, 0, 0, 8, 4, 210, 22, 47}) {
			knocks.Add(1)
			_, _ = c.Write([]byte("N"))
			_ = c.Close()
			return
		}
		most.Store(max(most.Load(), signing.Add(1)))
		time.Sleep(slow)
		signing.Add(-1)
		session(&replayed{Conn: c, first: b}, &never)
	})
	look := probe.Database(func(string) string { return "user=haechi_monitor dbname=postgres sslmode=disable" })
	x := situation.Target{ID: "a", Component: "talk-db/ansan", Address: l.Addr().String()}
	for began := time.Now(); ; {
		if time.Since(began) > 20*slow {
			t.Fatalf("not let in for %v; %d signed in at once, %d knocked", time.Since(began), most.Load(), knocks.Load())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		facts, _ := look.Look(ctx, x)
		cancel()
		if facts["role"] == "follower" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if most.Load() != 1 || knocks.Load() == 0 {
		t.Errorf("%d signed in at once, %d knocked", most.Load(), knocks.Load())
	}
}

// A server that is late with everything is knocked on by one at a time: more would keep it late.
func TestDatabaseThatIsLateIsKnockedOnByOne(t *testing.T) {
	const late = 700 * time.Millisecond
	l := listen(t)
	var knocking, most, knocks atomic.Int32
	go accept(l, func(c net.Conn) {
		b := make([]byte, 8)
		if _, err := io.ReadFull(c, b); err != nil || !bytes.Equal(b, []byte{0, 0, 0, 8, 4, 210, 22, 47}) {
			<-t.Context().Done() // it lets nobody in
			return
		}
		knocks.Add(1)
		most.Store(max(most.Load(), knocking.Add(1)))
		time.Sleep(late)
		knocking.Add(-1)
		_, _ = c.Write([]byte("N"))
		_ = c.Close()
	})
	look := probe.Database(func(string) string { return "user=haechi_monitor dbname=postgres sslmode=disable" })
	x := situation.Target{ID: "a", Component: "talk-db/ansan", Address: l.Addr().String()}
	heard := 0
	for began := time.Now(); heard < 2; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 20*late {
			t.Fatalf("heard %d times in %v; %d knocks, %d at once", heard, time.Since(began), knocks.Load(), most.Load())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if _, err := look.Look(ctx, x); err == nil {
			heard++
		}
		cancel()
	}
	if most.Load() != 1 {
		t.Errorf("%d knocked at once", most.Load())
	}
}

// A session from before a cut hangs, and new ones work: the member is heard by a knock at once, and by a new session soon.
func TestDatabaseWhoseSessionHangs(t *testing.T) {
	l := listen(t)
	var cut atomic.Bool
	var never atomic.Bool
	go accept(l, func(c net.Conn) {
		before := !cut.Load()
		session(deaf{c, func() bool { return before && cut.Load() }}, &never)
	})
	d := probe.Database(func(string) string { return "user=haechi_monitor dbname=postgres sslmode=disable" })
	x := situation.Target{ID: "a", Component: "talk-db/ansan", Address: l.Addr().String()}
	role := func() (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		facts, err := d.Look(ctx, x)
		return facts["role"], err
	}
	for got := ""; got == ""; {
		got, _ = role()
	}
	cut.Store(true)
	began := time.Now()
	if got, err := role(); got != "" || err != nil {
		t.Errorf("beside a session that hangs: %q %v", got, err)
	}
	for got := ""; got == "" && time.Since(began) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		got, _ = role()
	}
	if took := time.Since(began); took > 4*time.Second { // loginTime is 5 s: it was not waited for
		t.Errorf("a new session only after %v", took)
	}
}

// deaf is a connection that hears nothing any more once it is cut.
type deaf struct {
	net.Conn
	cut func() bool
}

func (d deaf) Read(b []byte) (int, error) {
	for {
		n, err := d.Conn.Read(b)
		if err != nil || !d.cut() {
			return n, err
		}
	}
}

// replayed is a connection of which the first bytes were read already.
type replayed struct {
	net.Conn
	first []byte
}

func (r *replayed) Read(b []byte) (int, error) {
	if len(r.first) == 0 {
		return r.Conn.Read(b)
	}
	n := copy(b, r.first)
	r.first = r.first[n:]
	return n, nil
}

// A server that is stopped accepts connections and says nothing.
func TestDatabaseThatIsStoppedIsSilent(t *testing.T) {
	address := listen(t).Addr().String()
	for _, conninfo := range []string{"", "user=haechi_monitor sslmode=disable"} {
		l := probe.Database(func(string) string { return conninfo })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := l.Look(ctx, situation.Target{ID: "a", Address: address}); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("with %q: %v", conninfo, err)
		}
		cancel()
	}
}

// caller is an agent.
type caller struct {
	answer func(o agent.Order) (agent.Answer, error)
	calls  *atomic.Int32
}

func (c caller) Call(ctx context.Context, o agent.Order) (agent.Answer, error) {
	c.calls.Add(1)
	if err := ctx.Err(); err != nil {
		return agent.Answer{}, err
	}
	return c.answer(o)
}

func TestAgentTellsOfAllItsUnitsNowAndThen(t *testing.T) {
	var full, alive atomic.Int32
	c := caller{calls: new(atomic.Int32), answer: func(o agent.Order) (agent.Answer, error) {
		if o.Verb != agent.Status || o.Version != 1 {
			t.Errorf("order: %+v", o)
		}
		if o.Unit == "" {
			alive.Add(1)
			return agent.Answer{}, &agent.Refused{Answer: agent.Answer{Code: agent.UnknownUnit}}
		}
		full.Add(1)
		return agent.Answer{Facts: map[string]string{"unit": o.Unit}}, nil
	}}
	l := probe.Agent(probe.AgentConfig{
		Dial:  func(string, string) (agent.Caller, error) { return c, nil },
		Units: func(string) []string { return []string{"named", "talk-db"} },
		Facts: time.Hour,
	})
	x := situation.Target{ID: "a", Component: "db-ansan"}
	want(t, l, x, map[string]string{"named/unit": "named", "talk-db/unit": "talk-db"})
	for range 2 {
		want(t, l, x, nil)
	}
	if full.Load() != 2 || alive.Load() != 2 {
		t.Errorf("%d questions for the status of 2 units, %d whether it lives; want 2 and 2", full.Load(), alive.Load())
	}
}

func TestAgentThatFallsSilentIsDialledAnew(t *testing.T) {
	var dials, calls atomic.Int32
	var dead atomic.Bool
	l := probe.Agent(probe.AgentConfig{
		Dial: func(string, string) (agent.Caller, error) {
			n := dials.Add(1)
			return caller{calls: &calls, answer: func(agent.Order) (agent.Answer, error) {
				if n == 1 && dead.Load() {
					return agent.Answer{}, context.DeadlineExceeded
				}
				return agent.Answer{}, nil
			}}, nil
		},
		Units: func(string) []string { return nil },
	})
	x := situation.Target{ID: "a"}
	want(t, l, x, map[string]string{})
	dead.Store(true)
	if _, err := look(t, l, x); err == nil {
		t.Fatal("a dead connection answered")
	}
	want(t, l, x, nil)
	if n := dials.Load(); n != 2 {
		t.Errorf("dialled %d times", n)
	}
}
