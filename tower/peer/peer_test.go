package peer_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/peer"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// place is a CA and what it issues.
type place struct {
	t  *testing.T
	ca string
}

func newPlace(t *testing.T) place {
	p := place{t, filepath.Join(t.TempDir(), "ca")}
	must(t, pki.NewCA(p.ca))
	return p
}

func (p place) files(kind pki.Kind, name string) pki.Files {
	p.t.Helper()
	return p.issue(kind, name, 0)
}

func (p place) issue(kind pki.Kind, name string, validity time.Duration) pki.Files {
	p.t.Helper()
	f, err := pki.Issue(p.ca, pki.Identity{Kind: kind, Name: name}, p.t.TempDir(), nil, nil, validity)
	must(p.t, err)
	return f
}

var sites = map[string]estate.SiteID{"tower-a": "a", "tower-b": "b"}

// tower serves h with tower-b's certificate and returns its address.
func (p place) tower(h http.Handler) string {
	p.t.Helper()
	return p.serve(h, p.files(pki.Tower, "tower-b"), "127.0.0.1:0").addr
}

func (p place) serve(h http.Handler, f pki.Files, addr string) server {
	p.t.Helper()
	return p.listen(&http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}, nil, f, addr)
}

// listen has s answer those who are let in.
func (p place) listen(s *http.Server, allow func(pki.Identity) error, f pki.Files, addr string) server {
	p.t.Helper()
	c, err := pki.ServerTLS(f, allow)
	must(p.t, err)
	l, err := net.Listen("tcp", addr)
	must(p.t, err)
	s.TLSConfig = c
	done := make(chan struct{})
	go func() { defer close(done); s.ServeTLS(l, "", "") }()
	p.t.Cleanup(func() { s.Close(); <-done })
	return server{s, l.Addr().String()}
}

type server struct {
	*http.Server
	addr string
}

func receiver(take func(situation.View)) *peer.Receiver {
	return &peer.Receiver{Tower: "tower-b", Take: take, SiteOf: func(t string) (estate.SiteID, bool) { s, ok := sites[t]; return s, ok }}
}

func (p place) sender(f pki.Files, peers ...peer.Peer) *peer.Sender {
	p.t.Helper()
	s, err := peer.NewSender(peers, f, 500*time.Millisecond, nil)
	must(p.t, err)
	p.t.Cleanup(s.Close)
	return s
}

// keepSending sends views until the test ends, as the prober does.
func keepSending(t *testing.T, s *peer.Sender, v situation.View) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			s.Send(v)
			v.Seq++
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
}

func wait[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

func TestViewsArrive(t *testing.T) {
	p := newPlace(t)
	got := make(chan situation.View, 100)
	r := receiver(func(v situation.View) { got <- v })
	s := p.sender(p.files(pki.Tower, "tower-a"), peer.Peer{Name: "tower-b", Address: p.tower(r)})
	want := situation.View{Observer: "tower-a", Site: "a", Seq: 1, Boot: "x", Looks: []situation.Look{{Target: "b/tower/tower-b", Ever: true, Facts: map[string]string{"k": "v"}}}}
	s.Send(want)
	if diff := cmp.Diff(want, wait(t, got, "the view")); diff != "" {
		t.Fatal(diff)
	}
	if at, ok := r.Heard()["tower-a"]; !ok || time.Since(at) > time.Minute {
		t.Fatalf("heard = %v", r.Heard())
	}
}

// A peer that takes connections and never answers holds nobody up, and is
// reached soon after it answers again, over one connection with the newest view.
func TestADeadPeerBlocksNobody(t *testing.T) {
	p := newPlace(t)
	black, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := black.Addr().String()
	live := make(chan situation.View, 1000)
	s := p.sender(p.files(pki.Tower, "tower-a"),
		peer.Peer{Name: "tower-b", Address: p.tower(receiver(func(v situation.View) { live <- v }))},
		peer.Peer{Name: "tower-c", Address: addr})
	keepSending(t, s, situation.View{Observer: "tower-a", Site: "a", Seq: 1})
	for range 100 {
		wait(t, live, "a view at the living peer")
	}
	for s.Contacts()["tower-c"].Error == "" {
		wait(t, live, "a view at the living peer")
	}
	black.Close()
	back := make(chan situation.View, 1000)
	r := receiver(func(v situation.View) { back <- v })
	r.Tower = "tower-c"
	began := time.Now()
	p.serve(r, p.files(pki.Tower, "tower-c"), addr)
	if v := wait(t, back, "a view at the peer that came back"); v.Seq < 100 {
		t.Fatalf("view %d arrived, which is old", v.Seq)
	}
	t.Logf("reached %v after it came back", time.Since(began))
}

// Users' networks do not reach tower-c: its site is cut off from users. tower-b passes on what they see.
func TestObserversAreHeardThroughOthers(t *testing.T) {
	p := newPlace(t)
	heard := make(chan situation.View, 1000)
	far := receiver(func(v situation.View) { heard <- v })
	far.Tower = "tower-c"
	c := p.serve(far, p.files(pki.Tower, "tower-c"), "127.0.0.1:0")
	on := p.sender(p.files(pki.Tower, "tower-b"), peer.Peer{Name: "tower-c", Address: c.addr})
	near := receiver(func(situation.View) {})
	near.Pass = on.Pass
	black, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { black.Close() })
	cut := p.sender(p.files(pki.Observer, "isp-a"), peer.Peer{Name: "tower-b", Address: p.tower(near)}, peer.Peer{Name: "tower-c", Address: black.Addr().String()})
	keepSending(t, cut, situation.View{Observer: "isp-a", Seq: 1})
	if v := wait(t, heard, "a view through tower-b"); v.Observer != "isp-a" || v.Site != "" {
		t.Fatalf("%+v", v)
	}
}

