package talk

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

// stubborn is a gateway that answers the first request for every message with
// 503, and remembers what it was asked.
type stubborn struct {
	mu    sync.Mutex
	asked map[string]int
	order map[string][]int // numbers in the order in which they were first asked, by author
	seq   int64
}

func (s *stubborn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	words := strings.Split(r.URL.Path, "/")
	if r.Method != http.MethodPut {
		http.NotFound(w, r)
		return
	}
	var m Message
	b, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(b, &m)
	id := words[len(words)-1]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked[id]++; s.asked[id] == 1 {
		n, _ := numberOf(m.Body)
		s.order[m.Author] = append(s.order[m.Author], n)
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	s.seq++
	answer(w, http.StatusOK, Message{ID: id, Seq: s.seq})
}

// TestRunLoadKeepsIDOrderAndSchedule plays a second before a gateway that fails
// every message once: each is retried under its id, none overtakes another of
// its client, and the schedule does not wait for any.
func TestRunLoadKeepsIDOrderAndSchedule(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	s := &stubborn{asked: map[string]int{}, order: map[string][]int{}}
	gateway := httptest.NewServer(s)
	_, port, _ := net.SplitHostPort(gateway.Listener.Addr().String())
	n, _ := strconv.Atoi(port)
	var lines strings.Builder
	c := LoadConfig{
		Clients: 10, Rate: 200, Duration: time.Second, Seed: 3, Readers: -1, Port: n,
		DNS: []string{nameserver(t, "127.0.0.1")}, Acks: &lines,
	}
	y, err := RunLoad(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	gateway.Close()
	if len(y.Acks) < 50 || len(y.Pending) != 0 || y.Failures["status 503"] != len(y.Acks) {
		t.Errorf("%d acknowledged, %d pending, failures %v", len(y.Acks), len(y.Pending), y.Failures)
	}
	if got := strings.Count(lines.String(), "\n"); got != len(y.Acks) {
		t.Errorf("%d lines for %d acknowledgements", got, len(y.Acks))
	}
	for author, numbers := range s.order {
		if !slices.IsSorted(numbers) {
			t.Errorf("%s sent out of order: %v", author, numbers)
		}
	}
	for _, a := range y.Acks {
		if a.Tries != 2 || a.ID != messageID(3, "", a.Client, a.N) {
			t.Fatalf("%+v", a)
		}
		want := newSchedule(3, a.Client, 50*time.Millisecond)
		for range a.N - 1 {
			want.Next()
		}
		if got := a.Intended.Sub(y.Began); got != want.Next() {
			t.Fatalf("client %d message %d was intended at %v", a.Client, a.N, got)
		}
	}
	goleak.VerifyNone(t, ignore, goleak.IgnoreTopFunction("net.(*UDPConn).readFrom"), goleak.IgnoreAnyFunction("github.com/miekg/dns.(*Server).ActivateAndServe"))
}

// nameserver answers with the addresses, for a second.
func nameserver(t *testing.T, addresses ...string) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		for _, a := range addresses {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.ParseIP(a),
			})
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown() })
	return conn.LocalAddr().String()
}
