//go:build lab

package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/haechi/haechi/lab/wan"
)

// raise brings a lab up for a test, under a name of its own so that one that
// somebody looks at stays up, and takes it down afterwards.
func raise(t *testing.T, o Options) *Lab {
	t.Helper()
	o.Dir, o.Name, o.Progress = "/var/tmp/haechi-lab-test", "haechi-test", func(line string) { t.Log(line) }
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// echo answers every datagram in a place.
func echo(t *testing.T, l *Lab, p Place) {
	t.Helper()
	var conn net.PacketConn
	err := l.In(p, func() (err error) {
		conn, err = net.ListenPacket("udp", p.Addr(gatewayHost)+":7777")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(b[:n], from)
		}
	}()
}

// ping sends count datagrams from one place to the echo of another and returns
// the round-trip times of those that came back within wait of the last.
func ping(t *testing.T, l *Lab, from, to Place, count int, every, wait time.Duration) []time.Duration {
	t.Helper()
	conn, err := l.DialIn(from)(t.Context(), "udp", to.Addr(gatewayHost)+":7777")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		for range count {
			_, _ = fmt.Fprintf(conn, "%d", time.Now().UnixNano())
			time.Sleep(every)
		}
	}()
	var out []time.Duration
	b := make([]byte, 100)
	for len(out) < count {
		if err := conn.SetReadDeadline(time.Now().Add(every + wait)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(b)
		if err != nil {
			break
		}
		var sent int64
		if _, err := fmt.Sscan(string(b[:n]), &sent); err != nil {
			t.Fatal(err)
		}
		out = append(out, time.Since(time.Unix(0, sent)))
	}
	slices.Sort(out)
	return out
}

func TestNetworkDelaysLosesAndCuts(t *testing.T) {
	l := raise(t, Options{Only: []Role{}})
	echo(t, l, Ansan)
	t.Run("RoundTrip", func(t *testing.T) {
		near := ping(t, l, Pangyo, Ansan, 200, time.Millisecond, time.Second)
		far := ping(t, l, Users, Ansan, 200, time.Millisecond, time.Second)
		if len(near) != 200 || near[100] < 2*siteDelay || near[100] > 2*siteDelay+3*time.Millisecond {
			t.Errorf("between sites: %d of 200, median %v", len(near), near[len(near)/2])
		}
		if len(far) != 200 || far[100] < 2*userDelay || far[100] > 2*userDelay+3*time.Millisecond {
			t.Errorf("from users: %d of 200, median %v", len(far), far[len(far)/2])
		}
		s, err := l.WAN().Status(t.Context(), false)
		t.Logf("near %v, far %v, late %+v, %s, %v", near[100], far[100], s.Late, s.Realtime, err)
	})
	t.Run("CutBothWays", func(t *testing.T) {
		if _, err := l.CutLink(t.Context(), Pangyo, Ansan); err != nil {
			t.Fatal(err)
		}
		if got := ping(t, l, Pangyo, Ansan, 20, time.Millisecond, 50*time.Millisecond); len(got) > 0 {
			t.Errorf("%d packets crossed the cut", len(got))
		}
		if got := ping(t, l, Users, Ansan, 20, time.Millisecond, time.Second); len(got) != 20 {
			t.Errorf("%d of 20 packets on a line that is not cut", len(got))
		}
		if _, err := l.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := ping(t, l, Pangyo, Ansan, 20, time.Millisecond, time.Second); len(got) != 20 {
			t.Errorf("%d of 20 packets after healing", len(got))
		}
	})
	t.Run("CutOneWay", func(t *testing.T) {
		before := counted(t, l, Pangyo, Ansan)
		if _, err := l.CutOneWay(t.Context(), Ansan, Pangyo); err != nil {
			t.Fatal(err)
		}
		if got := ping(t, l, Pangyo, Ansan, 20, time.Millisecond, 50*time.Millisecond); len(got) > 0 {
			t.Errorf("%d answers crossed the cut", len(got))
		}
		if n := counted(t, l, Pangyo, Ansan) - before; n < 20 {
			t.Errorf("%d of 20 packets in the direction that is not cut", n)
		}
		if _, err := l.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("SlowAndLossy", func(t *testing.T) {
		if _, err := l.Slow(t.Context(), Pangyo, Ansan, 20*time.Millisecond, 0.10); err != nil {
			t.Fatal(err)
		}
		got := ping(t, l, Pangyo, Ansan, 1000, time.Millisecond, 300*time.Millisecond)
		if share := float64(len(got)) / 1000; share < 0.75 || share > 0.87 { // 0.9 each way is 0.81
			t.Errorf("%v of the packets came back", share)
		}
		if got[len(got)/2] < 40*time.Millisecond || got[len(got)/2] > 45*time.Millisecond {
			t.Errorf("median %v", got[len(got)/2])
		}
		if _, err := l.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("OneDirectionAlone", func(t *testing.T) {
		for _, words := range [][]string{
			{"pangyo", "ansan", "delay=30ms", "jitter=20ms"}, {"pangyo", "ansan", "loss=0.2"}, {"users", "ansan", "rate=2000000"},
		} {
			p, err := l.Act(t.Context(), "line", words...)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(p)
		}
		if back, err := l.probe(t.Context(), Ansan, Pangyo, wan.Link{}); err != nil || back.agrees(wan.Link{Delay: siteDelay}) != nil {
			t.Errorf("the way back is %v, %v", back, err)
		}
		if _, err := l.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("BlackoutEndsByItself", func(t *testing.T) {
		proof, err := l.Blackout(t.Context(), Ansan, 300*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(proof)
		if got := ping(t, l, Users, Ansan, 20, time.Millisecond, time.Second); len(got) != 20 {
			t.Errorf("%d of 20 packets after the blackout", len(got))
		}
	})
	t.Run("CarriesManyPackets", func(t *testing.T) {
		if _, err := l.WAN().Status(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		got := ping(t, l, Pangyo, Ansan, 5000, 100*time.Microsecond, time.Second)
		s, err := l.WAN().Status(t.Context(), false)
		if err != nil || len(got) < 4990 || s.Late.P99 > 5*time.Millisecond {
			t.Errorf("%d of 5000, %+v, %v", len(got), s.Late, err)
		}
		t.Logf("round trip median %v, 99%% %v; late %+v", got[len(got)/2], got[len(got)*99/100], s.Late)
	})
}

func counted(t *testing.T, l *Lab, from, to Place) uint64 {
	t.Helper()
	s, err := l.WAN().Status(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range s.Lines {
		if line.Direction == (wan.Direction{From: string(from), To: string(to)}) {
			return line.Counters.Packets
		}
	}
	t.Fatalf("no line %s>%s", from, to)
	return 0
}

// What a lab that was killed left behind is found and removed by the next one,
// and a process that is not the lab's stays.
func TestLeftoversAreRemoved(t *testing.T) {
	l := raise(t, Options{Only: []Role{}})
	lost, err := l.start(spawn{ns: l.NS(Ansan), log: "lost", dir: l.o.Dir, args: []string{"/bin/sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{Dir: l.o.Dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Kill(); _, _ = stranger.Wait() })
	if err := l.lock.Close(); err != nil { // as the kernel does when its holder is killed
		t.Fatal(err)
	}
	l.lock = nil

	raise(t, Options{Only: []Role{}})
	if p, ok := look(lost.Process.Pid); ok && !p.dead() {
		t.Errorf("process %d of the earlier lab still runs", p.pid)
	}
	if p, ok := look(stranger.Pid); !ok || p.dead() {
		t.Error("a process that is not the lab's was killed")
	}
	if _, held := Held(l.o); !held {
		t.Error("the new lab does not hold the name")
	}
	again, err := New(l.o)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Up(t.Context()); err == nil {
		t.Error("two labs of one name are up")
	} else {
		t.Log(err)
	}
}