// A tower does not ask others to pass on what it sees, and is not asked by towers.
func TestTowersViewsArePassedOnByNobody(t *testing.T) {
	p := newPlace(t)
	got := make(chan situation.View, 1000)
	r := receiver(func(v situation.View) { got <- v })
	r.Pass = func(v situation.View, to []string) {
		t.Errorf("the view of %s was to be passed on to %v", v.Observer, to)
	}
	addr := p.tower(r)
	s := p.sender(p.files(pki.Tower, "tower-a"), peer.Peer{Name: "tower-b", Address: addr}, peer.Peer{Name: "tower-c", Address: "127.0.0.1:1"})
	for seq := uint64(1); s.Contacts()["tower-c"].Error == "" || len(got) < 3; seq++ {
		s.Send(situation.View{Observer: "tower-a", Site: "a", Seq: seq})
		time.Sleep(time.Millisecond)
	}
	c, err := pki.ClientTLS(p.files(pki.Tower, "tower-a"), nil)
	must(t, err)
	if status, answer, err := post(t, c, addr+peer.Path, strings.NewReader(`{"observer":"isp-a","pass_to":["tower-c"]}`)); err != nil || status != http.StatusNoContent {
		t.Fatalf("%d %s %v", status, answer, err)
	}
}

func TestAConnectionIsKept(t *testing.T) {
	p := newPlace(t)
	var conns atomic.Int64
	got := make(chan situation.View, 1000)
	h := receiver(func(v situation.View) { got <- v })
	addr := p.tower(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
	}))
	front, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { front.Close() })
	go forward(front, addr, &conns)
	s := p.sender(p.files(pki.Tower, "tower-a"), peer.Peer{Name: "tower-b", Address: front.Addr().String()})
	keepSending(t, s, situation.View{Observer: "tower-a", Site: "a"})
	for range 50 {
		wait(t, got, "a view")
	}
	if n := conns.Load(); n != 1 {
		t.Fatalf("%d connections", n)
	}
}

func forward(l net.Listener, to string, count *atomic.Int64) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		count.Add(1)
		d, err := net.Dial("tcp", to)
		if err != nil {
			c.Close()
			continue
		}
		go func() { io.Copy(d, c); d.Close() }()
		go func() { io.Copy(c, d); c.Close() }()
	}
}

func TestOnlyThoseWhoMayAreHeard(t *testing.T) {
	p := newPlace(t)
	var taken atomic.Int64
	addr := p.tower(receiver(func(situation.View) { taken.Add(1) }))
	tests := map[string]struct {
		files pki.Files
		body  string
		want  int
		says  string
	}{
		"Tower":            {p.files(pki.Tower, "tower-a"), `{"observer":"tower-a","site":"a"}`, 204, ""},
		"Observer":         {p.files(pki.Observer, "isp-a"), `{"observer":"isp-a"}`, 204, ""},
		"Agent":            {p.files(pki.Agent, "tower-a"), `{"observer":"tower-a","site":"a"}`, 403, "an agent's certificate"},
		"Person":           {p.files(pki.Person, "tower-a"), `{"observer":"tower-a","site":"a"}`, 403, "a person's certificate"},
		"PassedOn":         {p.files(pki.Tower, "tower-a"), `{"observer":"isp-a"}`, 204, ""},
		"OtherObserver":    {p.files(pki.Observer, "isp-b"), `{"observer":"isp-a"}`, 403, `in the name of "isp-a"`},
		"OtherName":        {p.files(pki.Tower, "tower-a"), `{"observer":"tower-b","site":"b"}`, 403, `in the name of "tower-b"`},
		"OtherNameNoSite":  {p.files(pki.Tower, "tower-a"), `{"observer":"tower-b"}`, 403, `in the name of "tower-b"`},
		"OtherSite":        {p.files(pki.Tower, "tower-a"), `{"observer":"tower-a","site":"c"}`, 403, "stands in a, but"},
		"NotInTheEstate":   {p.files(pki.Tower, "tower-x"), `{"observer":"tower-x","site":"a"}`, 403, "not a tower of the estate"},
		"OurOwn":           {p.files(pki.Tower, "tower-b"), `{"observer":"tower-b","site":"b"}`, 403, "our own name"},
		"ObserverWithVote": {p.files(pki.Observer, "isp-a"), `{"observer":"isp-a","site":"a"}`, 403, "claims to stand in a"},
		"NotJSON":          {p.files(pki.Tower, "tower-a"), `{"observer":`, 400, "is not one"},
		"TooLarge":         {p.files(pki.Tower, "tower-a"), strings.Repeat(" ", peer.MaxView+1), 413, "more than 1024 KB"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := pki.ClientTLS(tt.files, nil)
			must(t, err)
			before := taken.Load()
			status, answer, err := post(t, c, addr+peer.Path, strings.NewReader(tt.body))
			must(t, err)
			if status != tt.want || !strings.Contains(answer, tt.says) || (taken.Load() > before) != (tt.want == 204) {
				t.Fatalf("%d %s, %d views taken", status, answer, taken.Load()-before)
			}
		})
	}
}

