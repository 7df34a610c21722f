package wan

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const ms = time.Millisecond

func places() []Place {
	return []Place{
		{Name: "a", Net: netip.MustParsePrefix("10.0.1.0/24")},
		{Name: "b", Net: netip.MustParsePrefix("10.0.2.0/24")},
	}
}

// network joins a and b by l in both directions; chances are handed out in turn.
func network(t fataler, l Link, chances ...float64) *Network {
	t.Helper()
	draw := func() float64 {
		c := chances[0]
		chances = append(chances[1:], c)
		return c
	}
	n, err := NewNetwork(places(), func(string, string) Link { return l }, draw)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// packet is one of n bytes whose last byte is tag.
func packet(net *Network, to string, n int, tag byte) *Packet {
	p := net.Buffer()
	p.N = n
	clear(p.Data[:n])
	p.Data[0] = 0x45
	a := netip.MustParseAddr(to).As4()
	copy(p.Data[16:20], a[:])
	p.Data[n-1] = tag
	return p
}

func TestDelayIsWaitedFor(t *testing.T) {
	n := network(t, Link{Delay: 3 * ms})
	n.Offer(10*ms, 0, packet(n, "10.0.2.1", 100, 1))
	if p := n.Pop(13*ms - 1); p != nil {
		t.Fatalf("arrived early, due %v", p.Due)
	}
	if due, ok := n.Next(); !ok || due != 13*ms {
		t.Fatalf("next = %v %v, want 13ms", due, ok)
	}
	p := n.Pop(13 * ms)
	if p == nil || p.To != 1 || p.Data[99] != 1 {
		t.Fatalf("got %+v", p)
	}
}

func TestJitterKeepsOrder(t *testing.T) {
	n := network(t, Link{Delay: ms, Jitter: 10 * ms}, 0.9, 0.1)
	n.Offer(0, 0, packet(n, "10.0.2.1", 100, 1))  // due 10ms
	n.Offer(ms, 0, packet(n, "10.0.2.1", 100, 2)) // alone it would be due at 3ms
	for want := byte(1); want <= 2; want++ {
		p := n.Pop(10 * ms)
		if p == nil || p.Data[99] != want || p.Due != 10*ms {
			t.Fatalf("want packet %d at 10ms, got %+v", want, p)
		}
	}
}

func TestRateSpreadsPacketsAndDropsWhatItCannotHold(t *testing.T) {
	n := network(t, Link{Rate: 8_000_000}) // 1 byte a microsecond
	for range 3 {
		n.Offer(0, 0, packet(n, "10.0.2.1", 1000, 0))
	}
	for i := range 3 {
		if due, _ := n.Next(); due != time.Duration(i+1)*ms {
			t.Fatalf("packet %d is due at %v", i, due)
		}
		n.Pop(time.Second)
	}
	fates := map[Fate]int{}
	for range 200 {
		fates[n.Offer(0, 0, packet(n, "10.0.2.1", 1000, 0))]++
	}
	// 3 ms are taken already; 98 packets fill the line to just above 100 ms.
	if fates[Carried] != 98 || fates[DroppedByQueue] != 102 {
		t.Fatalf("fates %v", fates)
	}
}

func TestCutIsOneWayAndTakesWhatIsUnderWay(t *testing.T) {
	n := network(t, Link{Delay: 5 * ms})
	n.Offer(0, 0, packet(n, "10.0.2.1", 100, 1))
	n.Offer(0, 1, packet(n, "10.0.1.1", 100, 2))
	cut := true
	if err := n.Set([]Change{{Direction: Direction{"a", "b"}, Cut: &cut}}); err != nil {
		t.Fatal(err)
	}
	if f := n.Offer(ms, 0, packet(n, "10.0.2.1", 100, 3)); f != DroppedByCut {
		t.Fatalf("fate %v", f)
	}
	p := n.Pop(time.Second)
	if p == nil || p.Data[99] != 2 {
		t.Fatalf("the other direction should live, got %+v", p)
	}
	if p := n.Pop(time.Second); p != nil {
		t.Fatalf("a packet crossed the cut: %+v", p)
	}
	if c := n.Lines()[0].Counters; c.Cut != 2 || c.Packets != 0 {
		t.Fatalf("counters %+v", c)
	}
}

func TestChangesAreAllOrNothing(t *testing.T) {
	n := network(t, Link{})
	loss, cut := 2.0, true
	err := n.Set([]Change{{Direction: Direction{"a", "b"}, Cut: &cut}, {Direction: Direction{"b", "a"}, Loss: &loss}})
	if err == nil || n.Lines()[0].Link.Cut {
		t.Fatalf("err %v, lines %+v", err, n.Lines())
	}
	if err := n.Set([]Change{{Direction: Direction{"a", "x"}, Cut: &cut}}); err == nil {
		t.Fatal("a place that is not there was accepted")
	}
}

func TestStraysAreCounted(t *testing.T) {
	n := network(t, Link{})
	n.Offer(0, 0, packet(n, "10.0.1.9", 100, 0)) // to where it came from
	n.Offer(0, 0, packet(n, "192.0.2.1", 100, 0))
	six := packet(n, "10.0.2.1", 100, 0)
	six.Data[0] = 0x60
	n.Offer(0, 0, six)
	if n.Strays() != 3 {
		t.Fatalf("strays %d", n.Strays())
	}
}

// A packet is delivered once, in order, never early; each one offered is
// delivered, dropped and counted, or still under way.
func TestNothingIsForgotten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := network(t, Link{Delay: ms, Jitter: 4 * ms, Loss: 0.3, Rate: 50_000_000},
			rapid.SliceOfN(rapid.Float64Range(0, 0.999), 1, 20).Draw(t, "chance")...)
		var now, before time.Duration
		var carried, popped uint64
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 3000).Draw(t, "wait")) * time.Microsecond
			if rapid.Bool().Draw(t, "offer") {
				p := packet(n, "10.0.2.1", 1000, 0)
				p.Data[30] = byte(carried)
				if n.Offer(now, 0, p) == Carried {
					carried++
				}
				continue
			}
			for p := n.Pop(now); p != nil; p = n.Pop(now) {
				if p.Due > now || p.Due < before || p.Data[30] != byte(popped) {
					t.Fatalf("at %v after %v: %v, number %d instead of %d", now, before, p.Due, p.Data[30], popped)
				}
				before = p.Due
				popped++
				n.Release(p)
			}
		}
		l := n.Lines()[0]
		if l.Counters.Packets != popped || carried != popped+uint64(l.Queued) {
			t.Fatalf("carried %d, popped %d, line %+v", carried, popped, l)
		}
	})
}

// fataler is what testing and rapid have in common.
type fataler interface {
	Helper()
	Fatal(...any)
}

func TestLatenessFindsItsPercentile(t *testing.T) {
	var l Lateness
	for i := range 1000 {
		l.Note(time.Duration(i) * time.Microsecond)
	}
	s := l.Status()
	if s.Max != 999*time.Microsecond || s.P99 < 990*time.Microsecond || s.P99 > 1200*time.Microsecond {
		t.Fatalf("%+v", s)
	}
	if s.P50 < 500*time.Microsecond || s.P50 > 640*time.Microsecond {
		t.Fatalf("%+v", s)
	}
}
