//go:build lab

package talk

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// stage is a database, two gateways and a load before them.
type stage struct {
	primary  *server
	standbys []*server
	all      []*server
	port     int
	events   chan Event
	marks    chan Mark
	end      context.CancelFunc
	result   chan *Tally
}

// set builds a stage whose gateways keep or break their promise as v says.
func set(t *testing.T, v Variant, standbys ...string) *stage {
	t.Helper()
	s := &stage{primary: newServer(t, "a"), port: freePort(t)}
	s.primary.set(t, "synchronous_standby_names", anyOne(standbys))
	s.primary.start(t)
	s.all = []*server{s.primary}
	for _, name := range standbys {
		b := newServer(t, name)
		b.follows(t, s.primary)
		b.start(t)
		s.standbys, s.all = append(s.standbys, b), append(s.all, b)
	}
	until(t, "the standbys stream", func() bool {
		return ask[int](t, s.primary, "n", "SELECT count(*)::int FROM pg_stat_replication WHERE state = 'streaming'") == len(standbys)
	})
	s.gateways(t, v)
	return s
}

// anyOne is the commit rule over the names.
func anyOne(names []string) string {
	list := ""
	for i, n := range names {
		if i > 0 {
			list += ","
		}
		list += `"` + n + `"`
	}
	return "ANY 1 (" + list + ")"
}

