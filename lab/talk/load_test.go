package talk

import (
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

func TestScheduleDependsOnTheSeedAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed, client := rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 500).Draw(t, "client")
		period := time.Duration(rapid.Int64Range(2, int64(time.Minute)).Draw(t, "period"))
		a, b := newSchedule(seed, client, period), newSchedule(seed, client, period)
		var before time.Duration
		for i := range 50 {
			x := a.Next()
			if y := b.Next(); x != y {
				t.Fatalf("message %d: %v and %v", i, x, y)
			}
			if gap := x - before; i > 0 && (gap < period/2 || gap > period*3/2) {
				t.Fatalf("message %d follows after %v, period %v", i, gap, period)
			}
			before = x
		}
	})
}

func TestIDsAreUniqueAndRepeatable(t *testing.T) {
	seen := map[string]bool{}
	for client := range 20 {
		for n := range 50 {
			id := messageID(7, "", client, n)
			if seen[id] || id != messageID(7, "", client, n) || id == messageID(7, "x", client, n) {
				t.Fatalf("client %d message %d: %s", client, n, id)
			}
			seen[id] = true
			if err := (Message{ID: id, Room: roomOf(client, 3), Author: authorOf(7, "", client), Body: bodyOf(n)}).check(); err != nil {
				t.Fatal(err)
			}
			if got, ok := numberOf(bodyOf(n)); !ok || got != n {
				t.Fatalf("number %d read back as %d", n, got)
			}
		}
	}
}

func TestNumberOfOthersIsNone(t *testing.T) {
	for _, body := range []string{"", "#", "hello", "#x1", "#99999999999999999999999"} {
		if n, ok := numberOf(body); ok {
			t.Errorf("%q has the number %d", body, n)
		}
	}
}

func TestPickStaysAndAvoids(t *testing.T) {
	now := start
	all := []string{"a", "b", "c"}
	fresh := func() *client {
		return &client{rand: rand.New(rand.NewPCG(1, 1)), failed: map[string]time.Time{}, at: "b"}
	}
	c := fresh()
	if got := c.pick(all, now); got != "b" {
		t.Errorf("left a working address for %s", got)
	}
	if got := c.pick([]string{"a", "c"}, now); got == "b" {
		t.Error("stayed at an address that was withdrawn")
	}
	for seed := range uint64(20) {
		c = fresh()
		c.rand = rand.New(rand.NewPCG(seed, 1))
		c.failed["b"], c.failed["a"] = now.Add(-time.Second), now.Add(-time.Millisecond)
		if got := c.pick(all, now); got != "c" {
			t.Fatalf("took %s, which failed lately, before c", got)
		}
		c.failed["c"] = now.Add(-100 * time.Millisecond)
		if got := c.pick(all, now); got != "b" {
			t.Fatalf("all failed: took %s, not the one whose failure is oldest", got)
		}
		if c.failed["b"] = now.Add(-avoidFor); c.pick(all, now) != "b" {
			t.Fatal("an old failure is forgiven")
		}
	}
}

func TestAddressesTakeTheSmallestTTL(t *testing.T) {
	a := func(ip string, ttl uint32) dns.RR {
		return &dns.A{Hdr: dns.RR_Header{Rrtype: dns.TypeA, Ttl: ttl}, A: net.ParseIP(ip)}
	}
	got, ttl := addresses(&dns.Msg{Answer: []dns.RR{&dns.CNAME{Hdr: dns.RR_Header{Ttl: 1}}, a("10.77.1.5", 5), a("10.77.2.5", 2)}})
	if diff := cmp.Diff([]string{"10.77.1.5", "10.77.2.5"}, got); diff != "" || ttl != 2*time.Second {
		t.Error(diff, ttl)
	}
}

func TestLoadConfigNamesEveryProblem(t *testing.T) {
	err := LoadConfig{Clients: -1, Rate: -1, Rooms: -1, DNS: []string{"x"}, Bind: "y", Tag: strings.Repeat("z", 41)}.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, field := range []string{"clients", "rate", "rooms", "dns", "bind", "tag"} {
		if !strings.Contains(err.Error(), field+":") {
			t.Errorf("%s is not named in %v", field, err)
		}
	}
	if err := (LoadConfig{DNS: []string{"10.77.1.53:53"}}).Defaults().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}

func TestParseMark(t *testing.T) {
	now := at(5)
	m, err := parseMark([]string{"mark", "fire"}, now)
	if err != nil || m != (Mark{"fire", now}) {
		t.Error(m, err)
	}
	m, err = parseMark([]string{"mark", "fire", "1700000000000000007"}, now)
	if err != nil || !m.At.Equal(start.Add(7)) {
		t.Error(m, err)
	}
	if _, err = parseMark([]string{"mark", "fire", "soon"}, now); err == nil {
		t.Error("accepted a time that is none")
	}
}

func TestOrder(t *testing.T) {
	o := newOrder()
	var got []place
	for _, m := range [][2]string{{"a", "#1"}, {"b", "#1"}, {"a", "#3"}, {"a", "#2"}, {"a", "#3"}, {"a", "hello"}, {"a", "#4"}} {
		got = append(got, o.see(m[0], m[1]))
	}
	if diff := cmp.Diff([]place{next, next, next, late, twice, unnumbered, next}, got); diff != "" {
		t.Error(diff)
	}
}
