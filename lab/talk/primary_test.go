package talk

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestBelieve(t *testing.T) {
	writable := func(host string, timeline uint32) sight { return sight{Host: host, Writable: true, Timeline: timeline} }
	standby := func(host string) sight { return sight{Host: host} }
	silent := func(host string) sight { return sight{Host: host, Err: "no answer"} }
	for _, c := range []struct {
		name string
		saw  []sight
		want belief
	}{
		{"NobodyAnswers", []sight{silent("a"), standby("b")}, belief{}},
		{"TheWritableOne", []sight{standby("b"), writable("a", 1)}, belief{"a", 1}},
		{"SilenceChangesNothing", []sight{writable("a", 1), silent("a"), standby("b")}, belief{"a", 1}},
		{"NewerTimelineWins", []sight{writable("a", 1), writable("b", 2)}, belief{"b", 2}},
		{"FormerPrimaryThatLivesOn", []sight{writable("a", 1), writable("b", 2), writable("a", 1)}, belief{"b", 2}},
		{"FormerPrimaryAfterTheNewOneIsGone", []sight{writable("b", 2), silent("b"), writable("a", 1)}, belief{"b", 2}},
		{"Demoted", []sight{writable("a", 1), standby("a")}, belief{"", 1}},
		{"DemotedAndBack", []sight{writable("a", 1), standby("a"), writable("a", 1)}, belief{"a", 1}},
		{"NotBackToAnOlderOne", []sight{writable("b", 2), standby("b"), writable("a", 1)}, belief{"", 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var now belief
			for _, s := range c.saw {
				now = believe(now, s)
			}
			if diff := cmp.Diff(c.want, now); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHostsAreAskedAsOftenAsItHelps(t *testing.T) {
	now := time.Now()
	heard := func(host string, ago time.Duration, err string) sight {
		return sight{Host: host, At: now.Add(-ago), Err: err}
	}
	for _, c := range []struct {
		name    string
		primary sight
		asked   sight
		want    time.Duration
	}{
		{"All well", heard("a", 0, ""), heard("b", 0, ""), askEvery},
		{"The primary is silent", heard("a", silentFor, ""), heard("b", 0, ""), askUrgent},
		{"The primary refuses", heard("a", 0, "shutting down"), heard("b", 0, ""), askUrgent},
		{"The one that refuses", heard("a", 0, "shutting down"), heard("a", 0, "shutting down"), askSeldom},
		{"Another refuses", heard("a", 0, ""), heard("b", 0, "starting up"), askSeldom},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &watcher{now: belief{"a", 1}, sights: map[string]sight{"a": c.primary}}
			if got := w.pause(c.asked); got != c.want {
				t.Errorf("asked again after %v, want %v", got, c.want)
			}
		})
	}
}

func TestThatAnAnswerIsLateIsForgottenWithTheAnswer(t *testing.T) {
	now := time.Now()
	w := &watcher{changed: func(belief) {}, sights: map[string]sight{}, beat: make(chan struct{})}
	w.saw(sight{Host: "a", Writable: true, Timeline: 1, At: now})
	w.saw(sight{Host: "a", Err: "no answer yet", At: now.Add(-time.Millisecond)})
	if _, got := w.Sights(); got["a"].Err != "" {
		t.Errorf("an answer was overwritten by the word that it is late: %v", got["a"])
	}
	w.saw(sight{Host: "a", Err: "no answer yet", At: now.Add(time.Millisecond)})
	if _, got := w.Sights(); got["a"].Err == "" {
		t.Error("a host that owes an answer does not count as silent")
	}
}

func TestEachHostAlone(t *testing.T) {
	c, err := pgconn.ParseConfig("postgres://talk:pw@h1:5432,h2:5433,h3/talk?target_session_attrs=read-write&sslmode=prefer")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, one := range each(c) {
		got = append(got, address(one.Host, one.Port))
		if one.ValidateConnect != nil {
			t.Error("a standby must be let in too")
		}
		for _, f := range one.Fallbacks {
			if f.Host != one.Host {
				t.Errorf("%s falls back to %s", one.Host, f.Host)
			}
		}
	}
	if diff := cmp.Diff([]string{"h1:5432", "h2:5433", "h3:5432"}, got); diff != "" {
		t.Error(diff)
	}
}

// Warm connections to a host that is starting would keep it from starting: each costs it a process.
func TestPoolsLeaveAHostAloneThatDoesNotAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var knocks atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			knocks.Add(1)
			_ = c.Close()
		}
	}()
	s, err := openStore("postgres://talk@"+l.Addr().String()+"/talk?sslmode=disable", Correct, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	pool := s.pools[l.Addr().String()]
	acquire := func() error {
		c, err := pool.Acquire(t.Context())
		if err == nil {
			c.Release()
		}
		return err
	}
	if err := acquire(); err == nil || !strings.Contains(err.Error(), "was not asked yet") {
		t.Errorf("not asked yet: %v", err)
	}
	s.watch.saw(sight{Host: l.Addr().String(), Err: "the database system is starting up"})
	if err := acquire(); err == nil || !strings.Contains(err.Error(), "starting up") {
		t.Errorf("starting: %v", err)
	}
	if n := knocks.Load(); n > 0 {
		t.Errorf("%d connections", n)
	}
	s.watch.saw(sight{Host: l.Addr().String(), At: time.Now()})
	if err := acquire(); err == nil || knocks.Load() == 0 {
		t.Errorf("it answers, and nobody connects: %v", err)
	}
	_ = l.Close()
	<-done
}