// Whoever has no certificate of our CA that is still good is refused by name, in the tower's log.
func TestStrangersAreRefusedByName(t *testing.T) {
	p, other := newPlace(t), newPlace(t)
	said := make(lines, 100)
	h := receiver(func(v situation.View) { t.Errorf("taken: %+v", v) })
	addr := p.listen(&http.Server{Handler: h, ErrorLog: pki.ServerLog(slog.New(slog.NewTextHandler(said, nil)), time.Now)},
		pki.Only(pki.Tower, pki.Observer, pki.Person), p.files(pki.Tower, "tower-b"), "127.0.0.1:0").addr
	for name, tt := range map[string]struct {
		files pki.Files // none: no certificate
		says  string
	}{
		"NoCertificate": {pki.Files{}, "client didn't provide a certificate"},
		"OtherCA":       {other.files(pki.Tower, "tower-a"), "certificate of another CA: CN=tower/tower-a"},
		"Expired":       {p.issue(pki.Tower, "tower-a", -time.Minute), "certificate has expired: CN=tower/tower-a"},
		"Agent":         {p.files(pki.Agent, "db-a"), "an agent's certificate (haechi://agent/db-a) cannot be used as"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &tls.Config{InsecureSkipVerify: true}
			if tt.files != (pki.Files{}) {
				var err error
				c, err = pki.ClientTLS(tt.files, nil)
				must(t, err)
				c.VerifyConnection = nil // let the server be the one that refuses
			}
			if status, answer, err := post(t, c, addr+peer.Path, strings.NewReader(`{"observer":"tower-a","site":"a"}`)); err == nil {
				t.Errorf("was heard: %d %s", status, answer)
			}
			if line := wait(t, said, "the refusal"); !strings.Contains(line, "level=WARN") || !strings.Contains(line, tt.says) {
				t.Errorf("%s\ndoes not warn of %q", line, tt.says)
			}
		})
	}
}

// lines takes a log, a line a time.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

func post(t *testing.T, c *tls.Config, at string, body io.Reader) (int, string, error) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+at, body)
	must(t, err)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// Half a request ends by itself, with an answer that says so.
func TestHalfARequestEnds(t *testing.T) {
	p := newPlace(t)
	addr := p.tower(receiver(func(situation.View) { t.Error("half a view was taken") }))
	c, err := pki.ClientTLS(p.files(pki.Tower, "tower-a"), nil)
	must(t, err)
	half, w := io.Pipe()
	defer w.Close()
	go w.Write([]byte(`{"observer":"tower-a",`))
	status, answer, err := post(t, c, addr+peer.Path, half)
	if err != nil || status != 400 || !strings.Contains(answer, "the view of haechi://tower/tower-a did not arrive whole: i/o timeout") {
		t.Fatalf("%d %s %v", status, answer, err)
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	p := newPlace(t)
	srv := p.serve(receiver(func(situation.View) {}), p.files(pki.Tower, "tower-b"), "127.0.0.1:0")
	f := p.files(pki.Tower, "tower-a")
	ignore := goleak.IgnoreCurrent()
	s, err := peer.NewSender([]peer.Peer{{Name: "tower-b", Address: srv.addr}, {Name: "tower-c", Address: "127.0.0.1:1"}}, f, time.Second, nil)
	must(t, err)
	s.Send(situation.View{Observer: "tower-a", Site: "a"})
	for s.Contacts()["tower-b"].Answered.IsZero() || s.Contacts()["tower-c"].Error == "" {
		s.Send(situation.View{Observer: "tower-a", Site: "a"})
	}
	s.Close()
	srv.Close()
	goleak.VerifyNone(t, ignore)
}

func TestViewIsSmall(t *testing.T) {
	v := situation.View{Observer: "tower-a"}
	for range 200 {
		v.Looks = append(v.Looks, situation.Look{Target: "pangyo/database/talk-db/a", Ever: true, Facts: map[string]string{"role": "primary"}})
	}
	b, err := json.Marshal(v)
	must(t, err)
	if len(b) > peer.MaxView/10 || !bytes.Contains(b, []byte("primary")) {
		t.Fatalf("200 targets make %d bytes", len(b))
	}
}