func (s *stage) gateways(t *testing.T, v Variant) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i, host := range []string{"127.0.0.11", "127.0.0.12"} {
		c := GatewayConfig{
			Listen: net.JoinHostPort(host, strconv.Itoa(s.port)), DSN: multiHost(s.all...), Variant: v,
			Site: fmt.Sprint("site-", i), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		}
		all.Go(func() {
			if err := RunGateway(ctx, c); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { stop(); all.Wait() })
}

// play starts the load.
func (s *stage) play(t *testing.T, c LoadConfig) {
	t.Helper()
	s.events, s.marks, s.result = make(chan Event, 4096), make(chan Mark), make(chan *Tally, 1)
	c.DNS, c.Port, c.Marks = []string{nameserver(t, "127.0.0.11", "127.0.0.12")}, s.port, s.marks
	c.Report = func(e Event) { s.events <- e }
	ctx, end := context.WithCancel(context.Background())
	s.end = end
	go func() {
		y, err := RunLoad(ctx, c)
		if err != nil {
			t.Error(err)
		}
		s.result <- y
	}()
	t.Cleanup(end)
}

// hear waits for an event.
func (s *stage) hear(t *testing.T, what string, is func(Event) bool) Event {
	t.Helper()
	patience := time.NewTimer(30 * time.Second)
	defer patience.Stop()
	for {
		select {
		case e := <-s.events:
			if is(e) {
				return e
			}
		case <-patience.C:
			t.Fatalf("waited 30 s: %s", what)
		}
	}
}

func (s *stage) hearTotal(t *testing.T, n int) {
	t.Helper()
	s.hear(t, fmt.Sprint(n, " acknowledgements"), func(e Event) bool { return e.Total >= n })
}

// after waits for the first acknowledgement of a message first sent from now on.
func (s *stage) after(t *testing.T, name string) {
	t.Helper()
	s.marks <- Mark{Name: name, At: time.Now()}
	s.hear(t, "life after "+name, func(e Event) bool { return e.Kind == "ack-first-after" && e.Mark == name })
}

// curtain ends the load and judges.
func (s *stage) curtain(t *testing.T) (*Tally, Verdict) {
	t.Helper()
	s.end()
	var y *Tally
	for y == nil {
		select {
		case y = <-s.result:
		case <-s.events:
		}
	}
	v, err := Judge(t.Context(), JudgeConfig{
		Tally: *y, DSN: multiHost(s.all...), GatewayURL: "http://" + net.JoinHostPort("127.0.0.12", strconv.Itoa(s.port)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("acknowledged %d lost %d duplicated %d out of order %d changed %d unanswered %d, longest pause %v, failures %v, streams %+v",
		v.Acknowledged, v.Lost, v.Duplicated, v.OutOfOrder, v.Changed, v.Unanswered, v.LongestPause, y.Failures, v.Streams)
	return y, v
}

// cancelWaits does what a statement timeout or an impatient driver does: it
// cancels every commit that waits for a standby, until stop is called. It
// returns how often.
func cancelWaits(t *testing.T, s *server, enough int) (reached <-chan struct{}, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done, full := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ctx.Err() == nil; wait(ctx, 20*time.Millisecond) {
			before := n
			n += ask[int](t, s, "n", `SELECT count(*)::int FROM (SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep') c`)
			if before < enough && n >= enough {
				close(full)
			}
		}
	}()
	return full, sync.OnceFunc(func() { cancel(); <-done })
}

var small = LoadConfig{Clients: 20, Rate: 200, Rooms: 4, Readers: 4, Seed: 7}

// TestJudgeCatches arranges for each broken gateway that the break must show:
// the standby is sealed, waits are cancelled, the primary burns, the standby is
// promoted. The correct gateway goes through the same.
func TestJudgeCatches(t *testing.T) {
	for _, c := range []struct {
		name     string
		variant  Variant
		noMember bool
		caught   bool
	}{
		{"Correct", Correct, false, false},
		{"NoSynchronousMember", Correct, true, true},
		{"AckBeforeCommit", AckBeforeCommit, false, true},
		{"WarningIgnored", WarningIgnored, false, true},
		{"DoNothingRetry", DoNothingRetry, false, true},
		{"LocalCommit", LocalCommit, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := set(t, c.variant, "b")
			b := s.standbys[0]
			s.play(t, small)
			s.hearTotal(t, 100)
			if c.noMember {
				s.primary.reset(t, "synchronous_standby_names", "")
			}
			b.seal(t)
			sealed := time.Now()
			reached, stop := cancelWaits(t, s.primary, 60)
			defer stop()
			if c.caught {
				s.after(t, "sealed")
			} else {
				<-reached
			}
			stop()
			s.primary.kill()
			killed := time.Now()
			b.promote(t, "")
			s.after(t, "promoted")
			y, v := s.curtain(t)
			if c.caught && v.Lost == 0 {
				t.Error("the judge did not notice what was lost")
			}
			if !c.caught && !v.OK() {
				t.Errorf("a correct gateway was found guilty: %+v", v)
			}
			for _, a := range y.Acks {
				if !c.caught && a.FirstSent.After(sealed) && a.Acked.Before(killed) {
					t.Errorf("message %s was acknowledged although nobody else could hold it", a.ID)
				}
			}
		})
	}
}

// TestNothingIsLost kills the primary of three under load, then seals, chooses,
// follows and promotes as haechi does.
func TestNothingIsLost(t *testing.T) {
	s := set(t, Correct, "b", "c")
	s.play(t, LoadConfig{Clients: 50, Rate: 300, Rooms: 5, Readers: 10, Seed: 11})
	s.hearTotal(t, 500)
	s.primary.kill()
	fire := time.Now()
	best, other := s.standbys[0], s.standbys[1]
	position := map[*server]int64{}
	for _, b := range s.standbys {
		b.seal(t)
		position[b] = ask[int64](t, b, "lsn", "SELECT GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn")
	}
	if position[other] > position[best] {
		best, other = other, best
	}
	other.reset(t, "primary_conninfo", best.replication(other.name))
	best.promote(t, anyOne([]string{other.name}))
	promoted := time.Now()
	s.marks <- Mark{Name: "fire", At: fire}
	s.hear(t, "everyone served after the fire", func(e Event) bool { return e.Kind == "all-served-after" })
	y, v := s.curtain(t)
	f := y.After(fire)
	t.Logf("promoted %v, first acknowledgement %v, all served %v, longest pause %v", promoted.Sub(fire), f.FirstAck, f.AllServed, f.LongestPause)
	if !v.OK() {
		t.Errorf("%+v", v)
	}
	if f.FirstAck == Never || f.AllServed == Never {
		t.Errorf("not everyone was served again: %+v", f)
	}
	if v.Streams.Messages == 0 {
		t.Error("the live streams said nothing")
	}
}

// TestASendThatNobodyWaitsForGoesOn: to cut a late write off would cost the database a connection, and
// the client comes back. It joins the write that goes on, instead of waiting behind it on another.
func TestASendThatNobodyWaitsForGoesOn(t *testing.T) {
	s := set(t, Correct, "b")
	send := func(id int) int {
		t.Helper()
		url := fmt.Sprintf("http://127.0.0.11:%d/rooms/r/messages/00000000-0000-4000-8000-%012d", s.port, id)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(`{"author": "a", "body": "b"}`))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Log(err) // it does not listen yet
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	until(t, "the gateway serves", func() bool { return send(1) == http.StatusOK })
	b := s.standbys[0]
	b.seal(t)
	for range 2 {
		if got := send(2); got != http.StatusServiceUnavailable {
			t.Errorf("a send that no other member holds was answered %d", got)
		}
	}
	if n := ask[int](t, s.primary, "n", "SELECT count(*)::int FROM pg_stat_activity WHERE wait_event = 'SyncRep'"); n != 1 {
		t.Errorf("%d connections wait with one message that was sent twice, want 1", n)
	}
	b.reset(t, "primary_conninfo", s.primary.replication(b.name))
	until(t, "it is acknowledged", func() bool { return send(2) == http.StatusOK })
}