func TestAliveWaitsForANewSign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{changed: func(belief) {}, sights: map[string]sight{}, beat: make(chan struct{})}
		g := &generation{belief: belief{"a", 1}, ctx: t.Context()}
		say := func(err string) { w.saw(sight{Host: "a", Writable: err == "", Timeline: 1, Err: err, At: time.Now()}) }
		say("")
		w.Alive(t.Context(), g, time.Time{}) // at once
		say("gone")
		back := time.Now().Add(time.Second)
		time.AfterFunc(time.Second, func() { say("") })
		if w.Alive(t.Context(), g, time.Now()); !time.Now().Equal(back) {
			t.Errorf("returned %v before the primary was back", time.Until(back))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if w.Alive(ctx, g, time.Now().Add(time.Hour)); ctx.Err() == nil {
			t.Error("returned without a sign")
		}
	})
}

func TestCursorLooksBehindOnceAfterAChange(t *testing.T) {
	c := cursor{generation: 1, begin: 500, next: 20_500}
	c.turn(1)
	if c.next != 20_500 {
		t.Error("moved without a change")
	}
	if c.turn(2); c.next != 10_500 {
		t.Errorf("goes on at %d", c.next)
	}
	c.next = 700
	if c.turn(3); c.next != 500 {
		t.Errorf("looks at %d, before its own present", c.next)
	}
}

func TestRecentForgetsTheOldest(t *testing.T) {
	r := newRecent(2)
	var got []bool
	for _, id := range []string{"a", "a", "b", "a", "c", "a", "c"} {
		got = append(got, r.add(id))
	}
	if diff := cmp.Diff([]bool{true, false, true, false, true, true, false}, got); diff != "" {
		t.Error(diff)
	}
}

func TestSlowReaderIsCutOff(t *testing.T) {
	h := newHub(nil, slog.New(slog.DiscardHandler))
	slow, leave := h.Join("r")
	defer leave()
	other, leaveOther := h.Join("other")
	for range backlog + 1 {
		h.deliver(Message{ID: "x", Room: "r"})
	}
	n := 0
	for range slow.news {
		n++
	}
	if n != backlog || len(other.news) != 0 {
		t.Errorf("the slow one got %d, the other room %d", n, len(other.news))
	}
	leaveOther()
	if len(h.rooms) != 0 {
		t.Errorf("rooms left behind: %v", h.rooms)
	}
}

// unreachable is a gateway whose database is not there.
func unreachable(t *testing.T) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	_ = l.Close()
	ctx, stop := context.WithCancel(context.Background())
	log := slog.New(slog.DiscardHandler)
	s, err := openStore("postgres://talk@"+nobody+"/talk?sslmode=disable", Correct, log)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	g := newGateway("pangyo", s, log, ctx.Done())
	server := httptest.NewServer(g.routes())
	t.Cleanup(func() { server.Close(); stop(); <-done })
	return server
}

func TestGatewayWithoutDatabase(t *testing.T) {
	base := unreachable(t).URL
	id := messageID(1, "", 1, 1)
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		says                     string
	}{
		{"HealthAnswers", "GET", "/healthz", "", 200, `"db":"no host takes writes"`},
		{"MetricsAnswer", "GET", "/metrics", "", 200, `talk_acknowledged_total{site="pangyo"} 0`},
		{"PageAnswers", "GET", "/", "", 200, "<title>talk</title>"},
		{"SendIsNotAcknowledged", "PUT", "/rooms/r/messages/" + id, `{"author":"a","body":"b"}`, 503, "no database takes writes"},
		{"HistoryIsNotReadable", "GET", "/rooms/r/messages", "", 503, "no database takes writes"},
		{"NoUUID", "PUT", "/rooms/r/messages/7", `{"author":"a","body":"b"}`, 400, "is not a UUID"},
		{"NoJSON", "PUT", "/rooms/r/messages/" + id, `hello`, 400, "as JSON"},
		{"HalfARequest", "PUT", "/rooms/r/messages/" + id, `{"author":"a`, 400, "as JSON"},
		{"NoAuthor", "PUT", "/rooms/r/messages/" + id, `{"body":"b"}`, 400, "author: is required"},
		{"TooLong", "PUT", "/rooms/r/messages/" + id, `{"author":"a","body":"` + strings.Repeat("x", maxBody+1) + `"}`, 400, "at most 4000"},
		{"FarTooLong", "PUT", "/rooms/r/messages/" + id, `{"author":"a","body":"` + strings.Repeat("x", maxSend) + `"}`, 400, "too large"},
		{"ZeroByte", "PUT", "/rooms/r/messages/" + id, `{"author":"a","body":"b\u0000"}`, 400, "zero byte"},
		{"NotANumber", "GET", "/rooms/r/messages?after=x", "", 400, "whole numbers"},
		{"NoSuchPage", "GET", "/rooms", "", 404, "not found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || !strings.Contains(string(got), c.says) {
				t.Errorf("%d %.200s", resp.StatusCode, got)
			}
		})
	}
}

func TestGatewayConfigNamesEveryProblem(t *testing.T) {
	err := RunGateway(t.Context(), GatewayConfig{Variant: "nonsense"})
	for _, field := range []string{"listen", "dsn", "log", "variant"} {
		if err == nil || !strings.Contains(err.Error(), field+":") {
			t.Errorf("%s is not named in %v", field, err)
		}
	}
}
