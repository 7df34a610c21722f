package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haechi/haechi/lab/wan"
)

// Line changes one direction between two places, and only what is named: delay, jitter, loss,
// rate. The way back stays as it is. The proof is measured: datagrams that go that way,
// timed by the one clock that all places share.
func (l *Lab) Line(ctx context.Context, c wan.Change) (Proof, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	done, err := l.WAN().Set(ctx, c)
	if err != nil {
		return Proof{}, fmt.Errorf("line: %w", err)
	}
	now, err := l.lines(ctx, []wan.Direction{c.Direction})
	if err != nil || len(now) != 1 {
		return Proof{}, errors.Join(fmt.Errorf("line: no line %v", c.Direction), err)
	}
	seen, err := l.probe(ctx, Place(c.From), Place(c.To), now[0].Link)
	if err == nil {
		err = seen.agrees(now[0].Link)
	}
	if err != nil {
		return Proof{}, fmt.Errorf("line from %s to %s, %v: %w", c.From, c.To, now[0].Link, err)
	}
	return proof(done.At, "line from %s to %s: %v; measured that way: %v", c.From, c.To, now[0].Link, seen), nil
}

// lineWords reads "pangyo ansan delay=200ms loss=0.05".
func lineWords(words []string) (wan.Change, error) {
	c := wan.Change{Direction: wan.Direction{From: words[0], To: words[1]}}
	for _, word := range words[2:] {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "delay", "jitter":
			var d time.Duration
			d, err = time.ParseDuration(value)
			if key == "delay" {
				c.Delay = &d
			} else {
				c.Jitter = &d
			}
		case "loss":
			var share float64
			share, err = strconv.ParseFloat(value, 64)
			c.Loss = &share
		case "rate":
			var bits int64
			bits, err = strconv.ParseInt(value, 10, 64)
			c.Rate = &bits
		default:
			err = errors.New("use delay=200ms, jitter=5ms, loss=0.05 (a share), rate=10000000 (bits a second)")
		}
		if err != nil {
			return c, fmt.Errorf("line: %q: %w", word, err)
		}
	}
	return c, nil
}

// How a line is measured: 300 datagrams, a millisecond apart, 6.4 Mbit/s.
const (
	probes    = 300
	probeGap  = time.Millisecond
	probeSize = 800 // bytes, with the headers of IP and UDP
)

// seen is what became of a probe's datagrams.
type seen struct {
	sent int
	took []time.Duration // one way, of those that arrived, shortest first
	rate float64         // bits a second, from the first arrival to the last
}

// String says it for people.
func (s seen) String() string {
	if len(s.took) == 0 {
		return "nothing arrives"
	}
	return fmt.Sprintf("%d of %d datagrams arrive, one way %v to %v, median %v, %.2f Mbit/s", len(s.took), s.sent,
		s.took[0].Round(10*time.Microsecond), s.took[len(s.took)-1].Round(10*time.Microsecond), s.took[len(s.took)/2].Round(10*time.Microsecond), s.rate/1e6)
}

// agrees says in what the probe differs from the link beyond chance. A busy machine makes
// a line slower, never quicker.
func (s seen) agrees(link wan.Link) error {
	const late = 100 * time.Millisecond
	lost, n := float64(s.sent-len(s.took)), float64(s.sent)
	off := 5*math.Sqrt(n*link.Loss*(1-link.Loss)) + 2
	switch {
	case len(s.took) == 0 && link.Loss < 1:
		return fmt.Errorf("nothing arrives")
	case lost < n*link.Loss-off:
		return fmt.Errorf("too few are lost: %v", s)
	case link.Rate == 0 && lost > n*link.Loss+off:
		return fmt.Errorf("too many are lost: %v", s)
	case link.Rate > 0 && s.rate > 1.15*float64(link.Rate):
		return fmt.Errorf("more passes than the rate allows: %v", s)
	case len(s.took) == 0:
		return nil
	case s.took[0] < link.Delay-wan.Tick:
		return fmt.Errorf("one was quicker than the delay: %v", s)
	case s.took[len(s.took)/2] > link.Delay+link.Jitter+late && link.Rate == 0:
		return fmt.Errorf("slower than it should be: %v", s)
	case link.Jitter > 0 && s.took[len(s.took)-1]-s.took[0] < link.Jitter/4:
		return fmt.Errorf("all take the same time: %v", s)
	}
	return nil
}

// probe sends datagrams one way and times their arrival.
func (l *Lab) probe(ctx context.Context, from, to Place, link wan.Link) (s seen, err error) {
	var in net.PacketConn
	err = l.In(to, func() (err error) {
		in, err = net.ListenPacket("udp", to.Addr(to.hosts()[0])+":0")
		return err
	})
	if err != nil {
		return s, err
	}
	defer in.Close() //nolint:errcheck // only read
	out, err := l.DialIn(from)(ctx, "udp", in.LocalAddr().String())
	if err != nil {
		return s, err
	}
	defer out.Close() //nolint:errcheck // what was not sent is counted as lost
	begun := time.Now()
	if err := in.SetReadDeadline(begun.Add(probes*probeGap + link.Delay + link.Jitter + wan.Buffer + 500*time.Millisecond)); err != nil {
		return s, err
	}
	go func() {
		b := make([]byte, probeSize-28)
		for i := range probes {
			time.Sleep(time.Until(begun.Add(time.Duration(i) * probeGap)))
			binary.BigEndian.PutUint64(b, uint64(time.Now().UnixNano()))
			if _, err := out.Write(b); err != nil {
				return
			}
		}
	}()
	s.sent = probes
	var first, last time.Time
	for b := make([]byte, probeSize); len(s.took) < probes; {
		if _, _, err := in.ReadFrom(b); err != nil {
			break // the time is over
		}
		if last = time.Now(); len(s.took) == 0 {
			first = last
		}
		s.took = append(s.took, last.Sub(time.Unix(0, int64(binary.BigEndian.Uint64(b)))))
	}
	if lasted := last.Sub(first).Seconds(); lasted > 0 {
		s.rate = float64((len(s.took)-1)*probeSize*8) / lasted
	}
	slices.Sort(s.took)
	return s, ctx.Err()
}
